"""The decisions that events name: whose they were, and whether there ever was one of that name."""

import time
from collections.abc import Callable, Collection, Mapping

from marquee.store.log.decision_ids import made_ms
from marquee.store.log.event_log import EventLog
from marquee.store.log.event_rows import MAX_CLOCK_ERROR, EventLimits

YOUNG_S = 0.1
"""Until a decision is this old it may still wait for its group, on whichever worker it was made."""


class TooEarlyError(Exception):
    """A decision is not on record, and so young that it may be in a moment."""


class NamedDecisions:
    """Looks decisions up by the names that one body of events gives.

    Args:
        log: Where they are.
        limits: How old an event may be.
        clock: Returns the time, seconds since 1970 UTC.
        may_wait: Whether the body can wait `YOUNG_S` for decisions that are not on record yet.
    """

    def __init__(
        self,
        log: EventLog,
        limits: EventLimits,
        clock: Callable[[], float] = time.time,
        *,
        may_wait: bool = False,
    ) -> None:
        self._log = log
        self._closed_s = limits.horizon + 2 * MAX_CLOCK_ERROR
        self._clock = clock
        self._may_wait = may_wait

    def users_of(self, decision_ids: Collection[str]) -> Mapping[str, str | None]:
        """Returns the user of each decision, None for nobody's; those that nobody made are left out.

        Raises:
            TooEarlyError: If the body can wait and should.
            EventLogError: If the log cannot be read.
        """
        found = self._log.users_of(decision_ids)
        missing = {name: self._age_s(name) for name in decision_ids if name not in found}
        # The answer is out, its record still waits for its group: a program clicks as fast as that.
        if self._may_wait and any(age_s is not None and abs(age_s) < YOUNG_S for age_s in missing.values()):
            raise TooEarlyError
        # Their day may have left the store for a file: an event that late is an orphan to nobody.
        found |= {
            name: None for name, age_s in missing.items() if age_s is not None and age_s > self._closed_s
        }
        return found

    def _age_s(self, decision_id: str) -> float | None:
        """Returns how many seconds ago a decision was made, None for an id that is none of ours."""
        made = made_ms(decision_id)
        return None if made is None else self._clock() - made / 1000
