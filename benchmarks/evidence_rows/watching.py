"""Rows on drift, gaps between groups, and the leak audit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.preprocessing import OrdinalEncoder

from benchmarks.rows import Measured, Row
from marquee.core.arrays import Float64Array, IndexArray
from marquee.evaluation.analyses.fairness import GapFinding, measure_gaps
from marquee.evaluation.drift.bins import Bins
from marquee.evaluation.drift.config import DriftConfig
from marquee.evaluation.drift.stability import index_by_chance, stability_index
from marquee.evaluation.drift.watching import Drift, compare_tables
from marquee.evaluation.leaks import audit_leak
from marquee.evaluation.probabilities.metrics import auc

SIZES = (50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
N_SAMPLES = 1_000
DIM, K = 32, 10


def rows(root: Path) -> Iterator[Row]:
    """Yields the rows."""
    bank, films = root / "bank-marketing/bank-full.csv", root / "ml-100k"
    yield Row(
        "drift, bank-full 80/20 at random",
        "0 features, score PSI 0.002",
        "be silent",
        lambda: _bank(bank, is_shuffled=True),
    )
    yield Row(
        "drift, bank-full 80/20 in file order",
        "6 features (month 1.11, poutcome 0.97, contact 0.96), score 0.71 to 0.78, ratio 0.43, AUC 0.81 to "
        "0.69",
        "name 5 features or more and calibration",
        lambda: _bank(bank, is_shuffled=False),
    )
    yield Row(
        "drift, 1,000 stable samples of each size",
        '"PSI > 0.2": 48 % alarm at 50 rows, 5 % at 100',
        "raise an alarm in 1 % or less at each size",
        lambda: _stable(bank),
    )
    yield Row(
        "gaps, ml-100k NDCG@10 by gender (SVD)",
        '0.184 / 0.165, interval -0.008 to 0.047: "cannot tell"',
        "follow the interval",
        lambda: _gender_gap(films),
    )
    yield Row("gaps, equal simulated groups", "5 % flagged at most", "flag 5 % or less", _equal_groups)
    yield Row(
        "leak audit, ml-100k (SVD)", "gender AUC 0.741", "have 0.741 in its interval", lambda: _leak(films)
    )


def _bank(path: Path, *, is_shuffled: bool) -> Measured:
    if not path.is_file():
        return Measured(f"{path} is not there", False)
    table = pl.read_csv(path, separator=";").drop("duration")  # known only after the call
    if is_shuffled:
        table = table[np.random.default_rng(0).permutation(table.height)]
    n = round(0.8 * table.height)
    words, read = _trees_inputs(table)
    outcome = (table["y"] == "yes").to_numpy()
    order = np.random.default_rng(1).permutation(n)
    halves = order[: n // 2], order[n // 2 :]
    features = read(table)

    def fit(rows: IndexArray) -> HistGradientBoostingClassifier:
        trees = HistGradientBoostingClassifier(random_state=0, categorical_features=words)
        return trees.fit(features[rows], outcome[rows])

    first, second = (fit(rows) for rows in halves)
    said = np.zeros(table.height)
    # Each half by the trees of the other: in sample the AUC would fall without any drift.
    for trees, rows in ((first, halves[1]), (second, halves[0])):
        said[rows] = trees.predict_proba(features[rows])[:, 1]
    said[n:] = np.mean([trees.predict_proba(features[n:])[:, 1] for trees in (first, second)], axis=0)
    scored = table.with_columns(pl.Series("score", said), pl.Series("y", outcome.astype(float)))
    config = DriftConfig(reference="before", current="now", score="score", label="y")
    found = _bank_verdict(compare_tables(config, scored[:n], scored[n:]), is_shuffled=is_shuffled)
    if is_shuffled:
        return found
    # What the reference has for the AUC of before, which is of rows that the trees had learned from.
    whole = fit(order)
    own = auc(whole.predict_proba(features[:n])[:, 1], outcome[:n])
    return Measured(f"{found.text}; AUC of rows learned from {own:.2f}", found.is_within)


def _trees_inputs(table: pl.DataFrame) -> tuple[list[int], Callable[[pl.DataFrame], Float64Array]]:
    """Returns which inputs are categories, and how a table becomes inputs."""
    names = [name for name in table.columns if name != "y"]
    words = [name for name in names if table[name].dtype == pl.String]
    plain = [name for name in names if name not in words]
    encoder = OrdinalEncoder().fit(table[words].to_numpy())

    def read(rows: pl.DataFrame) -> Float64Array:
        return np.hstack([rows[plain].to_numpy().astype(float), encoder.transform(rows[words].to_numpy())])

    return list(range(len(plain), len(names))), read


def _bank_verdict(drift: Drift, *, is_shuffled: bool) -> Measured:
    """Returns how many features shifted, the score's index, calibration and AUC."""
    shifted = {c.name: round(c.index, 2) for c in drift.columns if c.has_drifted and c.name != "score"}
    score = next(column.index for column in drift.columns if column.name == "score")
    labels = drift.labels
    assert labels is not None, "the table has labels"
    assert labels.reference is not None, "the table has labels"
    assert labels.reference.auc is not None, "both classes are there"
    assert labels.current.auc is not None, "both classes are there"
    text = (
        f"{len(shifted)} features {shifted or ''}, score PSI {score:.3f}, ratio "
        f"{labels.current.calibration_ratio.mean:.2f}, AUC {labels.reference.auc.mean:.2f} to "
        f"{labels.current.auc.mean:.2f}"
    )
    if is_shuffled:
        return Measured(text, not drift.alarms)
    return Measured(text, len(shifted) >= 5 and labels.is_miscalibrated)


