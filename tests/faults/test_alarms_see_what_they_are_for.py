"""Every alarm fires on the fault that it is for, and is silent while the service is well."""

from collections.abc import Callable, Mapping

import pytest
import yaml

from tests.support.paths import ROOT
from tests.support.promql import Series, evaluate, fires

DAY = 86_400.0
UNTIL = 10 * DAY
RULES: dict[str, dict[str, str]] = {
    rule["alert"]: rule
    for group in yaml.safe_load((ROOT / "deploy" / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}
SECONDS = {"m": 60, "h": 3600}


def constant(name: str, value: float, **labels: str) -> Series:
    return Series(name, lambda _at: value, labels)


def rising(name: str, per_s: float, **labels: str) -> Series:
    """Returns a counter that rises steadily."""
    return Series(name, lambda at: per_s * at, labels)


def late(name: str, after: float, **labels: str) -> Series:
    """Returns a counter that rises by one, a little before the end."""
    return Series(name, lambda at: float(at >= UNTIL - after), labels)


def now_minus(name: str, seconds: float, **labels: str) -> Series:
    return Series(name, lambda at: at - seconds, labels)


WELL = {
    "up a": constant("up", 1, job="marquee", instance="a"),
    "up b": constant("up", 1, job="marquee", instance="b"),
    "200": rising("marquee_requests_total", 10.0, route="/v1/recommend", status="200"),
    "500": rising("marquee_requests_total", 0.0, route="/v1/recommend", status="500"),
    "503": rising("marquee_requests_total", 0.0, route="/v1/recommend", status="503"),
    "fast": rising("marquee_request_seconds_bucket", 10.0, route="/v1/recommend", le="0.008"),
    "all": rising("marquee_request_seconds_bucket", 10.0, route="/v1/recommend", le="0.5"),
    "parts": rising("marquee_batch_parts_total", 10.0, outcome="answered"),
    "parts 500": rising("marquee_batch_parts_total", 0.0, outcome="internal_error"),
    "parts 503": rising("marquee_batch_parts_total", 0.0, outcome="unavailable"),
    "taken": late("marquee_release_changes_total", 300, outcome="taken"),
    "refused": constant("marquee_release_changes_total", 2, outcome="refused"),
    "behind": constant("marquee_workers_behind", 0, bundle="world"),
    "heartbeat": now_minus("marquee_heartbeat_seconds", 1, thread="releases of world"),
    "beat": now_minus("marquee_heartbeat_seconds", 1, thread="event loop"),
    "fill": constant("marquee_live_items_fill", 0.5, bundle="world"),
    "accepted": rising("marquee_events_total", 10.0, outcome="accepted"),
    "rejected": rising("marquee_events_total", 0.1, outcome="rejected"),
    "recorded": rising("marquee_decisions_total", 10.0, outcome="recorded"),
    "unrecorded": constant("marquee_decisions_total", 3, outcome="unrecorded"),
    "suspended": constant("marquee_experiment_suspended", 0, experiment="order"),
    "old arm": rising("marquee_experiment_decisions_total", 4.5, experiment="order", arm="old"),
    "new arm": rising("marquee_experiment_decisions_total", 0.47, experiment="order", arm="new"),
    "old share": constant("marquee_experiment_share", 0.9, experiment="order", arm="old"),
    "new share": constant("marquee_experiment_share", 0.1, experiment="order", arm="new"),
    "read": rising("marquee_profiles_total", 10.0, outcome="read"),
    "unavailable": rising("marquee_profiles_total", 0.1, outcome="unavailable"),
    "waiting": constant("marquee_waiting_erasure_share", 0.6),
    "known": constant("marquee_overdue_erased_users", 0),
    "rule end": Series("marquee_rules_next_end_seconds", lambda _at: UNTIL + 2 * DAY, {}),
    "stale": constant("marquee_rules_stale_total", 2),
    "outbid": rising("marquee_ads_lost_total", 5.0, reason="outbid"),
    "broken": constant("marquee_ads_lost_total", 2, reason="broken"),
    "cut off": constant("marquee_ads_cut_off", 0),
    "explained": rising("marquee_explanations_total", 0.1, outcome="agrees"),
    "differs": constant("marquee_explanations_total", 1, outcome="differs"),
    "created": now_minus("marquee_release_created_seconds", DAY),
    "drift": constant("marquee_drift_alarms", 0),
    "drift report": now_minus("marquee_drift_report_seconds", DAY),
    "personal": rising("marquee_answers_total", 9.0, source="personal", release="v1", surface="home"),
    "popular": rising("marquee_answers_total", 1.0, source="popular", release="v1", surface="home"),
    "short": rising("marquee_short_answers_total", 0.1, surface="home"),
    "history": rising("marquee_history_total", 100.0),
    "unknown": rising("marquee_unknown_history_total", 1.0),
    "canary": constant("marquee_canary_failures_total", 0),
    "arm": constant("marquee_arm_failures_total", 0),
}
BEHIND = constant("marquee_workers_behind", 1, bundle="world")
SHORT = rising("marquee_short_answers_total", 1.0, surface="home")
FAULTS: dict[str, tuple[str, Mapping[str, Series | None]]] = {
    "nothing can be scraped": ("MarqueeDown", {"up a": None, "up b": None}),
    "one of two instances is down": (
        "MarqueeInstanceDown",
        {"up a": constant("up", 0, job="marquee", instance="a")},
    ),
    "requests fail": (
        "MarqueeErrors",
        {"500": rising("marquee_requests_total", 0.1, route="/v1/recommend", status="500")},
    ),
    "parts of batches fail": (
        "MarqueeErrors",
        {"500": None, "parts 500": rising("marquee_batch_parts_total", 0.1, outcome="internal_error")},
    ),
    "requests are shed": (
        "MarqueeShedding",
        {"503": rising("marquee_requests_total", 1.0, route="/v1/recommend", status="503")},
    ),
    "every part of every batch is shed": (
        "MarqueeShedding",
        {
            "503": None,
            "parts": rising("marquee_batch_parts_total", 0.0, outcome="answered"),
            "parts 503": rising("marquee_batch_parts_total", 10.0, outcome="unavailable"),
        },
    ),
    "connections are turned away": (
        "MarqueeShedding",
        {"other": rising("marquee_requests_total", 1.0, route="other", status="503")},
    ),
    "answers are slow": (
        "MarqueeSlow",
        {"fast": rising("marquee_request_seconds_bucket", 9.0, route="/v1/recommend", le="0.008")},
    ),
    "a release is refused": (
        "MarqueeReleaseRefused",
        {"refused": late("marquee_release_changes_total", 300, outcome="refused")},
    ),
    "one worker is behind": (
        "MarqueeReleaseBehind",
        {"behind": BEHIND},
    ),
    "a thread hangs": (
        "MarqueeThreadStuck",
        {"heartbeat": now_minus("marquee_heartbeat_seconds", 900, thread="items")},
    ),
    "an event loop hangs": (
        "MarqueeThreadStuck",
        {"beat": now_minus("marquee_heartbeat_seconds", 900, thread="event loop")},
    ),
    "no event loop shows that it runs": ("MarqueeHeartbeatMissing", {"beat": None}),
    "the store is nearly full": (
        "MarqueeItemsFull",
        {"fill": constant("marquee_live_items_fill", 0.9, bundle="world")},
    ),
    "an app sends milliseconds": (
        "MarqueeEventsRejected",
        {"rejected": rising("marquee_events_total", 2.0, outcome="rejected")},
    ),
    "an app sends decisions of another service": (
        "MarqueeEventsOrphaned",
        {"orphaned": rising("marquee_orphaned_events_total", 2.0)},
    ),
    "the disk of decisions is full": (
        "MarqueeUnrecorded",
        {"unrecorded": rising("marquee_decisions_total", 1.0, outcome="unrecorded")},
    ),
    "the database hangs": (
        "MarqueeProfilesUnavailable",
        {"unavailable": rising("marquee_profiles_total", 5.0, outcome="unavailable")},
    ),
    "passes of erasures fail": (
        "MarqueeErasuresLate",
        {"waiting": constant("marquee_waiting_erasure_share", 0.9)},
    ),
    "an old release knows erased users": (
        "MarqueeErasedUsersKnown",
        {"known": constant("marquee_overdue_erased_users", 2)},
    ),
    "the release of an arm is gone": (
        "MarqueeExperimentSuspended",
        {"suspended": constant("marquee_experiment_suspended", 1, experiment="order")},
    ),
    "an arm fails": (
        "MarqueeExperimentLopsided",
        {"new arm": rising("marquee_experiment_decisions_total", 0.35, experiment="order", arm="new")},
    ),
    "an arm answers nobody": (
        "MarqueeExperimentLopsided",
        {"new arm": rising("marquee_experiment_decisions_total", 0, experiment="order", arm="new")},
    ),
    "a rule ends tonight": (
        "MarqueeRuleEnds",
        {"rule end": Series("marquee_rules_next_end_seconds", lambda _at: UNTIL + 3600, {})},
    ),
    "a release answers otherwise than it did": (
        "MarqueeExplanationsDiffer",
        {"differs": rising("marquee_explanations_total", 0.001, outcome="differs")},
    ),
    "probabilities of ads are no numbers": (
        "MarqueeAdsBroken",
        {"broken": rising("marquee_ads_lost_total", 0.1, reason="broken")},
    ),
    "the ledger cannot be reached": ("MarqueeAdsCutOff", {"cut off": constant("marquee_ads_cut_off", 1)}),
    "the rules cannot be read": ("MarqueeRulesStale", {"stale": rising("marquee_rules_stale_total", 0.1)}),
    "training has stopped": (
        "MarqueeReleaseOld",
        {"created": now_minus("marquee_release_created_seconds", 8 * DAY)},
    ),
    "a column has shifted": ("MarqueeDrift", {"drift": constant("marquee_drift_alarms", 2)}),
    "nobody looks for drift any more": (
        "MarqueeDriftUnknown",
        {"drift report": now_minus("marquee_drift_report_seconds", 3 * DAY)},
    ),
    "callers send other ids": (
        "MarqueeFallback",
        {"popular": rising("marquee_answers_total", 20.0, source="popular", release="v1", surface="home")},
    ),
    "answers are short": (
        "MarqueeShortAnswers",
        {"short": SHORT},
    ),
    "the release is older than the catalog": (
        "MarqueeUnknownHistory",
        {"unknown": rising("marquee_unknown_history_total", 30.0)},
    ),
    "the release of an arm fails": ("MarqueeArmFails", {"arm": late("marquee_arm_failures_total", 300)}),
    "a canary fails": ("MarqueeCanaryFails", {"canary": late("marquee_canary_failures_total", 300)}),
}


def firing(changes: Mapping[str, Series | None]) -> set[str]:
    """Returns the alarms that fire when some series are others than while the service is well."""
    series = [one for one in {**WELL, **changes}.values() if one is not None]
    return {name for name, rule in RULES.items() if fires(rule["expr"], _hold_s(rule), series, UNTIL)}


def _hold_s(rule: Mapping[str, str]) -> float:
    text = rule.get("for", "0m")
    return float(text[:-1]) * SECONDS[text[-1]]


def test_no_alarm_fires_while_the_service_is_well() -> None:
    assert firing({}) == set()


@pytest.mark.parametrize("fault", FAULTS)
def test_alarm_fires_on_its_fault_and_no_other_does(fault: str) -> None:
    alarm, changes = FAULTS[fault]
    down = {"MarqueeInstanceDown"} if alarm == "MarqueeDown" else set()
    assert firing(changes) - down == {alarm}


def test_every_alarm_has_a_fault() -> None:
    assert {alarm for alarm, _ in FAULTS.values()} == set(RULES)


def test_probe_of_an_instance_that_is_drained_sheds_nothing() -> None:
    """It is hardly asked any more, and a load balancer probes it every two seconds."""
    probe = rising("marquee_requests_total", 0.5, route="/readyz", status="503")
    idle = rising("marquee_requests_total", 0.01, route="/v1/recommend", status="200")
    assert firing({"200": idle, "probe": probe}) == set()


EXPRESSIONS: dict[str, tuple[str, float | None]] = {
    "1 + 2 * 3": ("vector(1) + vector(2) * 3", 7.0),
    "sum over a label": ('sum(rate(marquee_answers_total{surface="home"}[5m]))', 10.0),
    "selector without a match": ('sum(rate(marquee_answers_total{surface="away"}[5m]))', None),
    "or a constant": ("sum(rate(nothing[5m])) or vector(0)", 0.0),
    "comparison that does not hold": ("marquee_live_items_fill > 0.5", None),
    "increase": ('increase(marquee_requests_total{status="200"}[1m])', 600.0),
    "quantile": ("histogram_quantile(0.5, sum by (le) (rate(marquee_request_seconds_bucket[5m])))", 0.004),
    "other regular expression": ('marquee_live_items_fill{bundle=~"w.*d"} * 2', 1.0),
}


@pytest.mark.parametrize("what", EXPRESSIONS)
def test_evaluator_gives_what_prometheus_defines(what: str) -> None:
    text, expected = EXPRESSIONS[what]
    value = evaluate(text, list(WELL.values()), UNTIL)
    assert isinstance(value, dict)
    assert [pytest.approx(one) for one in value.values()] == ([] if expected is None else [expected])


def test_counter_that_starts_anew_has_risen_by_what_it_counts_since() -> None:
    reset: Callable[[float], float] = lambda at: at - UNTIL + 300 if at < UNTIL - 60 else at - UNTIL + 60  # noqa: E731
    value = evaluate("increase(c[2m])", [Series("c", reset, {})], UNTIL)
    assert isinstance(value, dict)
    assert list(value.values()) == [pytest.approx(45.0 + 0.0 + 60.0)]
