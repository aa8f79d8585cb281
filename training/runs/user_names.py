"""The names that the users of a training have: the operator's own ids, or pseudonyms of the service."""

from pathlib import Path

from marquee.bundle.manifest import UserNames
from marquee.data.config import DataConfig
from marquee.data.loop.loop_table import has_pseudonyms
from marquee.errors import ConfigError


def user_names(data: DataConfig) -> UserNames:
    """Returns the names that the users of some tables have.

    Raises:
        ConfigError: If one table names them otherwise than another: the same user would be two.
        DataError: If the facts beside a table are none.
    """
    # <table>/events/*.parquet: the facts stand beside the folder.
    named = {
        what: has_pseudonyms((Path(data.root) / table.path).parent.parent)
        for what, table in {"events": data.events, **data.more_events}.items()
        if table.path
    }
    if not any(named.values()):
        return UserNames.ids
    others = sorted(what for what, is_pseudonym in named.items() if not is_pseudonym)
    if others:
        raise ConfigError(
            f"the tables of events must name users alike, got pseudonyms of a log beside ids in {others}; "
            "train on the log alone (beside=false), and bring earlier events into it by POST /v1/events"
        )
    return UserNames.pseudonyms
