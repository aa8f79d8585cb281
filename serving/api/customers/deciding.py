"""Finds the user of an answer as a customer, as far as it may be used, in memory.

Consent and erasures hold: below the tier `personal` nothing is looked up, nor of anybody who was erased since
the run began. Where what a user said cannot be read, the request comes without them.
"""

from collections.abc import Collection

from marquee.core.targeting.customer import Customer
from marquee.core.targeting.targeting import NO_CUSTOMERS, CustomerFacts
from marquee.store.people.consent import Tier
from serving.api.customers.followed import FollowedRun
from serving.recording.identity import Identified


class CustomersAtDecision:
    """The customers of the run that this worker answers by.

    Args:
        followed: The run; None where the service has none.
    """

    def __init__(self, followed: FollowedRun | None = None) -> None:
        self._followed = followed

    @property
    def facts(self) -> CustomerFacts:
        """The names of traits and audiences that there are."""
        return NO_CUSTOMERS if self._followed is None else self._followed.at_hand.facts

    @property
    def has_plain_ids(self) -> bool:
        """Whether the run holds ids as requests name users, and no pseudonyms."""
        return self._followed is None or not self._followed.at_hand.has_pseudonyms

    @property
    def user_ids(self) -> Collection[str]:
        """Everybody of whom the run knows traits, as it names them."""
        return () if self._followed is None else self._followed.at_hand.user_ids

    def find(self, identified: Identified) -> Customer | None:
        """Returns a user as a customer, None where nothing is known or may be used."""
        user, user_id = identified.user, identified.user_id
        if self._followed is None or user is None or user_id is None:
            return None
        if identified.request.tier is not Tier.personal:
            return None
        return self.named(user_id, user.erased)

    def named(self, user_id: str, erased: int | None) -> Customer | None:
        """Returns a customer by their id, None where nothing is known or may be used.

        Args:
            user_id: As the table of customers has it.
            erased: When they were last erased, seconds since 1970 UTC; None if never.
        """
        if self._followed is None:
            return None
        customers = self._followed.at_hand
        # Who was erased since the run began stands in its files.
        return None if (erased or 0) >= customers.run.manifest.started else customers.find(user_id)


NOBODY = CustomersAtDecision()
"""Of a service without a run of customers."""
