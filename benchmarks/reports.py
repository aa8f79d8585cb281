"""The statements of a report about chance, held against simulated worlds in which the truth is known.

    python -m benchmarks.reports            coverage of intervals, false positives, power, speed
    python -m benchmarks.reports --check    exit status 1 outside the tolerances

A world is drawn again and again; metrics are as in real reports, mostly 0 with a tail. An interval must hold
the true mean in 93 to 97 of 100 worlds; beside it stands what plain percentiles of the bootstrap would have
held. Where fewer than about ten users have anything but 0, intervals may be too long and not too short.
Models that are alike must not be told apart in more than 5 of 100 worlds, and a difference of the size that
the test states must be found in about 80.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from marquee.core.arrays import Float64Array
from marquee.core.item_lists import ItemLists
from marquee.evaluation.comparison import PairedTest, paired_test
from marquee.evaluation.evaluation import Counts, Evaluation, ModelEvaluation
from marquee.evaluation.intervals import Estimate, estimate_means, resample_counts
from marquee.evaluation.probabilities.intervals import judge_probabilities
from marquee.evaluation.probabilities.metrics import auc, log_loss, normalised_entropy
from marquee.index.ranking import RankedLists
from marquee.reports import Finding, judge_against

N_WORLDS = 1000
WORLDS_AT_ONCE = 10  # they share the users drawn, and nothing else
GAINS = 1 / np.log2(np.arange(2, 12))  # of a hit at each rank of ten
METRIC = "ndcg@10"
ROUNDING = 1e-12
REFERENCES = ("popularity", "recent_popularity", "item_knn", "als")

Draw = Callable[[np.random.Generator, tuple[int, int]], Float64Array]
Worlds = Callable[[np.random.Generator, tuple[int, int]], tuple[Float64Array, Float64Array]]


@dataclass(frozen=True)
class Line:
    """One thing measured beside what it must be."""

    name: str
    measured: float
    low: float
    high: float
    note: str = ""

    @property
    def is_within(self) -> bool:
        """Whether it is what it must be."""
        return self.low <= self.measured <= self.high

    def __str__(self) -> str:
        bounds = f"{self.low:.3g} to {self.high:.3g}" if np.isfinite(self.high) else f"≥ {self.low:.3g}"
        return f"{self.name:<58}{self.measured:>9.3f}   {bounds:<14}{self.note}"


@dataclass(frozen=True)
class MetricWorld:
    """Worlds of one kind.

    Attributes:
        name: The measure and the users that it is taken over.
        n_users: In each world.
        draw: Returns values, (n_users, n_worlds), and the true mean of each world, (n_worlds,).
        is_difference: Whether they are paired differences.
        has_few: Whether so few users have a value that an interval may be too long.
    """

    name: str
    n_users: int
    draw: Worlds
    is_difference: bool = False
    has_few: bool = False


def hits(mean: float) -> Worlds:
    """Returns worlds of the hit rate: 1 or 0, half as often as `mean` up to one and a half times.

    What a share can be is a grid, on which coverage goes up and down with the true share: no single one
    stands for the others.
    """

    def draw(generator: np.random.Generator, shape: tuple[int, int]) -> tuple[Float64Array, Float64Array]:
        truth = generator.uniform(0.5 * mean, 1.5 * mean, shape[1])
        return (generator.random(shape) < truth).astype(np.float64), truth

    return draw


def of_one_truth(truth: float, draw: Draw) -> Worlds:
    """Returns worlds that all have one true mean."""
    return lambda generator, shape: (draw(generator, shape), np.full(shape[1], truth))


def gains(probability: float, of_ranks: Float64Array = GAINS) -> Draw:
    """Returns a draw of a metric of one target: 0, or the gain of a rank."""

    def draw(generator: np.random.Generator, shape: tuple[int, int]) -> Float64Array:
        ranks = generator.integers(0, len(of_ranks), shape)
        return np.where(generator.random(shape) < probability, of_ranks[ranks], 0.0)

    return draw


def recalls(mean: float) -> Draw:
    """Returns a draw of the recall of users with several targets, some of them easy and most of them not."""

    def draw(generator: np.random.Generator, shape: tuple[int, int]) -> Float64Array:
        n_targets = 1 + generator.geometric(0.3, shape)
        ease = generator.beta(0.3, 0.3 * (1 - mean) / mean, shape)
        return np.asarray(generator.binomial(n_targets, ease) / n_targets)

    return draw


def differences(probability: float, moved_fraction: float) -> Draw:
    """Returns a draw of one model minus another that gives most users the same."""

    def draw(generator: np.random.Generator, shape: tuple[int, int]) -> Float64Array:
        one, other = gains(probability)(generator, shape), gains(probability)(generator, shape)
        return np.where(generator.random(shape) < moved_fraction, one - other, 0.0)

    return draw


RECIPROCALS = 1 / np.arange(1, 11)


def _ndcg(probability: float) -> Worlds:
    """Returns worlds of the NDCG of one target that is hit with a probability."""
    return of_one_truth(probability * GAINS.mean(), gains(probability))


WORLDS = (
    MetricWorld("hit rate 0.15 to 0.45, 60 users", 60, hits(0.3)),
    MetricWorld("NDCG, 30 % hit, 60 users", 60, _ndcg(0.3)),
    MetricWorld("NDCG, 10 % hit, 200 users", 200, _ndcg(0.1)),
    MetricWorld(
        "MRR, 10 % hit, 400 users", 400, of_one_truth(0.1 * RECIPROCALS.mean(), gains(0.1, RECIPROCALS))
    ),
    MetricWorld("recall 0.05 of several targets, 300 users", 300, of_one_truth(0.05, recalls(0.05))),
    MetricWorld("NDCG, 30 % hit, 2,000 users", 2000, _ndcg(0.3)),
    MetricWorld(
        "difference, 10 % hit, half moved, 400 users", 400, of_one_truth(0.0, differences(0.1, 0.5)), True
    ),
    MetricWorld(
        "difference, 30 % hit, half moved, 1,000 users", 1000, of_one_truth(0.0, differences(0.3, 0.5)), True
    ),
    MetricWorld("few: NDCG, 5 % hit, 60 users", 60, _ndcg(0.05), has_few=True),
    MetricWorld("few: hit rate 0.01 to 0.03, 100 users", 100, hits(0.02), has_few=True),
    MetricWorld(
        "few: difference, 5 % hit, a third moved, 100 users",
        100,
        of_one_truth(0.0, differences(0.05, 0.3)),
        is_difference=True,
        has_few=True,
    ),
)


def coverage(world: MetricWorld, n_worlds: int, generator: np.random.Generator) -> tuple[float, float]:
    """Returns the share of worlds of which the interval holds the truth, and of which percentiles would."""
    covered = by_percentiles = 0
    for _ in range(n_worlds // WORLDS_AT_ONCE):
        values, truth = world.draw(generator, (world.n_users, WORLDS_AT_ONCE))
        kinds = np.full(WORLDS_AT_ONCE, world.is_difference)
        found = estimate_means(values, generator, is_difference=kinds)
        ends = np.array([(one.low, one.high) for one in found])
        covered += _n_held(ends[:, 0], ends[:, 1], truth)
        means = np.concatenate([times @ values for times in resample_counts(world.n_users, generator)])
        low, high = np.quantile(means / world.n_users, [0.025, 0.975], axis=0)
        by_percentiles += _n_held(low, high, truth)
    return covered / n_worlds, by_percentiles / n_worlds


def _n_held(low: Float64Array, high: Float64Array, truth: Float64Array) -> int:
    """Returns of how many worlds the interval holds the truth, but for rounding."""
    return int(((low - ROUNDING <= truth) & (truth <= high + ROUNDING)).sum())


def false_positives(n_worlds: int, generator: np.random.Generator) -> float:
    """Returns how often the paired test tells two models apart that are alike."""
    draw = differences(0.15, 0.6)
    return _share_found(lambda: draw(generator, (200, 1))[:, 0], n_worlds, generator)


def power(n_worlds: int, generator: np.random.Generator) -> float:
    """Returns how often a true difference of the size that the test states is found."""
    n_users, hit = 400, 0.2
    better = hit
    for _ in range(50):  # the size depends on the scatter, and that on the size
        sample = gains(better)(generator, (200_000, 1)) - gains(hit)(generator, (200_000, 1))
        test = paired_test(sample[:, 0], generator, n_flips=1)
        better = hit + test.detectable * (200_000 / n_users) ** 0.5 / GAINS.mean()

    def draw() -> Float64Array:
        shape = (n_users, 1)
        return (gains(better)(generator, shape) - gains(hit)(generator, shape))[:, 0]

    return _share_found(draw, n_worlds, generator)


def _share_found(draw: Callable[[], Float64Array], n_worlds: int, generator: np.random.Generator) -> float:
    """Returns the share of worlds in which the paired test has a p-value below 5 %."""
    tests: list[PairedTest] = [paired_test(draw(), generator, n_flips=999) for _ in range(n_worlds)]
    return float(np.mean([test.p_value < 0.05 for test in tests]))


def false_verdicts(n_worlds: int, generator: np.random.Generator) -> tuple[float, float]:
    """Returns how often a verdict tells a model from baselines that are alike, and from any one of them."""
    n_verdicts = n_any = 0
    for _ in range(n_worlds):
        values = gains(0.2)(generator, (5, 200))
        verdict = judge_against(_evaluation(values), METRIC)
        n_verdicts += verdict.finding is not Finding.undecided
        n_any += any(comparison.finding is not Finding.undecided for comparison in verdict.comparisons)
    return n_verdicts / n_worlds, n_any / n_worlds


def _evaluation(values: Float64Array) -> Evaluation:
    """Returns an evaluation of a model and four baselines by their users' values, (5, n_users)."""
    n_users = values.shape[1]
    nothing = np.zeros((n_users, 0), dtype=np.int64)
    lists = RankedLists(nothing, nothing.astype(np.float32), np.zeros(n_users, dtype=np.bool_))
    means = [Estimate(float(row.mean()), 0.0, 1.0) for row in values]
    names = ("model", *REFERENCES)
    return Evaluation(
        models={
            name: ModelEvaluation(lists, {METRIC: row}, {METRIC: mean}, {}, 0.0)
            for name, row, mean in zip(names, values, means, strict=True)
        },
        differences={
            name: {METRIC: Estimate(means[0].mean - mean.mean, -1.0, 1.0)}
            for name, mean in zip(REFERENCES, means[1:], strict=True)
        },
        counts=Counts(10, n_users, 0, n_users, 0, 0, 0, 0.0),
        ks=(10,),
        query_index=np.arange(n_users),
        targets=ItemLists.of([[1]] * n_users),
        groups=(),
        n_resamples=0,
    )


