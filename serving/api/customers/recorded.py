"""Finds the customers of decisions in the log: the way back from the names that it keeps.

Under a key the log holds pseudonyms drawn at random. Only whoever has the ids can lead back to them: the run
of customers has, and its ids are asked for the pseudonym of each. Takes about a second for 100,000 customers,
so this is for a dry run and for no answer.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from marquee.core.targeting.customer import Customer
from marquee.decision.experiments.assignment import HELD_OUT, HOLDOUT
from marquee.store.log.event_log import Decision
from marquee.store.people.consent import Tier
from serving.api.customers.deciding import CustomersAtDecision
from serving.recording.users import KeyedUsers, KnownUsers

_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class RecordedCustomers:
    """The customers of some decisions.

    Attributes:
        can_tell: Whether names of the log lead to customers at all.
    """

    can_tell: bool = True
    _by_name: Mapping[str, Customer] = field(default_factory=dict)

    def find(self, decision: Decision) -> Customer | None:
        """Returns the customer of a decision, None where nothing is known or may be used."""
        is_held_out = any((name, arm) == (HOLDOUT, HELD_OUT) for name, _phase, arm in decision.experiments)
        if decision.user_id is None or is_held_out or decision.tier not in ("", Tier.personal.value):
            return None
        return self._by_name.get(decision.user_id)


NOBODY_RECORDED = RecordedCustomers()
"""Where no rule is for users."""


def recorded_customers(
    customers: CustomersAtDecision, users: KnownUsers, decisions: Iterable[Decision]
) -> RecordedCustomers:
    """Returns the customers of decisions, as far as consent and erasures of now allow.

    Args:
        customers: Of the run.
        users: Say under which names the log keeps them.
        decisions: From the log.

    Raises:
        EventLogError: If what users said cannot be read.
    """
    names = {one.user_id for one in decisions if one.user_id is not None}
    if not isinstance(users, KeyedUsers):
        is_allowed = users.default is Tier.personal
        told = {name: customers.named(name, None) for name in names} if is_allowed else {}
        return RecordedCustomers(True, {name: one for name, one in told.items() if one is not None})
    if not customers.has_plain_ids:
        return RecordedCustomers(can_tell=False)
    return RecordedCustomers(True, dict(_keyed(customers, users, names)))


def _keyed(
    customers: CustomersAtDecision, users: KeyedUsers, names: set[str]
) -> Iterator[tuple[str, Customer]]:
    """Yields the pseudonym and the customer of each who is among some names."""
    user_ids = list(customers.user_ids)
    for first in range(0, len(user_ids), _AT_ONCE):
        handles = {users.handle_of(user_id): user_id for user_id in user_ids[first : first + _AT_ONCE]}
        for handle, person in users.store().find_many(handles).items():
            if person.pseudonym not in names or person.tier_within(users.default) is not Tier.personal:
                continue
            customer = customers.named(handles[handle], person.erased)
            if customer is not None:
                yield person.pseudonym, customer
