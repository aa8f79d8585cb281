"""The declaration of a data set: its tables, its times, its kinds, its features and its split."""

import re
from dataclasses import dataclass, field
from enum import StrEnum

from marquee.core.event_kinds import EventKind, EventKinds, KindConfig
from marquee.core.schema import TimeMeaning
from marquee.data.download_config import DownloadConfig
from marquee.data.order import Order
from marquee.data.splits import SplitConfig, SplitMethod
from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError
from marquee.features import FeaturesConfig
from marquee.world import WorldConfig

# As a bundle may be called: a name that export refuses would be found out after the training.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class UnknownItems(StrEnum):
    """The policy for events whose item is not in the items table."""

    reject = "reject"
    keep = "keep"


def _default_kinds() -> dict[str, KindConfig]:
    """Returns every kind that is an interaction; an exposure is none."""
    return {kind.value: KindConfig() for kind in EventKind if kind is not EventKind.exposure}


@dataclass(kw_only=True)
class DataConfig:
    """A data set.

    Attributes:
        name: Names its runs and bundles.
        root: Folder that paths start from.
        events: The table of events.
        more_events: Further files of events, each with columns of its own, by any name: orders beside views.
            They are read as one table with `events`.
        items: The table of items, if there is one.
        users: The table of users, if there is one.
        time: What timestamps say.
        order: Without time: whether places in the lists of users are the order of events; `auto` finds out
            (`marquee.data.order`). Where they are not, nothing reads them.
        kinds: Event kinds that are interactions, with their weights; empty for all but exposures.
        features: Features of users, items and requests.
        split: How events are parted.
        timestamp_min: Earlier events are rejected.
        timestamp_max: Later events are rejected; those after the year 2200 if it is not given.
        unknown_items: What becomes of events whose item is not in the items table.
        max_rejected_fraction: More rejected rows than this, among those of one table that are not
            excluded, stop the run.
        max_unreadable_fraction: More values of one feature than this, among those that are there, that cannot
            be read as its type stop the run; fewer count as missing and are shown.
        session_gap_minutes: Every session of a user is a user of its own, parted where the user pauses for
            longer; 0 to leave users as they are.
        history_length: Longest history that a model sees.
        prepared: Folder that `training.prepare` has written of it, which is read in place of the files; empty
            to read the files.
        download: Where the publisher keeps the files.
        world: The market to simulate into `root` where the files are not there.
    """

    name: str
    root: str = "."
    events: TableConfig
    more_events: dict[str, TableConfig] = field(default_factory=dict)
    items: TableConfig | None = None
    users: TableConfig | None = None
    time: TimeMeaning = TimeMeaning.absolute
    order: Order = Order.auto
    # Empty: a YAML adds to a default, and could not take a kind away.
    kinds: dict[str, KindConfig] = field(default_factory=dict)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    timestamp_min: int | None = None
    timestamp_max: int | None = None
    unknown_items: UnknownItems = UnknownItems.reject
    max_rejected_fraction: float = 0.01
    max_unreadable_fraction: float = 0.05
    session_gap_minutes: float = 0
    history_length: int = 50
    prepared: str = ""
    download: DownloadConfig | None = None
    world: WorldConfig | None = None

    def __post_init__(self) -> None:
        self.kinds = self.kinds or _default_kinds()
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError that names the key if a value is impossible or two do not fit."""
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"data.name must be a plain name that a folder can have, got {self.name!r}; runs and bundles "
                "are called by it: write up to 128 letters of ASCII, digits, '.', '_' or '-', beginning with "
                "a letter or digit"
            )
        if not 0 <= self.max_rejected_fraction <= 1:
            raise ConfigError(
                f"data.max_rejected_fraction must be between 0 and 1, got {self.max_rejected_fraction}"
            )
        if not 0 <= self.max_unreadable_fraction <= 1:
            raise ConfigError(
                f"data.max_unreadable_fraction must be between 0 and 1, got {self.max_unreadable_fraction}"
            )
        if self.history_length < 1:
            raise ConfigError(f"data.history_length must be 1 or more, got {self.history_length}")
        # Built for its checks: an unknown kind is found before any file is read.
        EventKinds(self.kinds)
        self._validate_tables()
        self._validate_time()

    def _validate_more_events(self) -> None:
        """Raises ConfigError if further events declare what only all events together can have."""
        for name, table in self.more_events.items():
            # These look across files: declared for one of several, they would mean something else.
            if table.paths or table.deduplicate or table.unique or self.events.paths:
                raise ConfigError(
                    f"data.more_events.{name} must have a path, and no paths, deduplicate or unique: these "
                    f"belong to data.events, which holds for all; got path={table.path!r} and "
                    f"events.paths={dict(self.events.paths)}"
                )

    def _validate_tables(self) -> None:
        """Raises ConfigError if an option is not for its table, or features have no table."""
        self._validate_more_events()
        # One without the other would be ignored without a word.
        given = self.split.method is SplitMethod.given
        if given != bool(self.events.paths):
            raise ConfigError(
                "data.split.method=given and data.events.paths belong together, got "
                f"method={self.split.method} and paths={dict(self.events.paths)}; set both or neither"
            )
        if self.events.unique:
            raise ConfigError(
                f"data.events.unique={self.events.unique} is for items and users; for events there is "
                "deduplicate"
            )
        for name, table, features in (
            ("items", self.items, self.features.item),
            ("users", self.users, self.features.user),
        ):
            if table is None:
                if features:
                    raise ConfigError(
                        f"data.features declares {list(features)} of {name}, but there is no table "
                        f"data.{name}; add it or remove them"
                    )
            elif table.paths or table.deduplicate:
                raise ConfigError(
                    f"data.{name}.paths and deduplicate are for events, got {table.path!r}; use path"
                )

    def _validate_order(self) -> None:
        """Raises ConfigError if an order stands beside times, or the split reads one that is not there."""
        if self.time is not TimeMeaning.none and self.order is not Order.auto:
            raise ConfigError(
                f"data.order is for data.time=none, got {self.order} with time={self.time}, which orders "
                "events; leave it out"
            )
        if self.order is Order.none and self.split.needs_order:
            raise ConfigError(
                f"data.split.method={self.split.method} takes the ends of lists for what came last, got "
                "data.order=none; use method=random, leave out validate_end, or set data.order=events"
            )

    def _validate_time(self) -> None:
        """Raises ConfigError unless the split and the range fit what timestamps say."""
        # Where times only order a user's events, one cutoff is another moment for each user.
        if self.time is not TimeMeaning.absolute and self.split.method is SplitMethod.time:
            raise ConfigError(
                f"data.split.method=time needs data.time=absolute, got time={self.time}; use leave_last, "
                "last_fraction or random"
            )
        self._validate_order()
        if self.session_gap_minutes < 0 or (
            self.session_gap_minutes and self.time is not TimeMeaning.absolute
        ):
            raise ConfigError(
                "data.session_gap_minutes must be 0 or more and needs data.time=absolute, got "
                f"{self.session_gap_minutes} with {self.time}"
            )
        bounds = (self.timestamp_min, self.timestamp_max)
        if self.time is not TimeMeaning.absolute and bounds != (None, None):
            raise ConfigError(
                f"data.timestamp_min and timestamp_max need data.time=absolute, got {bounds} with {self.time}"
            )
        if None not in bounds and self.timestamp_min > self.timestamp_max:  # type: ignore[operator]  # neither is None
            raise ConfigError(f"data.timestamp_min must not be after timestamp_max, got {bounds}")