def probability_coverage(n_worlds: int, n_users: int, generator: np.random.Generator) -> dict[str, float]:
    """Returns how often intervals hold the truth for calibrated probabilities of users who differ.

    The true value is that of 200,000 users; that of the calibration error is 0.
    """
    said, outcome, _ = _clicks(200_000, generator)
    truth = {"log_loss": log_loss(said, outcome), "auc": auc(said, outcome), "calibration_ratio": 1.0}
    truth |= {"normalised_entropy": normalised_entropy(said, outcome), "calibration_error": 0.0}
    covered = dict.fromkeys(truth, 0)
    for _ in range(n_worlds):
        said, outcome, user = _clicks(n_users, generator)
        found = judge_probabilities("", said, outcome, generator, cluster=user, n_resamples=400).metrics
        for name, value in truth.items():
            covered[name] += found[name].low <= value <= found[name].high
    return {name: n / n_worlds for name, n in covered.items()}


def _clicks(n_users: int, generator: np.random.Generator) -> tuple[Float64Array, np.ndarray, np.ndarray]:
    """Returns true probabilities of six events of each user, their outcomes, and the users."""
    user = np.repeat(np.arange(n_users), 6)
    logits = -2 + generator.normal(0, 0.8, n_users)[user] + generator.normal(0, 0.6, len(user))
    said = 1 / (1 + np.exp(-logits))
    return said, generator.random(len(user)) < said, user


