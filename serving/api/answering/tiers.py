"""How much of a user may be used, known before a request becomes a job: the arm that answers follows from it.

An answer reads what its user said in the thread that answers, which is too late for arms. Whom this process
has read before is known without a read. Others are read here, only where there are arms, and an answer waits
for that no longer than for a profile.
"""

import asyncio
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from marquee.errors import ConfigError, EventLogError
from marquee.store.people.consent import Tier
from serving.recording.profiles import BUDGET_S
from serving.recording.users import KnownUsers


class Tiers:
    """The tiers of users; belongs to one event loop.

    Args:
        users: Say what was said.
        budget_s: How long a request waits.
    """

    def __init__(self, users: KnownUsers, budget_s: float = BUDGET_S) -> None:
        self._users = users
        self._budget_s = budget_s
        self._is_late = False
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="tiers")

    async def read(self, user_ids: Collection[str]) -> dict[str, Tier]:
        """Returns how much of each user may be used; leaves out of whom that cannot be had in time."""
        at_hand = {user_id: self._users.at_hand(user_id) for user_id in user_ids}
        known = {user_id: user.tier for user_id, user in at_hand.items() if user is not None}
        unknown = [user_id for user_id in at_hand if user_id not in known]
        # Where a read hangs nobody waits behind it, and none is put behind it.
        if not unknown or self._is_late:
            return known
        reading = asyncio.get_running_loop().run_in_executor(self._executor, self._look_up, unknown)
        in_time, _ = await asyncio.wait([reading], timeout=self._budget_s)
        self._is_late = not in_time
        if in_time:
            return known | reading.result()
        reading.add_done_callback(self._end_late)
        return known

    def close(self) -> None:
        """Ends the thread, unless it hangs."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _end_late(self, _reading: "asyncio.Future[dict[str, Tier]]") -> None:
        """Lets requests read again."""
        self._is_late = False

    def _look_up(self, user_ids: Collection[str]) -> dict[str, Tier]:
        """Reads how much of each user may be used, as far as the store can be used."""
        found: dict[str, Tier] = {}
        with suppress(EventLogError, ConfigError):  # told by the thread of profiles, which reads them as well
            for user_id in user_ids:
                found[user_id] = self._users.look_up(user_id).tier
        return found
