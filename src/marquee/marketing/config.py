"""The declaration of customers: their tables, their columns, traits and audiences."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any  # a trait's keys depend on its type: see `traits.read_trait_config`
from urllib.parse import urlsplit

from marquee.core.moments import read_moment
from marquee.data.declared_table import MAX_REJECTED_FRACTION
from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError


class Kind(StrEnum):
    """The meaning of a column of customers."""

    number = "number"
    category = "category"
    date = "date"
    ignore = "ignore"


class Purpose(StrEnum):
    """The use of an audience: `contact` lifts the floor for lists of leads, and is written down."""

    advertise = "advertise"
    contact = "contact"


class Channel(StrEnum):
    """Where contacts go: a file beside the runs, or a signed request."""

    file = "file"
    webhook = "webhook"


@dataclass(kw_only=True)
class FollowUpConfig:
    """How the members of an audience are spoken to.

    Attributes:
        channel: `file` or `webhook`.
        url: Of the webhook.
        hosts: Names of hosts that a webhook may call.
        secret: Variable of the environment with the key that requests are signed with.
        wait_days: From becoming a member to the first contact.
        again_days: From one contact to the next; 0 for one contact alone.
        cap: Most contacts of a person in `cap_days`, over all audiences of the runs.
        cap_days: Length of the window of the cap.
        stop: SQL condition over columns and traits that a conversion fulfils: such a person is left alone.
    """

    channel: Channel = Channel.file
    url: str = ""
    hosts: list[str] = field(default_factory=list)
    secret: str = ""
    wait_days: float = 0.0
    again_days: float = 0.0
    cap: int = 1
    cap_days: float = 7.0
    stop: str = ""

    def __post_init__(self) -> None:
        if self.channel is Channel.webhook:
            host = urlsplit(self.url).hostname
            if host is None or host not in self.hosts:
                raise ConfigError(
                    f"follow_up.url must lead to one of hosts, got {self.url!r} and {list(self.hosts)}; add "
                    "its host if you trust it"
                )
            if urlsplit(self.url).scheme != "https" and host not in ("localhost", "127.0.0.1"):
                raise ConfigError(f"follow_up.url must begin with https://, got {self.url!r}")
            if not self.secret:
                raise ConfigError(
                    f"follow_up of {self.url!r} must be signed, got no secret; name the environment variable "
                    "that holds its key"
                )
        if min(self.wait_days, self.again_days) < 0 or self.cap < 1 or self.cap_days <= 0:
            raise ConfigError(
                "follow_up needs wait_days and again_days of 0 or more, cap of 1 or more and cap_days above "
                f"0, got {self.wait_days}, {self.again_days}, {self.cap} and {self.cap_days}"
            )


@dataclass(kw_only=True)
class AudienceConfig:
    """A named condition over attributes and traits.

    Attributes:
        where: SQL condition over columns and traits; empty for everybody.
        order: Column or trait by which members stand, highest first; empty for the order of the table.
        top: At most so many, by the order; 0 for all.
        budget: Money for contacts, in the unit of `cost`; 0 for no bound.
        cost: Of one contact.
        seeds: File with one user id per line; members are those who are most like them.
        vectors: Parquet file with `user_id` and `vector`, by which they are alike, beside their columns.
        activity: Column that says how active a customer is; empty for the orders of the transactions.
        ignore: Columns by which nobody is like a seed.
        holdout: Share of the members who are drawn at random and not spoken to.
        purpose: `advertise`, or `contact`.
        gap_at_most: Largest difference of the share that is chosen between two groups of a protected column;
            the audience is refused where the whole interval lies beyond it. None for no bound.
        follow_up: How members are spoken to; see `marquee follow-up`.
    """

    where: str = ""
    order: str = ""
    top: int = 0
    budget: float = 0.0
    cost: float = 0.0
    seeds: str = ""
    vectors: str = ""
    activity: str = ""
    ignore: list[str] = field(default_factory=list)
    holdout: float = 0.0
    purpose: Purpose = Purpose.advertise
    gap_at_most: float | None = None
    follow_up: FollowUpConfig | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.holdout < 1:
            raise ConfigError(f"holdout must lie in [0, 1), got {self.holdout}; 0.1 keeps one in ten back")
        if self.gap_at_most is not None and not 0 <= self.gap_at_most < 1:
            raise ConfigError(
                f"gap_at_most must lie in [0, 1), got {self.gap_at_most:g}; 0.1 allows 30 % of one group "
                "beside 20 % of another"
            )
        if self.seeds and self.order:
            raise ConfigError(
                f"an audience of seeds stands by likeness, got order={self.order!r}; leave it out"
            )
        if self.top < 0 or self.budget < 0 or self.cost < 0:
            raise ConfigError(
                f"top, budget and cost must be 0 or more, got {self.top}, {self.budget} and {self.cost}"
            )
        if bool(self.budget) != bool(self.cost):
            raise ConfigError(
                f"a budget needs the cost of one contact, got budget={self.budget:g} and cost={self.cost:g}"
            )
        if 0 < self.budget < self.cost:
            raise ConfigError(
                f"a budget must pay for one contact, got budget={self.budget:g} and cost={self.cost:g}; "
                "raise it, or set 0 for no bound"
            )
        if (self.top or self.budget) and not (self.order or self.seeds):
            raise ConfigError(
                f"top={self.top} and budget={self.budget:g} need an order; name a trait or a column in order"
            )


@dataclass(kw_only=True)
class CustomersConfig:
    """Customers from a table of them, of their transactions, or both.

    Attributes:
        name: Of the report and of the folder of its runs.
        root: Where paths start.
        users: One row per customer; `columns.user_id` names the id, and without it the row number is one.
        transactions: One row per purchase: `user_id`, `timestamp`, and `value` where amounts are known.
        columns: Column → what it is: `number`, `category`, `date`, or `ignore`; inferred where not said.
        known_after: Columns that were filled after the outcome: never used.
        protected: Columns that only slice the report: never used to compute a trait.
        use_protected: Whether traits may use the protected columns all the same.
        consent: Column of what a customer agreed to: `personal`, `segment` or `none`; empty if all agreed.
        as_of: Day at which ages and times since are taken; empty for the day after the last transaction.
        erased: File with one user id per line: they are neither learned from nor scored.
        pseudonyms: Variable of the environment with the key that ids are hashed with; empty for plain ids.
        traits: Name → `type` and the keys of that type.
        audiences: Name → audience.
        seed: Of folds and draws.
        max_rejected_fraction: Of the rows of a table that may be wrong.
    """

    name: str
    root: str = "."
    users: TableConfig | None = None
    transactions: TableConfig | None = None
    columns: dict[str, Kind] = field(default_factory=dict)
    known_after: list[str] = field(default_factory=list)
    protected: list[str] = field(default_factory=list)
    use_protected: bool = False
    consent: str = ""
    as_of: str = ""
    erased: str = ""
    pseudonyms: str = ""
    traits: dict[str, Any] = field(default_factory=dict)
    audiences: dict[str, AudienceConfig] = field(default_factory=dict)
    seed: int = 0
    max_rejected_fraction: float = MAX_REJECTED_FRACTION

    def __post_init__(self) -> None:
        if self.users is None and self.transactions is None:
            raise ConfigError(
                "customers need a table, got neither users nor transactions; add users: {path: …}"
            )
        if not self.traits and not self.audiences:
            raise ConfigError(
                "there is nothing to compute, got neither traits nor audiences; add traits: {leaves: {type: "
                "probability, outcome: …}}"
            )
        both = sorted(self.traits.keys() & self.audiences.keys())
        if both:
            raise ConfigError(f"{both} name a trait and an audience; rename one")
        for name in (*self.traits, *self.audiences):
            _validate_name(name)
        bounded = [name for name, own in self.audiences.items() if own.gap_at_most is not None]
        if bounded and not self.protected:
            raise ConfigError(
                f"gap_at_most of {bounded} needs columns whose groups are compared, got none; list them in "
                "protected"
            )
        if self.as_of and read_moment(self.as_of) is None:
            raise ConfigError(f"as_of must be a day as 2026-03-01, got {self.as_of!r}")

    @property
    def moment(self) -> float | None:
        """`as_of` in seconds since 1970; None where it is not given."""
        moment = read_moment(self.as_of) if self.as_of else None
        return None if moment is None else moment.timestamp()


def _validate_name(name: str) -> None:
    """Raises ConfigError unless a name can be a column of SQL and a part of a path."""
    if not name.isidentifier() or name == "user_id":
        raise ConfigError(
            f"a trait or audience needs a name of letters, digits and underscores, got {name!r}; its name is "
            "a column and a file"
        )
