"""Targeting: which users a decision is for, by the traits and audiences of a run of customers.

Rules (`marquee.store.rules.rule`) use it, and a campaign can: `Targeting(where="leaves >= 0.5",
audiences=("keep",))` is read and checked once, `targeting.matches(customer)` is asked at each decision, in
a few microseconds, without a disk. At an answer the customer of whoever asks is `Identified.customer`
(`serving.recording.identity`), which is None wherever nothing may be used: below the tier `personal`, after
an erasure, in a holdout. `validate(facts)` says, when a targeting is put, what the run that is served lacks;
`missing(facts)` says it of one that was put for another run.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from marquee.core.targeting.condition import Condition, read_condition
from marquee.core.targeting.customer import Customer
from marquee.errors import DataError

_SHOWN = 20
"""Names that a message holds."""


@dataclass(frozen=True, slots=True)
class CustomerFacts:
    """The names that a run of customers has.

    Attributes:
        run: Its name; empty where no run is served.
        traits: Column of traits → `number`, `text` or `flag`.
        audiences: Those whose members are told.
        segments: Those that its customers are in, by the trait `SEGMENT`.
    """

    run: str = ""
    traits: Mapping[str, str] = field(default_factory=dict)
    audiences: frozenset[str] = frozenset()
    segments: frozenset[str] = frozenset()


NO_CUSTOMERS = CustomerFacts()
"""Of a service that serves no run of customers."""


@dataclass(frozen=True, slots=True)
class Targeting:
    """Which users something is for. Nobody of whom nothing is known is among them.

    Attributes:
        where: Condition on traits, see `condition`; empty for any.
        audiences: Users are contacts of one of these; empty for any.

    Raises:
        DataError: If neither is given, or the condition is none.

    Example:
        >>> rescue = Targeting(where="leaves >= 0.5", audiences=("keep", "gold"))
        >>> rescue.matches(Customer({"leaves": 0.7}, frozenset({"gold"})))
        True
        >>> rescue.matches(Customer({"leaves": 0.7})), rescue.matches(None)
        (False, False)
    """

    where: str = ""
    audiences: tuple[str, ...] = ()
    _condition: Condition | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.where.strip() and not self.audiences:
            raise DataError(
                f"users must be told by where or by audiences, got where={self.where!r} and no audience; "
                "give one of them, or leave users out for everybody"
            )
        if self.where.strip():
            object.__setattr__(self, "_condition", read_condition(self.where))

    def matches(self, customer: Customer | None) -> bool:
        """Tells whether a user is meant; None, of whom nothing is known or may be used, never is."""
        if customer is None:
            return False
        if self.audiences and customer.audiences.isdisjoint(self.audiences):
            return False
        return self._condition is None or self._condition.holds(customer.traits) is True

    @property
    def traits(self) -> tuple[str, ...]:
        """The traits that it reads."""
        return () if self._condition is None else tuple(self._condition.compared)

    def missing(self, facts: CustomerFacts) -> str:
        """Returns the first trait or audience that a run lacks, in words; empty if it has all."""
        for name in self.traits:
            if name not in facts.traits:
                return f"{_of(facts)} has no trait {name!r}{_near(name, facts.traits)}"
        for name in self.audiences:
            if name not in facts.audiences:
                return f"{_of(facts)} tells no audience {name!r}{_near(name, facts.audiences)}"
        return ""

    def validate(self, facts: CustomerFacts) -> None:
        """Raises DataError if a run lacks a trait or an audience, or a trait and its value are of two kinds.

        Args:
            facts: Of the run that is served.
        """
        if missing := self.missing(facts):
            raise DataError(f"{missing}; correct it")
        compared: Mapping[str, Collection[str]] = {} if self._condition is None else self._condition.compared
        for name, kinds in compared.items():
            for kind in sorted(kinds):
                if kind != facts.traits[name]:
                    raise DataError(
                        f"{name} must be compared with a {facts.traits[name]}, got a {kind} in "
                        f"{self.where!r}; a text stands in single quotes, a number in none"
                    )


def _of(facts: CustomerFacts) -> str:
    """Returns the words for a run."""
    return f"the run of customers {facts.run}" if facts.run else "a service without a run of customers"


def _near(name: str, known: Collection[str]) -> str:
    """Returns a hint on the names that there are."""
    near = get_close_matches(name, known, n=1)
    return f", did you mean {near[0]!r}?" if near else f", it has {sorted(known)[:_SHOWN]}"
