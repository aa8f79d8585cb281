"""The rows on the simulated market, with fewer worlds."""

from benchmarks.evidence_rows.market import judge_market
from marquee.evaluation.off_policy.estimators import Estimator

N_WORLDS = 8


def test_intervals_of_small_worlds_hold_the_truth() -> None:
    judged = [judge_market(seed) for seed in range(N_WORLDS)]
    for name in (Estimator.self_normalised, Estimator.doubly_robust):
        estimates = [one.found.value.estimates[name] for one in judged]
        held = [e.low <= one.truth <= e.high for e, one in zip(estimates, judged, strict=True)]
        # By 95 % intervals fewer than six of eight hold in less than one of a hundred tries.
        assert sum(held) >= 6
    for one in judged:
        assert one.found.value.support.is_identifiable
        own = one.own.value
        assert abs(own.estimates[Estimator.self_normalised].mean - own.logged.mean) < 1e-12
        assert one.own.value.estimates[Estimator.inverse_propensity].mean == own.logged.mean
