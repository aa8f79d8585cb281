"""A decision of the log as targeting sees it."""

from marquee.ads.campaigns.eligibility import DEVICE, GEOGRAPHY, Viewer
from marquee.core.targeting.customer import Customer
from marquee.store.log.event_log import Decision
from marquee.store.people.consent import Tier


def recorded_viewer(decision: Decision, customer: Customer | None, surface: str) -> Viewer:
    """Returns a decision of the log as targeting sees it.

    Args:
        decision: As it was recorded.
        customer: The user as a run of customers knows them; None where nothing is known or may be used.
        surface: Name of the one surface of a service whose requests name none.
    """
    context, features = decision.asked.get("context", {}), decision.asked.get("features", {})
    return Viewer(
        surface=decision.surface or surface,
        timestamp=decision.time_ms // 1000,
        tier=Tier(decision.tier) if decision.tier else Tier.personal,
        attributes={**features, **context},
        geography=str(context.get(GEOGRAPHY) or ""),
        device=str(context.get(DEVICE) or ""),
        customer=customer,
    )
