"""Tries a campaign on the latest decisions of the log: at how many of them it might have been shown."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from marquee.ads.campaigns.eligibility import DEVICE, GEOGRAPHY, Viewer, why_not
from marquee.core.targeting.customer import Customer
from marquee.store.campaigns.campaign import Campaign, State
from marquee.store.log.event_log import Decision
from marquee.store.people.consent import Tier
from serving.api.campaigns.messages import CampaignTrialAnswer
from serving.api.customers.deciding import CustomersAtDecision
from serving.api.customers.recorded import recorded_customers
from serving.recording.opening import OpenedLog
from serving.recording.users import KnownUsers
from serving.releases.surfaces import DEFAULT

_SECONDS_PER_DAY = 86_400


class CampaignTrials:
    """Tries campaigns on the latest decisions of one log.

    Args:
        log: The log.
        customers: Of the run that is served.
        users: Say under which names the log keeps them.
    """

    def __init__(self, log: OpenedLog, customers: CustomersAtDecision, users: KnownUsers) -> None:
        self._log = log
        self._customers = customers
        self._users = users

    def try_campaign(self, campaign: Campaign, sample: int, now: int) -> CampaignTrialAnswer:
        """Returns at how many of the latest decisions a campaign might have been shown.

        Args:
            campaign: As it would be.
            sample: Most decisions.
            now: Seconds since 1970 UTC.

        Raises:
            EventLogError: If the log cannot be read.
        """
        decisions = [logged.decision for logged in self._log.get().read_last_decisions(sample)]
        known = recorded_customers(self._customers, self._users, decisions)
        found = {one.decision_id: known.find(one) for one in decisions}
        customers = {name: one for name, one in found.items() if one is not None}
        return try_campaign(campaign, decisions, customers, now)


def try_campaign(
    campaign: Campaign,
    decisions: Sequence[Decision],
    customers: Mapping[str, Customer],
    now: int,
) -> CampaignTrialAnswer:
    """Returns at how many decisions a campaign might have been shown, and what that makes of its flight.

    Args:
        campaign: As it would be.
        decisions: The latest.
        customers: By decision id whom the run of customers knows.
        now: Seconds since 1970 UTC.
    """
    # Only its hours count of all that is about time: the flight lies ahead, and these decisions behind.
    open_flight = replace(campaign, starts=0, ends=2**62, state=State.active)
    reasons = Counter(
        why_not(open_flight, viewer_of(one, customers.get(one.decision_id))) for one in decisions
    )
    n_eligible = reasons.pop(None, 0)
    times = [one.time_ms / 1000 for one in decisions]
    days = (max(times) - min(times)) / _SECONDS_PER_DAY if len(times) > 1 else 0.0
    per_day = n_eligible / days if days else None
    left_s = max(0, campaign.ends - max(now, campaign.starts))
    price = campaign.price_limit
    return CampaignTrialAnswer(
        asked=len(decisions),
        eligible=n_eligible,
        not_eligible={str(reason): number for reason, number in reasons.most_common()},
        eligible_per_day=per_day,
        eligible_in_flight=None if per_day is None else per_day * left_s / _SECONDS_PER_DAY,
        affordable=_affordable(campaign) if price else None,
    )


def viewer_of(decision: Decision, customer: Customer | None) -> Viewer:
    """Returns a decision of the log as targeting sees it."""
    context, features = decision.asked.get("context", {}), decision.asked.get("features", {})
    return Viewer(
        surface=decision.surface or DEFAULT,
        timestamp=decision.time_ms // 1000,
        tier=Tier(decision.tier) if decision.tier else Tier.personal,
        attributes={**features, **context},
        geography=str(context.get(GEOGRAPHY) or ""),
        device=str(context.get(DEVICE) or ""),
        customer=customer,
    )


def _affordable(campaign: Campaign) -> float:
    """Returns how many billable events a budget pays for; a bid for CPM is for a thousand of them."""
    thousands = 1000 if campaign.bid_type == "cpm" else 1
    return campaign.total_budget * thousands / campaign.price_limit
