"""The nouns of the ledger. All money is whole millionths of the service's currency."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

FLIGHT = ""
"""The day of the account of a whole flight."""


class Books(Protocol):
    """The tables within one transaction."""

    def run(self, statement: str, bindings: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Returns the rows of one statement."""

    def run_many(self, statement: str, bindings: Sequence[Sequence[object]]) -> None:
        """Runs one statement once for each row of values."""


class Limits(NamedTuple):
    """The money that a campaign may spend, as it says now.

    Attributes:
        campaign_id: The campaign.
        day: Day in its zone, as `2026-03-29`.
        total: What may be charged in all, None for no bound.
        daily: What may be charged on that day, None for no bound.
        version: Of the campaign; an earlier one never replaces a later one.
    """

    campaign_id: str
    day: str
    total: int | None
    daily: int | None
    version: int


class LeaseRequest(NamedTuple):
    """A wish for money.

    Attributes:
        holder: The worker, for people who look into the tables.
        limits: Whose money, and how much there may be.
        least: Less than this is of no use.
        wanted: As much as this if there is plenty.
        duration_ms: How long it is to be held.
    """

    holder: str
    limits: Limits
    least: int
    wanted: int
    duration_ms: int


class Lease(NamedTuple):
    """A slice of a budget.

    Attributes:
        number: Higher than that of any earlier lease of this ledger.
        amount: What may be spent of it.
    """

    number: int
    amount: int


class Returned(NamedTuple):
    """A lease that its holder will spend no more of.

    Attributes:
        number: Of the lease.
        spent: What decisions have reserved of it, those included that are not in the log yet.
    """

    number: int
    spent: int


class Account(NamedTuple):
    """The money of a campaign, in all or on one day.

    Attributes:
        campaign_id: The campaign.
        day: In its zone; `FLIGHT` for the whole flight.
        budget: What may be charged, None for no bound.
        charged: What was charged.
        held: What leases and open reservations hold.
        n_sold: Ads of decisions that are in the log.
        n_charged: Events that were charged.
        n_unbilled: Events that came and could not be charged.
        unbilled: Their price.
    """

    campaign_id: str
    day: str
    budget: int | None
    charged: int
    held: int
    n_sold: int
    n_charged: int
    n_unbilled: int
    unbilled: int

    @property
    def free(self) -> int | None:
        """The rest that nobody holds and nobody was charged, None for no bound."""
        return None if self.budget is None else self.budget - self.charged - self.held


class Unbilled(StrEnum):
    """The reasons for which a billable event is not charged."""

    late = "late"  # its time was over
    fenced = "fenced"  # the lease of its decision had been given back
    no_money = "no_money"  # the budget is spent


class Charge(NamedTuple):
    """An ad of an answer, and what became of its price.

    Attributes:
        decision_id: The answer.
        item_id: The ad.
        campaign_id: Who pays for it.
        bid_type: For which event.
        price: What that event costs, millionths.
        state: `open`, `charged`, `unbilled`, `released` or `fenced`.
    """

    decision_id: str
    item_id: str
    campaign_id: str
    bid_type: str
    price: int
    state: str


class Followed(NamedTuple):
    """The outcome of reading the log.

    Attributes:
        n_decisions: Decisions that sold ads.
        n_events: Events that were read.
        n_charged: Events that were charged.
        charged: What they cost.
        unbilled: Events that were not, by reason.
        n_released: Reservations whose time was over.
    """

    n_decisions: int = 0
    n_events: int = 0
    n_charged: int = 0
    charged: int = 0
    unbilled: Mapping[Unbilled, int] = {}
    n_released: int = 0

    def __add__(self, other: object) -> "Followed":
        """Returns the outcome of both together."""
        assert isinstance(other, Followed), f"only outcomes can be added, got {other!r}"
        reasons = {*self.unbilled, *other.unbilled}
        return Followed(
            self.n_decisions + other.n_decisions,
            self.n_events + other.n_events,
            self.n_charged + other.n_charged,
            self.charged + other.charged,
            {one: self.unbilled.get(one, 0) + other.unbilled.get(one, 0) for one in reasons},
            self.n_released + other.n_released,
        )


class Cap(NamedTuple):
    """One bound on how often a user is shown something.

    Attributes:
        key: Names what is counted.
        limit: How often.
        window_ms: Within any window of this length.
    """

    key: str
    limit: int
    window_ms: int


class CapClaim(NamedTuple):
    """One ad that is to be shown to a user.

    Attributes:
        counted: Keys under which it counts, once it is shown.
        caps: The bounds that must hold.
    """

    counted: tuple[str, ...] = ()
    caps: tuple[Cap, ...] = ()


Shown = Mapping[str, Sequence[int]]
"""When a user was shown what is counted: key → milliseconds since 1970 UTC, in no order."""


def is_capped(claim: CapClaim, shown: Shown, now_ms: int) -> bool:
    """Returns whether a bound of an ad is reached.

    A row of the future counts: the clock of whoever wrote it was ahead, or ours was set back.
    """
    return any(
        sum(time > now_ms - cap.window_ms for time in shown.get(cap.key, ())) >= cap.limit
        for cap in claim.caps
    )
