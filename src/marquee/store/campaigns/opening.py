"""Chooses the store of campaigns by where the event log is; loads no driver but the one that is needed."""

from pathlib import Path

from marquee.store.campaigns.campaign_store import CampaignStore
from marquee.store.log.opening import POSTGRES_SCHEMES


def open_campaign_store(where: str) -> CampaignStore:
    """Opens, and makes if need be, the campaigns beside the event log at an address or in a folder.

    Args:
        where: As for `open_event_log`, which says what is wrong with it.

    Raises:
        ConfigError: If the library of the store is missing or too old.
        EventLogError: If the store cannot be made or reached.
    """
    if where.startswith(POSTGRES_SCHEMES):
        # Imported here: a machine without psycopg can still keep its campaigns in a folder.
        from marquee.store.campaigns.postgres import PostgresCampaignStore

        return PostgresCampaignStore(where)
    from marquee.store.campaigns.sqlite import SqliteCampaignStore

    return SqliteCampaignStore(Path(where))
