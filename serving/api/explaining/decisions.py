"""Finds the record of a decision, as far as it may still be told.

A decision that was just made may be on its way to the store: it is looked for again for as long as it may be.
Whoever was erased is unknown at once, also while files of closed days still hold their decisions.
"""

import time
from collections.abc import Callable

from marquee.core.reasons import Reason
from marquee.store.log.decision_ids import made_ms
from marquee.store.log.decision_writer import GROUP_S
from marquee.store.log.event_log import Decision
from marquee.store.log.log_rows import MS_PER_DAY
from serving.http.errors import Problem, Refusal
from serving.recording.opening import OpenedLog
from serving.recording.users import KnownUsers, PlainUsers

# Until when a decision may still wait for its transaction, and how often it is looked for until then.
_SETTLED_MS = 2_000
_LOOKS = 5


class KeptDecisions:
    """The decisions on record. May be asked by several threads.

    Args:
        log: Where they are kept; None where they are not.
        users: Say who was erased.
        keep_days: Age at which they are deleted; 0: never.
        clock: Returns the time, seconds since 1970 UTC.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        log: OpenedLog | None,
        users: KnownUsers | None = None,
        keep_days: int = 0,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._log = log
        self._users = users or PlainUsers()
        self._keep_days = keep_days
        self._clock = clock
        self._sleep = sleep

    def validate(self, decision_id: str) -> None:
        """Raises Refusal if an id is that of no decision that may be told; reads nothing."""
        if self._log is None:
            raise Refusal(
                Problem.not_configured,
                "the service keeps no decisions, so there is none to explain; start it with MARQUEE_EVENTS",
            )
        made = made_ms(decision_id)
        if made is None:
            raise _unknown(decision_id)
        if self._keep_days and made < int(self._clock() * 1000) - self._keep_days * MS_PER_DAY:
            raise Refusal(
                Problem.decision_expired,
                f"decisions are kept for {self._keep_days} days, got one that is older by its id; ask for a "
                "later one",
            )

    def find(self, decision_id: str) -> Decision:
        """Returns a decision that `validate` lets pass.

        Raises:
            Refusal: If there is none.
            EventLogError: If a store cannot be read.
            OSError: If a file of a closed day cannot be.
        """
        decision = self._find(decision_id)
        if decision is None or self._is_erased(decision):
            raise _unknown(decision_id)
        return decision

    def _find(self, decision_id: str) -> Decision | None:
        """Returns a decision, waiting for one that may still be on its way to the store."""
        made = made_ms(decision_id)
        assert self._log is not None, "validate comes first"
        assert made is not None, "validate comes first"
        for _ in range(_LOOKS):
            found = self._log.find_decision(decision_id)
            if found is not None or int(self._clock() * 1000) - made > _SETTLED_MS:
                return found
            self._sleep(GROUP_S)
        return None

    def _is_erased(self, decision: Decision) -> bool:
        """Returns whether the user of a decision was erased."""
        name = decision.user_id
        return name is not None and self._users.may_stay([name])[name] is Reason.erased


def _unknown(decision_id: str) -> Refusal:
    """Returns the refusal of a decision that there is none of; an erased one looks the same."""
    return Refusal(
        Problem.not_found,
        f"there is no decision {decision_id[:64]!r}; send the decision_id of an answer that was recorded",
    )
