"""The routes of what users decide of themselves. Their paths hold ids: no log and no error repeats one."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from marquee.errors import ConfigError, EventLogError, EventLogFullError
from marquee.store.people.users import Person
from serving.api.messages.requests import MAX_ID_LENGTH
from serving.api.messages.users import ConsentAnswer, ConsentRequest
from serving.http.errors import Problem, Refusal, unavailable
from serving.http.exchange import Call
from serving.recording.metrics import UserMetrics
from serving.recording.users import KeyedUsers
from serving.telemetry.metrics import Metrics

_THREADS = 4


class UserRoutes:
    """Notes what users say, in threads of their own: a flush takes milliseconds.

    Args:
        users: Where it is kept; None where users are kept under their own ids, or not at all.
        metrics: What counts.
        clock: Returns the time, seconds since 1970 UTC.
    """

    def __init__(
        self, users: KeyedUsers | None, metrics: Metrics, clock: Callable[[], float] = time.time
    ) -> None:
        self._users = users
        self._metrics = metrics.family(UserMetrics)
        self._clock = clock
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="user-routes")

    async def put_consent(self, call: Call, message: ConsentRequest) -> ConsentAnswer:
        """Notes how much of a user may be used, and answers once that holds for every worker.

        Raises:
            Refusal: If users are kept without a key, or the store refuses; nothing was then changed.
        """
        users, user_id = self._keyed(), named_user(call)
        work = partial(users.set_tier, user_id, message.tier, int(self._clock()))
        person = await asyncio.get_running_loop().run_in_executor(self._executor, _kept, work)
        self._metrics.count_consent(message.tier)
        call.facts = {"tier": message.tier.value}
        return ConsentAnswer(request_id=call.request_id, tier=message.tier, changed=person.changed)

    def close(self) -> None:
        """Waits for what is being noted."""
        self._executor.shutdown()

    def _keyed(self) -> KeyedUsers:
        """Returns the users; raises Refusal where they cannot say anything."""
        if self._users is None:
            raise Refusal(
                Problem.not_configured,
                "the service keeps nothing that users say, for it has no key for them; start it with "
                "MARQUEE_EVENTS and MARQUEE_USER_KEY",
            )
        return self._users


def named_user(call: Call) -> str:
    """Returns the user that a path names; raises Refusal if it is too long for one."""
    user_id = call.parameters["user_id"]
    if len(user_id) > MAX_ID_LENGTH:
        raise Refusal(
            Problem.invalid_request,
            f"user_id must have at most {MAX_ID_LENGTH} characters, got {len(user_id)}; name a user as "
            "requests do",
            field="user_id",
        )
    return user_id


def _kept(work: Callable[[], Person]) -> Person:
    """Returns the user after a change; raises Refusal if the store refuses."""
    try:
        return work()
    except EventLogFullError as error:
        raise Refusal(Problem.no_room, str(error)) from error
    except (EventLogError, ConfigError) as error:
        raise unavailable(str(error)) from error
