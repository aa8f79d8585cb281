"""Tries a campaign on the latest decisions of the log: where it might have been shown, and what follows.

The same is asked of a campaign that is not booked yet (a dry run) and of one that runs: what it could have
bought at its whole bid, times the traffic that is still to come, is what its budget can be spent on.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from marquee.ads.campaigns.eligibility import Viewer, WhyNot, why_not
from marquee.ads.campaigns.recorded import recorded_viewer
from marquee.ads.delivering import cost_of, expect, is_of_slots, planned_by, probabilities_of, why_not_sold
from marquee.ads.slots import SlotConfig
from marquee.ads.traffic import WeighedTime, time_of
from marquee.core.targeting.customer import Customer
from marquee.marketing.forecast.traffic import TrafficForecast
from marquee.store.campaigns.campaign import BidType, Campaign, State
from marquee.store.campaigns.money import plain_money
from marquee.store.ledger.rows import FLIGHT, Account
from marquee.store.log.event_log import Decision
from serving.api.ads.traffic import Traffic
from serving.api.campaigns.messages import CampaignTrialAnswer, DeliveryAnswer, ForecastAnswer
from serving.api.campaigns.sampling import read_spread
from serving.api.customers.deciding import CustomersAtDecision
from serving.api.customers.recorded import recorded_customers
from serving.recording.opening import OpenedLog
from serving.recording.users import KnownUsers
from serving.releases.surfaces import DEFAULT

_SECONDS_PER_DAY = 86_400
_HOUR_S = 3600
_MS_PER_S = 1000

MOST_LOOKED_AT = 500
"""Decisions that the answer of a campaign rests on: a tenth of a second of the interpreter."""


def no_slots(_surface: str) -> SlotConfig | None:
    """Returns None: no surface sells places."""
    return None


@dataclass(frozen=True)
class Sample:
    """Decisions of the log.

    Attributes:
        decisions: In their order.
        customers: Whom the run of customers knows of them, by decision id.
        n_all: How many they stand for.
    """

    decisions: Sequence[Decision]
    customers: Mapping[str, Customer]
    n_all: int

    def viewer(self, decision: Decision) -> Viewer:
        """Returns a decision as targeting sees it."""
        return recorded_viewer(decision, self.customers.get(decision.decision_id), DEFAULT)


@dataclass(frozen=True)
class Buying:
    """The places that a campaign could have bought of the decisions on its surfaces, whatever the hour.

    Attributes:
        n_meant: Decisions on its surfaces.
        n_won: Of these, those that would have shown it.
        cost: What these would have cost, millionths.
        per_hour: Decisions on its surfaces by hour, 0 where the sample spans no time.
    """

    n_meant: int
    n_won: int
    cost: float
    per_hour: float


class CampaignTrials:
    """Tries campaigns on the latest decisions of one log.

    Args:
        log: The log.
        customers: Of the run that is served.
        users: Say under which names the log keeps them.
        traffic: The traffic to come; none is known if left out.
        slots_of: Returns the places that a surface sells, None if it sells none or there is no such surface.
    """

    def __init__(
        self,
        log: OpenedLog,
        customers: CustomersAtDecision,
        users: KnownUsers,
        traffic: Traffic | None = None,
        slots_of: Callable[[str], SlotConfig | None] = no_slots,
    ) -> None:
        self._log = log
        self._customers = customers
        self._users = users
        self._traffic = traffic or Traffic()
        self._slots_of = slots_of

    def try_campaign(self, campaign: Campaign, sample: int, now: int) -> CampaignTrialAnswer:
        """Returns at how many of the latest decisions a campaign might have been shown, and a forecast.

        Args:
            campaign: As it would be.
            sample: Most decisions.
            now: Seconds since 1970 UTC.

        Raises:
            EventLogError: If the log cannot be read.
        """
        told = try_campaign(campaign, self._sample(sample), now)
        bought = self._bought(campaign, self._spread(sample, now))
        if bought is None:
            return told
        return msgspec.structs.replace(
            told, would_win=bought.n_won, forecast=self._forecast(campaign, (), bought, now)
        )

    def delivery(self, campaign: Campaign, accounts: Sequence[Account], now: int) -> DeliveryAnswer:
        """Returns how a campaign that is booked gets on.

        Args:
            campaign: As it is.
            accounts: Its accounts in the ledger.
            now: Seconds since 1970 UTC.

        Raises:
            EventLogError: If the log cannot be read.
        """
        found = self._spread(MOST_LOOKED_AT, now)
        reasons, n_shown = reasons_of(campaign, found, now)
        self._traffic.look(now)
        weighed, _ = self._time(campaign)
        planned = planned_by(campaign, weighed, now)
        charged = next((one.charged for one in accounts if one.day == FLIGHT), 0)
        bought = self._bought(campaign, found) if is_to_come(campaign, now) else None
        return DeliveryAnswer(
            looked_at=n_shown + reasons.total(),
            shown=n_shown,
            not_shown={str(reason): number for reason, number in reasons.most_common()},
            planned=None if planned is None else plain_money(planned),
            pace=charged / planned if planned else None,
            forecast=None if bought is None else self._forecast(campaign, accounts, bought, now),
        )

    def _sample(self, n_most: int) -> Sample:
        """Returns the latest decisions; raises EventLogError."""
        return self._known([logged.decision for logged in self._log.get().read_last_decisions(n_most)])

    def _spread(self, n_most: int, now: int) -> Sample:
        """Returns decisions of the last day, some of every part of it; raises EventLogError."""
        found = read_spread(self._log.get(), n_most, (now - _SECONDS_PER_DAY) * _MS_PER_S)
        return replace(self._known(found.decisions), n_all=found.n_all)

    def _known(self, decisions: Sequence[Decision]) -> Sample:
        """Returns decisions with whom the run of customers knows of them."""
        known = recorded_customers(self._customers, self._users, decisions)
        found = {one.decision_id: known.find(one) for one in decisions}
        customers = {name: one for name, one in found.items() if one is not None}
        return Sample(decisions, customers, len(decisions))

    def _time(self, campaign: Campaign) -> tuple[WeighedTime, TrafficForecast]:
        """Returns the time of a campaign, and the traffic that it is weighed by."""
        expected = self._traffic.of(campaign)
        return time_of(campaign, expected.weights), expected

    def _bought(self, campaign: Campaign, sample: Sample) -> Buying | None:
        """Returns the places that a campaign could have bought; None without a known probability."""
        probability = probability_of(campaign, sample.decisions)
        if probability is None:
            return None
        # Hours are in the time that is weighed: a sample of the last minutes would be all or nothing.
        anytime = _at_any_hour(campaign)
        meant = [
            one for one in sample.decisions if why_not(anytime, sample.viewer(one)) is not WhyNot.surface
        ]
        costs = [
            cost_of(one, campaign, probability, self._slots_of(one.surface or DEFAULT))
            for one in meant
            if why_not(anytime, sample.viewer(one)) is None
        ]
        won = [one for one in costs if one is not None]
        return Buying(
            len(meant), len(won), sum(won), _per_hour(meant) * sample.n_all / max(1, len(sample.decisions))
        )

    def _forecast(
        self, campaign: Campaign, accounts: Sequence[Account], bought: Buying, now: int
    ) -> ForecastAnswer:
        """Returns the outcome that is expected by the end of a flight."""
        self._traffic.look(now)
        weighed, traffic = self._time(campaign)
        hours = weighed.seconds(max(now, campaign.starts), campaign.ends) / _HOUR_S
        n_to_come = hours * (traffic.per_hour or bought.per_hour)
        can_buy = n_to_come * bought.cost / max(1, bought.n_meant)
        expected = expect(campaign, accounts, can_buy, (traffic.low, traffic.high), now)
        charged = next((one.charged for one in accounts if one.day == FLIGHT), 0)
        can_show = n_to_come * bought.n_won / max(1, bought.n_meant)
        return ForecastAnswer(
            charged=plain_money(expected.total),
            shown=can_show * min(1.0, (expected.total - charged) / can_buy) if can_buy > 0 else can_show,
            rests_on=traffic.verdict,
            low=None if expected.low is None else plain_money(expected.low),
            high=None if expected.high is None else plain_money(expected.high),
        )


def try_campaign(campaign: Campaign, sample: Sample, now: int) -> CampaignTrialAnswer:
    """Returns at how many decisions a campaign might have been shown, and what that makes of its flight.

    Args:
        campaign: As it would be.
        sample: The latest decisions.
        now: Seconds since 1970 UTC.
    """
    open_flight = _at_any_day(campaign)
    reasons = Counter(why_not(open_flight, sample.viewer(one)) for one in sample.decisions)
    n_eligible = reasons.pop(None, 0)
    times = [one.time_ms / 1000 for one in sample.decisions]
    days = (max(times) - min(times)) / _SECONDS_PER_DAY if len(times) > 1 else 0.0
    per_day = n_eligible / days if days else None
    left_s = max(0, campaign.ends - max(now, campaign.starts))
    price = campaign.price_limit
    return CampaignTrialAnswer(
        asked=len(sample.decisions),
        eligible=n_eligible,
        not_eligible={str(reason): number for reason, number in reasons.most_common()},
        eligible_per_day=per_day,
        eligible_in_flight=None if per_day is None else per_day * left_s / _SECONDS_PER_DAY,
        affordable=_affordable(campaign) if price else None,
    )


def reasons_of(campaign: Campaign, sample: Sample, now: int) -> tuple[Counter[str], int]:
    """Returns why decisions of the last day did not show a campaign within its flight, and how many did."""
    open_flight = _at_any_day(campaign)
    reasons: Counter[str] = Counter()
    n_shown = 0
    for one in sample.decisions:
        moment = one.time_ms / 1000
        if not max(campaign.starts, now - _SECONDS_PER_DAY) <= moment < campaign.ends:
            continue
        why = why_not(open_flight, sample.viewer(one))
        reason = why if why is not None else why_not_sold(one, campaign)
        # One that was shown was eligible, whatever has been changed since.
        if reason is None or any(sale.campaign_id == campaign.campaign_id for sale in one.sales):
            n_shown += 1
        else:
            reasons[str(reason)] += 1
    return reasons, n_shown


def is_to_come(campaign: Campaign, now: int) -> bool:
    """Returns whether a campaign may still be shown if nothing is changed."""
    return campaign.state is State.active and now < campaign.ends


def probability_of(campaign: Campaign, decisions: Sequence[Decision]) -> float | None:
    """Returns how probable the event is that a campaign pays for, by its own offers or else by all others.

    None where nobody has offered to pay for such an event.
    """
    if campaign.bid_type is BidType.cpm or not campaign.price_limit:
        return 1.0
    for whose in (campaign.campaign_id, None):
        found = [
            probability
            for one in decisions
            if is_of_slots(one.auction)
            for probability in probabilities_of(one.auction, campaign.bid_type, whose)
        ]
        if found:
            return sum(found) / len(found)
    return None


def _at_any_day(campaign: Campaign) -> Campaign:
    """Returns a campaign without its flight: only its hours count of all that is about time."""
    return replace(campaign, starts=0, ends=2**62, state=State.active)


def _at_any_hour(campaign: Campaign) -> Campaign:
    """Returns a campaign without its flight and its hours."""
    return replace(
        _at_any_day(campaign),
        targeting=replace(campaign.targeting, hours=()),
        creatives=tuple([replace(one, hours=()) for one in campaign.creatives]),
    )


def _per_hour(decisions: Sequence[Decision]) -> float:
    """Returns how many decisions an hour has, 0 where they span no time."""
    times = [one.time_ms for one in decisions]
    span = (max(times) - min(times)) / 1000 / _HOUR_S if len(times) > 1 else 0.0
    return len(times) / span if span else 0.0


def _affordable(campaign: Campaign) -> float:
    """Returns how many billable events a budget pays for; a bid for CPM is for a thousand of them."""
    thousands = 1000 if campaign.bid_type == "cpm" else 1
    return campaign.total_budget * thousands / campaign.price_limit