def speed(n_users: int = 10_000, n_columns: int = 20, n_resamples: int = 300) -> float:
    """Returns how many times the processor time of the bootstrap a plain loop over resamples takes."""
    values = gains(0.2)(np.random.default_rng(0), (n_users, n_columns))
    ours, loops = [], []
    for _ in range(3):  # they take turns
        ours.append(_processor_seconds(lambda: estimate_means(values, np.random.default_rng(1), n_resamples)))
        loops.append(_processor_seconds(lambda: _naive(values, np.random.default_rng(1), n_resamples)))
    return min(loops) / min(ours)


def speed_lines() -> Iterator[Line]:
    """Yields the speed beside what it must be."""
    yield Line("speed: times a loop over resamples", speed(), 2.0, np.inf)


def _naive(values: Float64Array, generator: np.random.Generator, n_resamples: int) -> list[Float64Array]:
    """Returns the pivots of resamples drawn and gathered one at a time."""
    means, found = values.mean(axis=0), []
    for _ in range(n_resamples):
        resample = values[generator.integers(0, len(values), len(values))]
        found.append((resample.mean(axis=0) - means) / (resample.std(axis=0) / len(values) ** 0.5))
    return found


def _processor_seconds(work: Callable[[], object]) -> float:
    """Returns the processor time of a call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def measure(n_worlds: int, seed: int = 1) -> Iterator[Line]:
    """Yields everything but the speed, measured in `n_worlds` worlds each, beside what it must be."""
    for row, world in enumerate(WORLDS):
        covered, by_percentiles = coverage(world, n_worlds, np.random.default_rng((seed, row)))
        low, high = (0.90, 1.0) if world.has_few else (0.93, 0.97)
        note = f"percentiles {by_percentiles:.3f}"
        yield Line(f"covered: {world.name}", covered, low, high, note)
    generator = np.random.default_rng((seed, len(WORLDS)))
    for n_users, few, low, high in ((600, "", 0.93, 0.97), (100, "few: ", 0.90, 0.98)):
        for name, covered in probability_coverage(n_worlds, n_users, generator).items():
            most = 1.0 if name == "calibration_error" else high
            yield Line(f"covered: {few}{name} of clicks, {n_users} users", covered, low, most)
    verdicts, any_one = false_verdicts(n_worlds, generator)
    yield Line("told apart: a verdict on four alike baselines", verdicts, 0.0, 0.065, "5 % at most")
    yield Line("told apart: any of four alike baselines", any_one, 0.0, 0.065, "5 % at most")
    alike = false_positives(n_worlds, generator)
    yield Line("told apart: two models alike", alike, 0.035, 0.065, "5 % wanted")
    found = power(n_worlds, generator)
    yield Line("found: a difference of the stated size", found, 0.76, 0.84, "80 % wanted")


def main() -> int:
    """Prints measured beside reference; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--worlds", type=int, default=N_WORLDS, help=f"simulated worlds of each kind, ≥ {WORLDS_AT_ONCE}"
    )
    parser.add_argument("--check", action="store_true", help="exit status 1 outside the tolerances")
    options = parser.parse_args()
    print(f"{options.worlds:,} worlds of each kind\n{'':<58}{'measured':>9}   tolerance")
    n_outside = 0
    for line in chain(measure(options.worlds), speed_lines()):
        print(line if line.is_within else f"{line}   OUTSIDE", flush=True)
        n_outside += not line.is_within
    print(f"{n_outside} outside the tolerances" if n_outside else "passed")
    return int(options.check and n_outside > 0)


if __name__ == "__main__":
    sys.exit(main())
