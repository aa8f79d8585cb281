"""Counters of campaigns and their money."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from marquee.store.campaigns.campaign import CampaignSet, State
from marquee.store.ledger.rows import Followed, Unbilled


class CampaignMetrics:
    """Shows which campaigns there are, and counts what they spend.

    Args:
        registry: Where the counters are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._campaigns = Gauge(
            "marquee_campaigns",
            "Campaigns by state, of the worker that knows most.",
            ["state"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._stale = Counter(
            "marquee_campaigns_stale",
            "Times that the campaigns could not be read and those that were known went on.",
            registry=registry,
        ).inc
        self._changes = Counter(
            "marquee_campaign_changes",
            "Changes of campaigns, by outcome: taken, lost_race or refused.",
            ["outcome"],
            registry=registry,
        )
        self._charged = Counter(
            "marquee_ads_charged", "Events that were charged to a campaign.", registry=registry
        )
        self._money = Counter(
            "marquee_ads_charged_millionths",
            "Money that was charged, millionths of the service's currency.",
            registry=registry,
        )
        self._unbilled = Counter(
            "marquee_ads_unbilled",
            "Billable events that were not charged, by reason.",
            ["reason"],
            registry=registry,
        )
        self._cut_off = Gauge(
            "marquee_ads_cut_off",
            "1 while a worker cannot reach the ledger and spends only what it holds.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        # A series that first appears with its first failure has no increase: it must stand at 0 before.
        for outcome in ("taken", "lost_race", "refused"):
            self._changes.labels(outcome)
        for reason in Unbilled:
            self._unbilled.labels(reason.value)

    def show_campaigns(self, campaigns: CampaignSet) -> None:
        """Shows the campaigns that this worker knows."""
        for state in State:
            self._campaigns.labels(state.value).set(sum(one.state is state for one in campaigns.campaigns))

    def count_stale(self) -> None:
        """Counts a time that the campaigns could not be read."""
        self._stale()

    def count_change(self, outcome: str) -> None:
        """Counts a change: taken, lost_race or refused."""
        self._changes.labels(outcome).inc()

    def count_followed(self, done: Followed) -> None:
        """Counts what was booked of the log."""
        self._charged.inc(done.n_charged)
        self._money.inc(done.charged)
        for reason, number in done.unbilled.items():
            self._unbilled.labels(reason.value).inc(number)

    def show_cut_off(self, *, is_cut_off: bool) -> None:
        """Shows whether the ledger can be reached."""
        self._cut_off.set(is_cut_off)
