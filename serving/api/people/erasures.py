"""The routes by which people are erased, and told what is held of them. No log repeats their ids."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import msgspec

from marquee.errors import BundleError, ConfigError, DataError, EventLogError, EventLogFullError
from marquee.store.ledger.caps import SEPARATOR
from serving.api.customers.asked import AskedCustomers
from serving.api.messages.erasures import (
    AdsMessage,
    ChargeMessage,
    ConsentMessage,
    HeldEvent,
    ReceiptAnswer,
    ReceiptMessage,
    ShownMessage,
    TraitsMessage,
    UserAnswer,
)
from serving.api.people.consent import named_user
from serving.http.errors import Problem, Refusal, unavailable
from serving.http.exchange import Call, read_number
from serving.recording.erasing import Erasures, Held
from serving.recording.metrics import ErasureMetrics
from serving.telemetry.metrics import Metrics

Done = TypeVar("Done")

MAX_ROWS = 1000
"""Most rows of a page of what is held."""

# More than one: an export that reads many files must not hold up an erasure.
_THREADS = 4


class ErasureRoutes:
    """Erases people, and tells what is held of them, in threads of their own: disks may be slow.

    Args:
        erasures: What erases; None where users are kept under their own ids, or not at all.
        metrics: What counts.
        clock: Returns the time, seconds since 1970 UTC.
        customers: The run of customers; None where the service has none.
    """

    def __init__(
        self,
        erasures: Erasures | None,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        customers: AskedCustomers | None = None,
    ) -> None:
        self._erasures = erasures
        self._customers = customers
        self._metrics = metrics.family(ErasureMetrics)
        self._clock = clock
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="erasure-routes")

    async def delete(self, call: Call) -> ReceiptAnswer:
        """Erases a user, and answers once no worker knows them any more.

        Raises:
            Refusal: If users are kept without a key, or a store refuses; asked again, it goes on.
        """
        work = partial(self._known().erase, named_user(call), int(self._clock()))
        signed = await self._done(work)
        receipt = signed.receipt
        self._metrics.count_asked()
        call.facts = {"events": receipt.events, "decisions": receipt.decisions}
        if receipt.finished is None:
            call.status = 202  # accepted: files of closed days are still to be written anew
        return ReceiptAnswer.of(signed, call.request_id)

    async def receipt(self, call: Call) -> ReceiptAnswer:
        """Returns the receipt of the latest erasure of a user; raises Refusal if there was none."""
        signed = await self._done(partial(self._known().latest, named_user(call)))
        if signed is None:
            raise Refusal(
                Problem.not_found,
                "the user must have been erased for a receipt, got one who was not; DELETE them first",
            )
        return ReceiptAnswer.of(signed, call.request_id)

    async def get(self, call: Call) -> UserAnswer:
        """Returns a page of what is held of a user; raises Refusal if limit or cursor is none."""
        limit, cursor = read_number(call.query, "limit", MAX_ROWS, MAX_ROWS), call.query.get("cursor", "")
        user_id = named_user(call)
        held = await self._done(partial(self._known().held, user_id, cursor, limit))
        traits = await self._done(partial(self._traits, user_id, held.person.erased))
        return _told(held, traits, call.request_id)

    def close(self) -> None:
        """Waits for what is being erased."""
        self._executor.shutdown()
        if self._erasures is not None:
            self._erasures.close()

    def _traits(self, user_id: str, erased: int | None) -> TraitsMessage | None:
        """Returns the traits of a user; raises Refusal if the run cannot be read any more."""
        try:
            return None if self._customers is None else self._customers.traits_of(user_id, erased)
        except BundleError as error:
            raise unavailable(str(error)) from error

    async def _done(self, work: Callable[[], Done]) -> Done:
        """Returns the result of some work; raises Refusal if a store refuses."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, work)
        except DataError as error:
            raise Refusal(Problem.invalid_request, str(error), field="cursor") from error
        except EventLogFullError as error:
            raise Refusal(Problem.no_room, str(error)) from error
        except (EventLogError, ConfigError, OSError) as error:
            raise unavailable(str(error)) from error

    def _known(self) -> Erasures:
        """Returns the erasures; raises Refusal where nobody can be erased."""
        if self._erasures is None:
            raise Refusal(
                Problem.not_configured,
                "the service can erase nobody, for it has no key for users; start it with MARQUEE_EVENTS and "
                "MARQUEE_USER_KEY",
            )
        return self._erasures


def _told(held: Held, traits: TraitsMessage | None, request_id: str) -> UserAnswer:
    """Returns the message that tells what is held."""
    person = held.person
    return UserAnswer(
        request_id=request_id,
        tier=person.tier,
        changed=person.changed or None,
        erased=person.erased,
        consents=tuple(ConsentMessage(time=one.time, tier=one.tier) for one in held.consents),
        receipts=tuple(
            msgspec.convert(msgspec.to_builtins(one.receipt), ReceiptMessage) for one in held.receipts
        ),
        events=tuple(HeldEvent(**row) for row in held.page.events),
        decisions=tuple(held.page.decisions),
        traits=traits,
        ads=_ads(held),
        cursor=held.page.cursor,
    )


def _ads(held: Held) -> AdsMessage:
    """Returns the message that tells what campaigns hold."""
    counted = sorted((time_ms, key) for key, times in held.shown.items() for time_ms in times)
    return AdsMessage(
        shown=tuple(_counted(key, time_ms) for time_ms, key in counted),
        charges=tuple(ChargeMessage(**charge._asdict()) for charge in held.charges),
    )


def _counted(key: str, time_ms: int) -> ShownMessage:
    """Returns the message that tells one count of an ad."""
    per, *of = key.split(SEPARATOR)
    return ShownMessage(per=per, of=tuple(of), time_ms=time_ms)
