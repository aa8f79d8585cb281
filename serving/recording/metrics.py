"""Counters of events, decisions, profiles and closed days."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from marquee.core.event_kinds import EventKind
from marquee.core.reasons import Reason
from marquee.decision.policies.config import PolicyName
from marquee.store.log.log_rows import DECISION
from marquee.store.people.consent import Tier

# Around the budget of 5 ms (`profiles.BUDGET_S`).
_PROFILE_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01)
# Powers of ten: weights of off-policy estimates grow with the reciprocal of a propensity.
_PROPENSITIES = (0.0001, 0.001, 0.01, 0.1, 0.5, 1.0)


class EventMetrics:
    """Counts the rows of events that came.

    Args:
        registry: Where the counters are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = Counter(
            "marquee_events",
            "Rows of events, by outcome: accepted, repeated or rejected.",
            ["outcome"],
            registry=registry,
        )
        self._rejected = Counter(
            "marquee_rejected_events", "Rejected rows of events, by reason.", ["reason"], registry=registry
        )
        # A series that first appears with its first failure has no increase: it must stand at 0 before.
        for outcome in ("accepted", "repeated", "rejected"):
            self._events.labels(outcome)
        for reason in Reason:
            self._rejected.labels(reason.value)
        self._orphans = Counter(
            "marquee_orphaned_events",
            "Rows of events that name a decision which the log does not hold.",
            registry=registry,
        )
        self._bytes = Gauge(
            "marquee_event_log_bytes",
            "Bytes that the event log takes on its disk.",
            # All workers look at one log: a sum would count it once for each of them.
            multiprocess_mode="livemax",
            registry=registry,
        )

    def count_rows(self, accepted: int, repeated: int, rejected: Mapping[Reason, int], orphans: int) -> None:
        """Counts the rows of one body; `orphans` are among those that were accepted or repeated."""
        if orphans:
            self._orphans.inc(orphans)
        self._events.labels("accepted").inc(accepted)
        self._events.labels("repeated").inc(repeated)
        for reason, n_rows in rejected.items():
            self._events.labels("rejected").inc(n_rows)
            self._rejected.labels(reason.value).inc(n_rows)

    def show_bytes(self, n_bytes: int) -> None:
        """Shows how large the log is."""
        self._bytes.set(n_bytes)


class ProfileMetrics:
    """Counts profiles that were wanted, and what they took.

    Args:
        registry: Where the counters are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        profiles = Counter(
            "marquee_profiles",
            "Profiles that answers wanted, by outcome: read, from memory or the log, or unavailable.",
            ["outcome"],
            registry=registry,
        )
        # A series that first appears with its first failure has no increase: it must stand at 0 before.
        self._read = profiles.labels("read").inc
        self._unavailable = profiles.labels("unavailable").inc
        self._seconds = Histogram(
            "marquee_profile_seconds",
            "Time in which those profiles of a batch were read that were not in memory.",
            buckets=_PROFILE_SECONDS,
            registry=registry,
        )

    def count_profiles(self, n_read: int, n_unavailable: int) -> None:
        """Counts the profiles of one batch."""
        self._read(n_read)
        # Rare: most batches touch one series, not two.
        if n_unavailable:
            self._unavailable(n_unavailable)

    def time_read(self, seconds: float) -> None:
        """Tells what it took to read the profiles of a batch; most batches need none."""
        self._seconds.observe(seconds)


class UserMetrics:
    """Counts what users say.

    Args:
        registry: Where the counters are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        consents = Counter(
            "marquee_consents", "Statements of how much of a user may be used.", ["tier"], registry=registry
        )
        self._of_tier = {tier: consents.labels(tier.value).inc for tier in Tier}

    def count_consent(self, tier: Tier) -> None:
        """Counts one statement."""
        self._of_tier[tier]()


class DecisionMetrics:
    """Counts answers by whether they are on record, and how rare their rarest place was.

    Args:
        registry: Where the counters are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        decisions = Counter(
            "marquee_decisions",
            "Answers, by whether they are on record: recorded or unrecorded.",
            ["outcome"],
            registry=registry,
        )
        # A series that first appears with its first failure has no increase: it must stand at 0 before.
        self._recorded = decisions.labels("recorded").inc
        self._unrecorded = decisions.labels("unrecorded").inc
        least = Histogram(
            "marquee_least_propensity",
            "The least propensity among the places of an answer that was not greedy.",
            ["policy"],
            buckets=_PROPENSITIES,
            registry=registry,
        )
        # A greedy place has propensity 1, of which there is nothing to see.
        drawing = [name.value for name in PolicyName if name is not PolicyName.greedy]
        self._observe_of = {name: least.labels(name).observe for name in drawing}

    def count_recorded(self, n_answers: int) -> None:
        """Counts answers that are on record."""
        self._recorded(n_answers)

    def count_unrecorded(self, n_answers: int = 1) -> None:
        """Counts answers that are not, or that were lost."""
        self._unrecorded(n_answers)

    def show_least(self, policy: str, least_propensity: float) -> None:
        """Shows how rare the rarest place of an answer was."""
        self._observe_of[policy](least_propensity)


class ClosingMetrics:
    """Counts rows that have left the store.

    Args:
        registry: Where the counters are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._rows = Counter(
            "marquee_closed_rows",
            "Rows of days that are over, moved from the event log into files, by kind.",
            ["kind"],
            registry=registry,
        )
        # A series that first appears with its first row has no increase: it must stand at 0 before.
        for kind in (*EventKind, DECISION):
            self._rows.labels(str(kind))

    def count_closed(self, kind: str, n_rows: int) -> None:
        """Counts the rows of one kind and day."""
        self._rows.labels(kind).inc(n_rows)


class ErasureMetrics:
    """Counts erasures, and shows how long the oldest has waited.

    Args:
        registry: Where the counters are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        erasures = Counter(
            "marquee_erasures",
            "Erasures of users, by how far they are: asked or finished.",
            ["stage"],
            registry=registry,
        )
        self._expired = Counter(
            "marquee_expired_rows",
            "Rows of the event log that were deleted for their age.",
            registry=registry,
        )
        # All workers look at one store: a sum would count each erasure once for each of them.
        self._waiting = Gauge(
            "marquee_waiting_erasure_share",
            "Share of MARQUEE_ERASE_HOURS that the oldest unfinished erasure has waited; 0 if there is none.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._overdue = Gauge(
            "marquee_overdue_erased_users",
            "Erased users whom releases know that answer and are older than MARQUEE_MAX_RELEASE_AGE_DAYS.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        # A series that first appears with its first event has no increase: it must stand at 0 before.
        self._asked = erasures.labels("asked").inc
        self._finished = erasures.labels("finished").inc

    def count_asked(self) -> None:
        """Counts an erasure that was asked for."""
        self._asked()

    def count_pass(self, n_finished: int, n_expired: int) -> None:
        """Counts what a pass has done."""
        self._finished(n_finished)
        self._expired.inc(n_expired)

    def show(self, waiting_share: float, n_overdue: int) -> None:
        """Shows how much of its time the oldest erasure has waited, and whom releases know too long."""
        self._waiting.set(waiting_share)
        self._overdue.set(n_overdue)
