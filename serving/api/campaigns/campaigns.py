"""Books campaigns: creates, changes, pauses and ends them, and tells what they spent."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from marquee.errors import (
    CampaignChangedError,
    CampaignError,
    EventLogError,
    EventLogFullError,
    MoneyError,
)
from marquee.store.campaigns.campaign import Campaign, HeldCampaign, State
from marquee.store.campaigns.checks import validate_campaign
from marquee.store.campaigns.plain import campaign_of, plain_campaign
from serving.api.campaigns.checking import Answering, validate_on
from serving.api.campaigns.messages import (
    CampaignAnswer,
    CampaignChange,
    CampaignChangedAnswer,
    CampaignHistoryAnswer,
    CampaignMessage,
    CampaignsAnswer,
    CampaignTrialAnswer,
    CampaignTrialRequest,
)
from serving.api.campaigns.trying import CampaignTrials
from serving.api.customers.deciding import CustomersAtDecision
from serving.http.errors import ErrorAnswer, Problem, Refusal, unavailable
from serving.http.exchange import Call, read_number, read_version
from serving.recording.ads.campaigns import Campaigns
from serving.recording.ads.metrics import CampaignMetrics
from serving.recording.ads.spending import Spending
from serving.releases.surfaces import Surfaces
from serving.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

MAX_CAMPAIGNS = 10_000
"""Of one service, ended ones included: each worker keeps all of them."""

MAX_LISTED = 1000
MAX_HISTORY = 50

Result = TypeVar("Result")


class CampaignChanged(Refusal):
    """The refusal of a change of another version.

    Args:
        message: For people.
        current: The campaign as it is.
    """

    def __init__(self, message: str, current: CampaignAnswer) -> None:
        super().__init__(Problem.campaign_changed, message)
        self._current = current

    def answer(self, request_id: str) -> ErrorAnswer:
        """Returns the answer that tells this refusal, with the campaign as it is."""
        return CampaignChangedAnswer(error=super().answer(request_id).error, current=self._current)


class CampaignRoutes:
    """Answers for campaigns, in a thread of its own: a flush takes milliseconds.

    Args:
        surfaces: Where campaigns may be shown, and who answers there.
        spending: The campaigns and their money; None for a service that keeps none.
        currency: Of all money.
        metrics: What counts.
        customers: Of the run that is served.
        trials: Tries campaigns on what was decided.
        clock: Returns the time, seconds since 1970 UTC.
    """

    def __init__(
        self,
        surfaces: Surfaces,
        spending: Spending | None,
        currency: str,
        metrics: Metrics,
        customers: CustomersAtDecision,
        trials: CampaignTrials | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._surfaces = surfaces
        self._campaigns = spending.campaigns if spending is not None else None
        self._spending = spending
        self._currency = currency
        self._metrics = metrics.family(CampaignMetrics)
        self._customers = customers
        self._trials = trials
        self._clock = clock
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="campaign-routes")
        # A change must not wait for a trial: a pause may be urgent.
        self._tryer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="campaign-trial")

    async def listed(self, call: Call) -> CampaignsAnswer:
        """Returns a page of campaigns by id; raises Refusal if the service keeps none."""
        limit, after = read_number(call.query, "limit", 100, MAX_LISTED), call.query.get("after", "")

        def page(campaigns: Campaigns) -> CampaignsAnswer:
            """Returns the page."""
            held = campaigns.store.current().held
            names = sorted(name for name in held if name > after)
            told = tuple([CampaignAnswer.of(held[name], self._currency) for name in names[:limit]])
            return CampaignsAnswer(campaigns=told, after=names[limit - 1] if len(names) > limit else None)

        return await self._in_thread(page)

    async def get(self, call: Call) -> CampaignAnswer:
        """Returns a campaign and what it spent; raises Refusal if there is none of that name."""
        name = call.parameters["campaign_id"]

        def told(campaigns: Campaigns) -> CampaignAnswer:
            """Returns the campaign; the latest decisions are read for it."""
            held = _found(campaigns, name)
            accounts = self._spending.accounts(name) if self._spending else ()
            now = int(self._clock())
            delivery = self._trials.delivery(held.campaign, accounts, now) if self._trials else None
            return CampaignAnswer.of(held, self._currency, accounts, delivery)

        # In the other thread: a change must not wait for it.
        return await self._in_thread(told, self._tryer)

    async def history(self, call: Call) -> CampaignHistoryAnswer:
        """Returns the last versions of a campaign; raises Refusal if there is none of that name."""
        name = call.parameters["campaign_id"]
        limit = read_number(call.query, "limit", 10, MAX_HISTORY)
        before = read_number(call.query, "before", 2**62, 2**62)

        def told(campaigns: Campaigns) -> CampaignHistoryAnswer:
            """Returns the versions."""
            _found(campaigns, name)
            changes = campaigns.store.history(name, before - 1, limit)
            answers = tuple([CampaignAnswer.of(one, self._currency) for one in changes])
            return CampaignHistoryAnswer(changes=answers)

        return await self._in_thread(told)

    async def create(self, call: Call, message: CampaignMessage) -> CampaignAnswer:
        """Keeps a new campaign, which may be shown from the next answer of every worker on.

        Raises:
            CampaignError: If it cannot be.
            CampaignChanged: If there is one of that name.
        """
        plain = _plain(message)
        return await self._changed(call, message.campaign_id, 0, "created", lambda _held: plain)

    async def put(self, call: Call, message: CampaignMessage) -> CampaignAnswer:
        """Replaces all that a campaign says, but for its state; raises as `create`."""
        name, plain = call.parameters["campaign_id"], _plain(message)
        if message.campaign_id != name:
            raise CampaignError(
                f"campaign_id must be {name!r:.64}, as the path says, got {message.campaign_id!r:.64}; make "
                "them one",
                "campaign_id",
            )
        expected = read_version(call.if_match, "the campaign")
        return await self._changed(
            call, name, expected, "replaced", lambda held: plain | {"state": held["state"]}
        )

    async def patch(self, call: Call, message: CampaignChange) -> CampaignAnswer:
        """Replaces the fields that are named, each whole, and no other; raises as `create`."""
        said = msgspec.to_builtins(message)
        expected = read_version(call.if_match, "the campaign")
        name = call.parameters["campaign_id"]
        return await self._changed(call, name, expected, "patched", lambda held: held | said)

    async def pause(self, call: Call) -> CampaignAnswer:
        """Takes a campaign out of all answers until it is resumed; raises as `create`."""
        return await self._to(call, State.paused, "paused")

    async def resume(self, call: Call) -> CampaignAnswer:
        """Lets a paused campaign be shown again; raises as `create`."""
        return await self._to(call, State.active, "resumed")

    async def end(self, call: Call) -> CampaignAnswer:
        """Ends a campaign for good; raises as `create`."""
        return await self._to(call, State.ended, "ended")

    async def dry_run(self, _call: Call, message: CampaignTrialRequest) -> CampaignTrialAnswer:
        """Tells at how many of the latest decisions a campaign might have been shown, and keeps nothing.

        Raises:
            CampaignError: If it cannot be.
            Refusal: If the service keeps none, or the log cannot be read.
        """
        if self._trials is None:
            raise _not_configured()
        try:
            campaign = self._checked(_plain(message.campaign))
        except (CampaignError, MoneyError) as error:
            # The fields of this message begin one deeper than those of a campaign.
            raise CampaignError(str(error), f"campaign.{error.field}") from None
        work = self._trials.try_campaign
        loop, now = asyncio.get_running_loop(), int(self._clock())
        try:
            return await loop.run_in_executor(self._tryer, work, campaign, message.sample, now)
        except EventLogError as error:
            raise unavailable(str(error)) from error

    def close(self) -> None:
        """Ends the threads, and gives up campaigns and ledger."""
        for executor in (self._executor, self._tryer):
            executor.shutdown(wait=False, cancel_futures=True)
        if self._spending is not None:
            self._spending.close()

    async def _to(self, call: Call, state: State, change: str) -> CampaignAnswer:
        """Changes the state of a campaign."""
        expected = read_version(call.if_match, "the campaign")
        name = call.parameters["campaign_id"]
        return await self._changed(call, name, expected, change, lambda held: held | {"state": state.value})

    async def _changed(
        self,
        call: Call,
        name: str,
        expected: int,
        change: str,
        plain_after: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> CampaignAnswer:
        """Keeps the campaign that `plain_after` makes of the one that holds.

        Args:
            call: Whose key it is.
            name: Of the campaign.
            expected: Version that is changed, 0 for a new one.
            change: The word for it.
            plain_after: Makes the new one of the old one, as JSON has them.
        """
        try:
            told = await self._in_thread(
                lambda campaigns: self._put(campaigns, call, name, expected, change, plain_after)
            )
        except (CampaignError, MoneyError, Refusal) as error:
            self._metrics.count_change("lost_race" if isinstance(error, CampaignChanged) else "refused")
            raise
        self._metrics.count_change("taken")
        facts = {"request_id": call.request_id, "key": call.key, "campaign": name, "version": told.version}
        logger.info("a campaign was %s", change, extra={"facts": facts})
        return told

    def _put(
        self,
        campaigns: Campaigns,
        call: Call,
        name: str,
        expected: int,
        change: str,
        plain_after: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> CampaignAnswer:
        """Keeps a campaign; see `_changed`."""
        held = campaigns.store.find(name)
        if held is None and expected:
            raise _unknown(name)
        before = plain_campaign(held.campaign) if held else {}
        if held and expected and held.version == expected and held.campaign.state is State.ended:
            raise CampaignError(
                f"state of {name!r:.64} is ended for good, got a change to {change}; create another campaign",
                "state",
            )
        campaign = self._checked(plain_after(before))
        if held is None and len(campaigns.store.current().held) >= MAX_CAMPAIGNS:
            raise Refusal(
                Problem.no_room,
                f"a service keeps at most {MAX_CAMPAIGNS} campaigns, and has them; nothing was kept",
            )
        try:
            kept = campaigns.store.put(campaign, expected, change, call.key, int(self._clock() * 1000))
        except CampaignChangedError as error:
            found = _found(campaigns, name)
            same = replace(campaign, state=found.campaign.state) if change == "created" else campaign
            # A caller that got no reply sends it again: what is there already is no lost race.
            if (found.version, found.campaign, found.changed_by) != (expected + 1, same, call.key):
                raise CampaignChanged(str(error), self._answer(found)) from error
            kept = found
        campaigns.current()  # this worker shows it at once
        return self._answer(kept)

    def _checked(self, plain: dict[str, Any]) -> Campaign:
        """Returns the campaign that JSON says; raises CampaignError or MoneyError if it cannot be."""
        campaign = campaign_of(plain)
        validate_campaign(campaign)
        validate_on(campaign, self._answering(), self._customers.facts)
        return campaign

    def _answering(self) -> Answering:
        """Returns who answers on each surface."""
        surfaces = [self._surfaces.named(name) for name in self._surfaces.names]
        return {one.name: tuple(self._surfaces.answering(one).recommenders) for one in surfaces}

    def _answer(self, held: HeldCampaign) -> CampaignAnswer:
        """Returns a campaign with what it spent."""
        accounts = self._spending.accounts(held.campaign.campaign_id) if self._spending else ()
        return CampaignAnswer.of(held, self._currency, accounts)

    async def _in_thread(
        self, work: Callable[[Campaigns], Result], thread: ThreadPoolExecutor | None = None
    ) -> Result:
        """Returns the result of work on the campaigns; raises Refusal if the store refuses."""
        if self._campaigns is None:
            raise _not_configured()
        try:
            return await asyncio.get_running_loop().run_in_executor(
                thread or self._executor, work, self._campaigns
            )
        except EventLogFullError as error:
            raise Refusal(Problem.no_room, str(error)) from error
        except EventLogError as error:
            raise unavailable(str(error)) from error


def _plain(message: CampaignMessage) -> dict[str, Any]:
    """Returns a message as JSON has it."""
    plain: dict[str, Any] = msgspec.to_builtins(message)
    return plain


def _found(campaigns: Campaigns, name: str) -> HeldCampaign:
    """Returns a campaign; raises Refusal if there is none of that name."""
    held = campaigns.store.find(name)
    if held is None:
        raise _unknown(name)
    return held


def _unknown(name: str) -> Refusal:
    """Returns the refusal of a name that no campaign has."""
    return Refusal(Problem.not_found, f"there is no campaign {name!r:.64}; create it, or correct the name")


def _not_configured() -> Refusal:
    """Returns the refusal of a service that keeps no campaigns."""
    return Refusal(
        Problem.not_configured,
        "the service keeps no campaigns; start it with MARQUEE_EVENTS, beside whose log they are kept",
    )
