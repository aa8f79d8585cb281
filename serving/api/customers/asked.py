"""The common part of the routes on customers: the run that answers, and who may be spoken of."""

from collections.abc import Collection

from marquee.bundle.traits.run import CustomersRun
from marquee.errors import EventLogError
from marquee.store.people.consent import Tier, strictest
from serving.api.customers.followed import FollowedRun
from serving.api.messages.erasures import TraitsMessage
from serving.http.errors import Problem, Refusal, unavailable
from serving.recording.users import KeyedUsers


class AskedCustomers:
    """A run of customers beside what users have said since.

    Args:
        followed: The run; None where the service has none.
        users: What users said; None where they are kept under their own ids, or not at all.
        default: How much of a person may be used who has said nothing.
    """

    def __init__(
        self, followed: FollowedRun | None, users: KeyedUsers | None, default: Tier = Tier.personal
    ) -> None:
        self._followed = followed
        self._users = users
        self._default = default

    @property
    def run(self) -> CustomersRun:
        """The run that answers; raises Refusal where there is none."""
        if self._followed is None:
            raise Refusal(
                Problem.not_configured,
                "the service has no run of customers; start it with MARQUEE_TRAITS, which names one such as "
                "runs/customers/churn/latest",
            )
        return self._followed.current

    @property
    def reads_users(self) -> bool:
        """Whether what a user said must be read from a store."""
        return self._users is not None

    def tier(self, user_id: str | None, said: Tier | None) -> Tier:
        """Returns how much of somebody may be used.

        Args:
            user_id: Who it is; None if nobody says.
            said: What the request says.

        Raises:
            Refusal: If what users said cannot be read.
        """
        tiers = [] if said is None else [said]
        if user_id is None or self._users is None:
            # A form that says who agreed to it needs no default.
            return strictest(tiers) if tiers else self._default
        try:
            person = self._users.store().find(self._users.handle_of(user_id))
        except EventLogError as error:
            raise unavailable(str(error)) from error
        return strictest([*tiers, person.tier_within(self._default)])

    def traits_of(self, user_id: str, erased: int | None) -> TraitsMessage | None:
        """Returns the traits of a user, None where there are none to tell.

        Args:
            user_id: As the table of customers has it.
            erased: When they were last erased, seconds since 1970 UTC; None if never.
        """
        if self._followed is None:
            return None
        run = self._followed.current
        # Who was erased since the run began stands in its files, and must not be told.
        values = None if (erased or 0) >= run.manifest.started else run.traits_of(user_id)
        return None if values is None else TraitsMessage.of(run, values)

    def hidden(self, user_ids: Collection[str], started: int) -> frozenset[str]:
        """Returns who must not be named any more: erased since a run began, or below `personal`.

        Args:
            user_ids: As the run names them.
            started: When the run began, seconds since 1970 UTC.

        Raises:
            Refusal: If what users said cannot be read.
        """
        if self._users is None:
            return frozenset() if self._default is Tier.personal else frozenset(user_ids)
        handles = {user_id: self._users.handle_of(user_id) for user_id in user_ids}
        try:
            persons = self._users.store().find_many(handles.values())
        except EventLogError as error:
            raise unavailable(str(error)) from error
        return frozenset(
            user_id
            for user_id, handle in handles.items()
            if (person := persons[handle]).tier_within(self._default) is not Tier.personal
            or (person.erased or 0) >= started
        )
