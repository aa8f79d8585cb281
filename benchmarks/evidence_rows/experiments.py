"""Rows on experiments: assignment, looks at an A/A test, ratios, shares of arms, adjustment for the past."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import chi2_contingency, chisquare

from benchmarks.rows import Measured, Row
from marquee.bundle.variants import unit_position
from marquee.core.arrays import Float64Array
from marquee.evaluation.experiments.adjustment import adjust
from marquee.evaluation.experiments.effects import measure_effects
from marquee.evaluation.experiments.planning import plan
from marquee.evaluation.experiments.sample_ratio import sample_ratio
from marquee.evaluation.experiments.sequences import sequence_half_width
from marquee.evaluation.experiments.units import ArmUnits

PUBLISHED = {
    ("seed", "a"): 0.0505,
    ("seed", "b"): 0.2696,
    ("foo", "ab"): 0.2575,
    ("foo", "def"): 0.2019,
    ("89123klj", "8952klfjas09ujkasdf"): 0.124,
    ("90850943850283058242805", "123"): 0.7516,
}
N_UNITS = 200_000
N_WORLDS, N_LOOKS, N_PER_ARM, RATE, LIFT = 2_000, 20, 10_000, 0.1, 0.015
N_SPLITS = 2_000
CDNOW_CUT = 19970930


def rows(root: Path) -> Iterator[Row]:
    """Yields the rows."""
    yield Row("hash, published cases", "6 of 6 equal", "be equal", _published)
    yield Row("hash, 200,000 units uniform, independent", "chi-squared p > 0.01", "have p > 0.01", _uniform)
    yield Row(
        "A/A, 20 looks, 2,000 worlds",
        "any look naive 24.1 %, fixed horizon 4.8 %, sequence 1.3 %",
        "stay at or below 5 % at any look",
        _looks_without_effect,
    )
    yield Row(
        "+1.5 points, looks until it is seen",
        "fixed horizon 6,690 per arm; sequence stops at 7,000 to 8,000 (median)",
        "stop at or below 8,500",
        _looks_with_effect,
    )
    yield Row(
        "ratio metric, A/A over ml-100k users",
        "per event 70 % false alarms, delta method 5.2 %",
        "lie within 4 to 6 %",
        lambda: _ratio_metric(root / "ml-100k/u.data"),
    )
    yield Row("shares of arms", "49/51 alarm, 95/5 none, empty arm alarm", "be these", _shares)
    yield Row(
        "shares of arms, Hillstrom",
        "p = 0.90",
        "be no alarm",
        lambda: _hillstrom(root / "hillstrom/hillstrom.csv"),
    )
    yield Row(
        "past taken out, CDNOW orders and spend",
        "removed: orders 42 %, spend 35 %; A/A 4.5 %",
        "be 40 % and 33 % or more, A/A 6 % or less",
        lambda: _cdnow(root / "cdnow/CDNOW_master.txt"),
    )


def _published() -> Measured:
    found = [unit_position(seed, unit) == position for (seed, unit), position in PUBLISHED.items()]
    return Measured(f"{sum(found)} of {len(found)} equal", all(found))


def _uniform() -> Measured:
    units = [f"user-{n}" for n in range(N_UNITS)]
    first = np.array([unit_position("one", unit) for unit in units])
    second = np.array([unit_position("two", unit) for unit in units])
    uniform = float(chisquare(np.bincount((first * 100).astype(int), minlength=100)).pvalue)
    table = np.histogram2d(first, second, bins=10, range=[[0, 1], [0, 1]])[0]
    independent = float(chi2_contingency(table).pvalue)
    return Measured(
        f"{N_UNITS:,} units: uniform p = {uniform:.2f}, two experiments p = {independent:.2f}",
        min(uniform, independent) > 0.01,
    )


def _differences(lift: float, n_per_look: int, n_looks: int, seed: int) -> tuple[Float64Array, Float64Array]:
    """Returns differences of rates and their standard errors at each look, (n_worlds, n_looks)."""
    rng = np.random.default_rng(seed)
    n = n_per_look * np.arange(1, n_looks + 1)
    shares = [
        np.cumsum(rng.binomial(n_per_look, rate, size=(N_WORLDS, n_looks)), axis=1) / n
        for rate in (RATE, RATE + lift)
    ]
    errors = np.sqrt(sum(share * (1 - share) for share in shares) / n)
    return shares[1] - shares[0], errors


def _looks_without_effect() -> Measured:
    per_look = N_PER_ARM // N_LOOKS
    differences, errors = _differences(0.0, per_look, N_LOOKS, seed=1)
    n = per_look * np.arange(1, N_LOOKS + 1)
    scale = np.array([sequence_half_width(1.0, int(2 * m)) for m in n])
    naive = float((np.abs(differences) > 1.96 * errors).any(axis=1).mean())
    fixed = float((np.abs(differences[:, -1]) > 1.96 * errors[:, -1]).mean())
    always = float((np.abs(differences) > scale * errors).any(axis=1).mean())
    return Measured(
        f"any look naive {naive:.1%}, fixed horizon {fixed:.1%}, sequence {always:.1%}",
        always <= 0.05 and 0.035 <= fixed <= 0.065,
    )


def _looks_with_effect() -> Measured:
    per_look, n_looks = 500, 60
    differences, errors = _differences(LIFT, per_look, n_looks, seed=2)
    n = per_look * np.arange(1, n_looks + 1)
    scale = np.array([sequence_half_width(1.0, int(2 * m)) for m in n])
    is_seen = differences > scale * errors
    first = np.where(is_seen.any(axis=1), n[is_seen.argmax(axis=1)], n[-1] + per_look)
    median = float(np.median(first))
    # By the variance of both arms, as a plan takes it from a log.
    variance = sum(rate * (1 - rate) for rate in (RATE, RATE + LIFT)) / 2
    planned = plan(variance, LIFT, 1_000).n_units
    return Measured(
        f"fixed horizon {planned:,} per arm; sequence stops at {median:,.0f} (median)",
        median <= 8_500 and abs(planned - 6_690) <= 50,
    )


def _ratio_metric(path: Path) -> Measured:
    if not path.is_file():
        return Measured(f"{path} is not there", False)
    ratings = pl.read_csv(path, separator="\t", has_header=False, new_columns=["user", "item", "stars", "at"])
    users = ratings.group_by("user", maintain_order=True).agg(
        (pl.col("stars") >= 4).sum().alias("good"), pl.len().alias("n")
    )
    good, n = users["good"].to_numpy().astype(float), users["n"].to_numpy().astype(float)
    rng = np.random.default_rng(3)
    by_event = by_unit = 0
    for _ in range(N_SPLITS):
        is_new = rng.random(len(n)) < 0.5
        arms = [ArmUnits(good[part], n[part]) for part in (~is_new, is_new)]
        difference = arms[1].mean - arms[0].mean
        by_unit += abs(difference) > 1.96 * (arms[0].variance + arms[1].variance) ** 0.5
        rates = [
            arm.mean * (1 - arm.mean) / float(n[part].sum())
            for arm, part in zip(arms, (~is_new, is_new), strict=True)
        ]
        by_event += abs(difference) > 1.96 * sum(rates) ** 0.5
    alarms = by_unit / N_SPLITS
    return Measured(
        f"per event {by_event / N_SPLITS:.0%} false alarms, delta method {alarms:.1%}", 0.04 <= alarms <= 0.06
    )


def _shares() -> Measured:
    even = {"a": 0.5, "b": 0.5}
    found = (
        sample_ratio({"a": 49_000, "b": 51_000}, even).is_mismatch,
        sample_ratio({"a": 95_000, "b": 5_000}, {"a": 0.95, "b": 0.05}).is_mismatch,
        sample_ratio({"a": 100_000, "b": 0}, even).is_mismatch,
    )
    words = ["alarm" if alarm else "none" for alarm in found]
    return Measured(f"49/51 {words[0]}, 95/5 {words[1]}, empty arm {words[2]}", found == (True, False, True))


def _hillstrom(path: Path) -> Measured:
    if not path.is_file():
        return Measured(f"{path} is not there", False)
    counts = dict(pl.read_csv(path, columns=["segment"])["segment"].value_counts().iter_rows())
    ratio = sample_ratio(counts, dict.fromkeys(counts, 1 / 3))
    return Measured(f"{sorted(counts.values())}, p = {ratio.p_value:.2f}", not ratio.is_mismatch)


def _cdnow(path: Path) -> Measured:
    if not path.is_file():
        return Measured(f"{path} is not there", False)
    lines = path.read_text().splitlines()[1:]
    parsed = [line.split() for line in lines if line.strip()]
    table = pl.DataFrame(
        {
            "user": [row[0] for row in parsed],
            "day": [int(row[1]) for row in parsed],
            "spend": [float(row[3]) for row in parsed],
        }
    )
    is_before = pl.col("day") <= CDNOW_CUT
    users = table.group_by("user", maintain_order=True).agg(
        is_before.sum().alias("orders before"),
        (~is_before).sum().alias("orders"),
        pl.col("spend").filter(is_before).sum().alias("spend before"),
        pl.col("spend").filter(~is_before).sum().alias("spend"),
    )
    rng = np.random.default_rng(4)
    removed = {}
    for name in ("orders", "spend"):
        arm = ArmUnits(
            users[name].to_numpy().astype(float), before=users[f"{name} before"].to_numpy().astype(float)
        )
        removed[name] = adjust([arm]).removed
    alarms, n_worlds = 0, 1_000
    now, before = users["orders"].to_numpy().astype(float), users["orders before"].to_numpy().astype(float)
    for _ in range(n_worlds):
        is_new = rng.random(len(now)) < 0.5
        arms = {
            name: ArmUnits(now[part], before=before[part]) for name, part in (("a", ~is_new), ("b", is_new))
        }
        alarms += measure_effects("orders", arms, "a").effects[0].p_value < 0.05
    share = alarms / n_worlds
    return Measured(
        f"removed: orders {removed['orders']:.0%}, spend {removed['spend']:.0%}; A/A {share:.1%}",
        removed["orders"] >= 0.40 and removed["spend"] >= 0.33 and share <= 0.06,
    )