def _stable(path: Path) -> Measured:
    if not path.is_file():
        return Measured(f"{path} is not there", False)
    table = pl.read_csv(path, separator=";").drop("y")
    rng = np.random.default_rng(0)
    all_bins = [Bins.fit(table[name]) for name in table.columns]
    worst, plain = {}, {}
    for size in SIZES:
        is_alarm, is_plain = np.zeros(N_SAMPLES, dtype=bool), np.zeros(N_SAMPLES, dtype=bool)
        for bins in all_bins:
            limit = index_by_chance(bins.counts, size, rng, len(all_bins))
            shares = bins.counts / bins.counts.sum()
            _, found = stability_index(bins.counts[None, :], rng.multinomial(size, shares, size=N_SAMPLES))
            is_alarm |= found > max(0.2, limit)
            is_plain = found > 0.2 if bins.name == "balance" else is_plain
        worst[size], plain[size] = float(is_alarm.mean()), float(is_plain.mean())
    text = ", ".join(f"{size:,}: {worst[size]:.1%}" for size in SIZES)
    rule = ", ".join(f"{plain[size]:.0%} at {size}" for size in SIZES[:2])
    return Measured(
        f"alarms by rows, any of {len(all_bins)} columns {text}; one column by the rule: {rule}",
        max(worst.values()) <= 0.01,
    )


@dataclass(frozen=True)
class _Films:
    """ML-100K with the last fifth of each user held out, and user vectors of an SVD of the rest."""

    vectors: Float64Array
    ndcg: Float64Array
    gender: list[str]


def _films(root: Path) -> _Films | None:
    """Returns the vectors and NDCG@10 of users, None if the files are not there."""
    if not (root / "u.data").is_file():
        return None
    names = ["user", "item", "stars", "at"]
    events = pl.read_csv(root / "u.data", separator="\t", has_header=False, new_columns=names)
    lines = [line.split("|") for line in (root / "u.user").read_text().splitlines()]
    events = events.sort("user", "at", maintain_order=True).with_columns(
        ((pl.int_range(pl.len()).over("user") + 1) > 0.8 * pl.len().over("user")).alias("held")
    )
    shape = (int(events["user"].max()), int(events["item"].max()))  # type: ignore[arg-type] # not empty
    seen, wanted = np.zeros(shape), np.zeros(shape, dtype=bool)
    for user, item, held in events.select("user", "item", "held").iter_rows():
        if held:
            wanted[user - 1, item - 1] = True
        else:
            seen[user - 1, item - 1] = 1.0
    left, values, right = np.linalg.svd(seen, full_matrices=False)
    vectors = left[:, :DIM] * values[:DIM]
    scores = np.where(seen > 0, -np.inf, vectors @ right[:DIM])
    best = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    discount = 1 / np.log2(np.arange(K) + 2)
    hits = np.take_along_axis(wanted, best, axis=1)
    ideal = np.cumsum(discount)[np.minimum(wanted.sum(axis=1), K) - 1]
    return _Films(
        vectors, (hits @ discount) / ideal, [line[2] for line in sorted(lines, key=lambda line: int(line[0]))]
    )


def _gender_gap(root: Path) -> Measured:
    films = _films(root)
    if films is None:
        return Measured(f"{root} is not there", False)
    gaps = measure_gaps("gender", f"ndcg@{K}", films.ndcg, films.gender)
    assert gaps.largest is not None, "there are two groups"
    gap = gaps.largest.difference
    said = ", ".join(f"{group.name} {group.estimate.mean:.3f}" for group in gaps.groups)
    finding = gaps.largest.finding
    return Measured(
        f"{said}, interval {gap.low:.3f} to {gap.high:.3f}: {finding}",
        (finding is GapFinding.differs) == (gap.low > 0),
    )


def _equal_groups() -> Measured:
    rng = np.random.default_rng(0)
    n_worlds, n_flagged = 1_000, 0
    for _ in range(n_worlds):
        groups = rng.choice(["a", "b", "c", "d", "e"], 800).tolist()
        largest = measure_gaps("g", "ndcg", rng.beta(0.3, 1.5, 800), groups).largest
        n_flagged += largest is not None and largest.finding is GapFinding.differs
    return Measured(
        f"{n_flagged / n_worlds:.1%} of {n_worlds:,} worlds flagged", n_flagged <= 0.05 * n_worlds
    )


def _leak(root: Path) -> Measured:
    films = _films(root)
    if films is None:
        return Measured(f"{root} is not there", False)
    (leak,) = audit_leak(films.vectors, "gender", films.gender, np.random.default_rng(0))
    area = leak.auc
    return Measured(
        f"gender AUC {area.mean:.3f} ({area.low:.3f} to {area.high:.3f})", area.low <= 0.741 <= area.high
    )
