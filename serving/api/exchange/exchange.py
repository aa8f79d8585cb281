"""Routes of an exchange: its bid requests, and the notices that settle bids.

An exchange is told no in its own words: 204 without content, or the number of a reason. What goes wrong here
costs it no more than a bid.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec

from marquee.ads.openrtb.answering import NoBid, no_bid_of
from marquee.ads.openrtb.messages import BidRequest
from marquee.ads.openrtb.notices import NoticeKind, Settled, settled_price
from marquee.ads.openrtb.reading import read_bid_request
from marquee.core.event_kinds import EventKind
from marquee.errors import BidRequestError, ConfigError, EventLogError, NoticeError
from marquee.store.log.decision_ids import made_ms
from marquee.store.log.event_log import Event, Kept
from marquee.store.log.event_rows import MAX_ID_LENGTH, SETTLED_PREFIX
from serving.api.exchange.bidder import Bidder, Outcome
from serving.api.exchange.messages import AuctionBody, AuctionRequest
from serving.api.exchange.metrics import Answered, ExchangeMetrics, NoticeOutcome
from serving.http.errors import Problem, Refusal, unavailable
from serving.http.exchange import Call, Reply
from serving.recording.opening import OpenedLog
from serving.recording.recorder import Begun, Recorder
from serving.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

MAX_WAITING = 256
"""Bid requests that may wait in one worker; more are told no at once."""

NO_CONTENT = Reply(204, b"", ())
MALFORMED = Reply(400, b"", ())
_THREADS = 4
"""Notices that wait for the same flush of the disk."""
_MS_PER_S = 1000
_THOUSAND, _MILLION = 1_000, 1_000_000


class ExchangeRoutes:
    """Bids at an exchange, and settles bids.

    Args:
        bidder: Answers bid requests.
        recorder: Puts answers on record.
        log: Where impressions are kept.
        metrics: What counts.
        clock: Returns the time, seconds since 1970 UTC.
        steady: Returns seconds that only go forward, as `Call.started`.
    """

    def __init__(
        self,
        bidder: Bidder,
        recorder: Recorder,
        log: OpenedLog,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._bidder = bidder
        self._recorder = recorder
        self._log = log
        self._metrics = metrics.family(ExchangeMetrics)
        self._clock = clock
        self._steady = steady
        # One: whoever sells two answers at once would have to lock what they share.
        self._bidding = ThreadPoolExecutor(1, thread_name_prefix="exchange")
        self._settling = ThreadPoolExecutor(_THREADS, thread_name_prefix="notices")
        self._n_waiting = 0

    async def auction(self, call: Call, message: AuctionRequest) -> msgspec.Struct | Reply:
        """Bids for the impressions of a request; 400 without content for one that no bid could answer."""
        assert isinstance(message, AuctionBody), "the row of this route keeps the body as it came"
        try:
            request = read_bid_request(message.json)
        except BidRequestError as error:
            call.facts["malformed"] = str(error)[:200]
            self._metrics.count_request(Answered.malformed)
            return MALFORMED
        if self._n_waiting >= MAX_WAITING:
            self._metrics.count_request(Answered.busy)
            return NO_CONTENT
        begun = self._recorder.begin()
        # Nobody could charge for what is not on record.
        if not (begun.may_explore or request.test):
            self._metrics.count_request(Answered.not_recorded)
            return NO_CONTENT
        self._n_waiting += 1
        try:
            loop = asyncio.get_running_loop()
            outcome = await loop.run_in_executor(self._bidding, self._answered, call, request, begun)
        except Exception as error:  # whatever it is: an exchange would take errors for a bidder that is down
            logger.error("a bid request cannot be answered: %r", error, exc_info=error)
            self._metrics.count_request(Answered.failed)
            return NO_CONTENT
        finally:
            self._n_waiting -= 1
        return self._told(request, outcome)

    async def notice(self, call: Call) -> Reply:
        """Takes a notice; what was not signed here, or comes after the bid lapsed, is refused and counted."""
        kind, token = call.parameters["kind"], call.parameters["token"]
        if kind not in set(NoticeKind):
            raise Refusal(
                Problem.not_found,
                f"a notice must be one of {[one.value for one in NoticeKind]}, got {kind[:32]!r}",
            )
        return await self._settled(NoticeKind(kind), token, call.query.get("price", ""))

    async def notice_by_post(self, call: Call) -> Reply:
        """Takes a notice; see `notice`."""
        return await self.notice(call)

    def close(self) -> None:
        """Waits for what is being sold and settled."""
        self._bidding.shutdown()
        self._settling.shutdown()

    def _answered(self, call: Call, request: BidRequest, begun: Begun) -> Outcome | None:
        """Returns the answer to a request, None where it would come too late."""
        return self._bidder.answer(request, begun) if self._in_time(call, request) else None

    def _in_time(self, call: Call, request: BidRequest) -> bool:
        """Returns whether an answer would still be waited for."""
        if request.tmax is None:
            return True
        waited_ms = (self._steady() - call.started) * _MS_PER_S
        return request.tmax - waited_ms >= self._bidder.exchange.latency_ms

    def _told(self, request: BidRequest, outcome: Outcome | None) -> Reply:
        """Returns the reply to a request, once its sales are on record; None for one that came too late."""
        if outcome is None:
            self._metrics.count_request(Answered.too_late)
            return Reply(200, no_bid_of(request, NoBid.too_little_time))
        self._metrics.count_silent(outcome.silent)
        self._metrics.count_barred(outcome.barriers)
        if outcome.json is None:
            self._metrics.count_request(Answered.capped if outcome.only_capped else Answered.no_bid)
            # An ordinary no is no error of the request: no number says otherwise.
            return Reply(200, no_bid_of(request, NoBid.user_cap)) if outcome.only_capped else NO_CONTENT
        if outcome.decision is not None and not self._recorder.record(outcome.decision):
            self._metrics.count_request(Answered.not_recorded)
            return NO_CONTENT
        self._metrics.count_request(Answered.bid, outcome.n_bids)
        return Reply(200, outcome.json)

    async def _settled(self, kind: NoticeKind, token: str, said: str) -> Reply:
        """Returns the reply to a notice; raises NoticeError for one that settles nothing."""
        now = self._clock()
        try:
            settled = self._bidder.signer.read(kind, token, now)
            price = None if kind is NoticeKind.loss else settled_price(settled, said)
        except NoticeError as error:
            self._metrics.count_notice(kind, NoticeOutcome(error.reason))
            raise
        outcome = NoticeOutcome.test if settled.is_test else NoticeOutcome.taken
        work = {
            NoticeKind.billing: partial(self._bill, settled, price, int(now)),
            NoticeKind.loss: partial(self._lose, settled),
        }.get(kind)
        if work is not None and not settled.is_test:
            outcome = await asyncio.get_running_loop().run_in_executor(self._settling, work)
        self._metrics.count_notice(kind, outcome)
        return NO_CONTENT

    def _lose(self, settled: Settled) -> NoticeOutcome:
        """Frees the money of a bid that is lost; raises Refusal if the ledger refuses."""
        try:
            is_news = self._bidder.lose(settled.decision_id, settled.item_id)
        except (EventLogError, ConfigError) as error:
            raise unavailable(str(error)) from error
        return NoticeOutcome.taken if is_news else NoticeOutcome.repeated

    def _bill(self, settled: Settled, price: int | None, now: int) -> NoticeOutcome:
        """Keeps the impression that a notice tells of; raises Refusal if the log refuses."""
        event = impression_of(settled, price, now)
        try:
            (kept,) = self._log.get().append([event])
        except (EventLogError, ConfigError) as error:
            raise unavailable(str(error)) from error
        if kept is not Kept.accepted:
            return NoticeOutcome.repeated
        paid = settled.bid if price is None else price * _THOUSAND
        self._bidder.paces.note_sale(settled.campaign_id, paid)
        return NoticeOutcome.taken


def impression_of(settled: Settled, price: int | None, now: int) -> Event:
    """Returns the impression that a billing notice tells of; the same event however often it comes.

    Args:
        settled: The bid.
        price: What it cost, millionths; None where nobody says.
        now: Seconds since 1970 UTC.
    """
    made = made_ms(settled.decision_id)
    return Event(
        event_id=f"{SETTLED_PREFIX}{settled.decision_id}.{settled.item_id}"[:MAX_ID_LENGTH],
        kind=EventKind.exposure.value,
        item_id=settled.item_id,
        timestamp=now,
        # Of the bid: two notices of one impression must look the same.
        sent_timestamp=now if made is None else made // _MS_PER_S,
        received=now,
        decision_id=settled.decision_id,
        value=None if price is None else price / _MILLION,
    )
