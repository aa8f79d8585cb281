"""`python -m training.dataset log=… cutoff=… to=…`: from the event log of a service to a training table.

The table is read by `data=loop`. The same log and cutoff give the same bytes, also when the log has grown.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console

from marquee.core.moments import moment_text
from marquee.data.loop.attribution import AttributionConfig
from marquee.data.loop.log_source import last_known
from marquee.data.loop.loop_table import TableCounts, write_loop_table
from marquee.data.split_config import seconds_of
from marquee.errors import ConfigError
from training.cli.command import command
from training.cli.console import open_console
from training.looping.log import opened
from training.looping.user_table import USERS_TABLE, validate_users, write_users


@dataclass(kw_only=True)
class DatasetConfig:
    """A log, and until when it becomes a table.

    Attributes:
        log: Folder that MARQUEE_EVENTS names, or a `postgresql://` address.
        cutoff: First moment that is not read, as seconds or ISO 8601; neither by time nor by receipt.
        to: Folder of the table; it must not be there yet.
        closed: Folder of the closed days; empty for `closed` in the folder of the log.
        users: Table of users under the operator's own ids, to be joined by their pseudonyms; empty for none.
        users_id: Its column of ids.
        user_key: File of the key that the log's users are kept with; needed for `users`.
        attribution: How long after an exposure an event counts as having come of it.
    """

    log: str
    cutoff: str
    to: str
    closed: str = ""
    users: str = ""
    users_id: str = "user_id"
    user_key: str = ""
    attribution: AttributionConfig = field(default_factory=AttributionConfig)


def write_dataset(config: DatasetConfig, console: Console) -> TableCounts:
    """Writes the training table and returns its counts.

    Raises:
        ConfigError: If there is no such log, or the cutoff is no moment.
        DataError: If the table is there, or nothing happened before the cutoff.
        EventLogError: If the store cannot be reached.
    """
    if bool(config.users) != bool(config.user_key):
        raise ConfigError(
            f"users and user_key belong together, got users={config.users!r} and "
            f"user_key={config.user_key!r}; give both or none"
        )
    if config.users:
        # First: a table whose users cannot join would stand in the way of the same command, corrected.
        validate_users(Path(config.users), config.users_id, config.user_key, config.log)
    # No default of now: the same command must give the same table tomorrow.
    cutoff, to = seconds_of(config.cutoff, "cutoff"), Path(config.to)
    to.parent.mkdir(parents=True, exist_ok=True)
    with opened(config.log, config.closed) as source, console.status("reading the log day by day"):
        counts = write_loop_table(
            source,
            cutoff,
            to,
            config.attribution,
            last_known(source.log, cutoff),
            has_pseudonyms=source.has_pseudonyms,
        )
    console.print(f"table {to}, all that was received before {moment_text(cutoff)} UTC")
    for line in counts_in_words(counts):
        console.print(f"  {line}")
    if config.users:
        joined = write_users(Path(config.users), config.users_id, config.user_key, config.log, to)
        console.print(
            f"  {joined.kept:,} users in {USERS_TABLE}; left out: {joined.unknown:,} whom the log does not "
            f"hold, {joined.withheld:,} who do not let themselves be known"
        )
    return counts


def counts_in_words(counts: TableCounts) -> list[str]:
    """Returns the counts of a table, a line for exposures and one for events."""
    n = {name: f"{count:,}" for name, count in asdict(counts).items()}
    return [
        f"{n['exposures']} exposures: {n['confirmed']} confirmed, {n['clicked']} clicked, {n['converted']} "
        f"converted; {n['open']} more are open at the cutoff and stand aside",
        f"{n['events']} events: {n['attributed']} of exposures ({n['repeated']} repeated), {n['late']} late, "
        f"{n['orphans']} orphans; {n['without_user']} rows of nobody known are left out",
    ]


@command("dataset", DatasetConfig)
def main(config: DatasetConfig) -> None:
    """Writes the table that the config asks for."""
    write_dataset(config, open_console())


if __name__ == "__main__":
    main()
