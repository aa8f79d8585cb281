"""Judges probabilities with intervals: the same users, or other clusters, are drawn again and again.

What one user does is not independent of what else that user does; an interval that draws exposures would
be too short. So clusters are drawn, and an event without one is its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import BoolArray, Float64Array, IndexArray
from marquee.evaluation.intervals import CONFIDENCE, N_RESAMPLES, Estimate, json_fields, resample_counts
from marquee.evaluation.probabilities.metrics import (
    N_BINS,
    auc,
    auc_of_groups,
    calibration_error,
    calibration_error_by_chance,
    entropy,
    equal_bins,
    log_loss,
    log_losses,
    normalised_entropy,
    reliability_curve,
    tied_groups,
)

MIN_OUTCOMES = 30
"""Fewer events that came true, or that did not, and there is no interval: resamples would know too little."""

ROWS_MEMORY_MB = 16
MAX_DRAWN = 10**8  # events in all resamples together; more of them need fewer resamples
MIN_RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """One point of the reliability curve.

    Attributes:
        probability: Mean of what was said.
        rate: Share that came true, with its interval.
        n: Events.
    """

    probability: float
    rate: Estimate
    n: int


@dataclass(frozen=True)
class JudgedProbabilities:
    """How good the probabilities of one source are.

    Attributes:
        name: Of the source.
        n: Events.
        n_true: Events that came true.
        rate: Their share.
        n_clusters: Users, or what else was drawn.
        mean_probability: Of all events: what was said.
        metrics: `log_loss`, `normalised_entropy`, `auc`, `calibration_error` and `calibration_ratio` (mean
            probability over rate) → value and interval; ends are NaN below `MIN_OUTCOMES`.
        calibration_error_by_chance: What `calibration_error` would be on average if every bin were right.
        curve: The reliability curve.
    """

    name: str
    n: int
    n_true: int
    rate: float
    n_clusters: int
    mean_probability: float
    metrics: dict[str, Estimate]
    calibration_error_by_chance: float
    curve: tuple[ReliabilityBin, ...]

    def to_json_dict(self) -> dict[str, object]:
        """Returns everything, ready for `json.dumps`; None in place of NaN."""
        return json_fields(self)


def judge_probabilities(
    name: str,
    probability: Float64Array,
    outcome: BoolArray,
    generator: np.random.Generator,
    *,
    cluster: IndexArray | None = None,
    n_bins: int = N_BINS,
    n_resamples: int = N_RESAMPLES,
) -> JudgedProbabilities:
    """Returns every number of one source of probabilities, with 95 % intervals.

    Percentile intervals, but for the calibration error, to which resampling adds noise on top of that of
    sampling. The gaps of its bins are off by some noise each, and by the triangle inequality it cannot be off
    by more than their sum: the interval reaches as far as that sum does in 95 of 100 resamples.

    Args:
        name: Of the source.
        probability: (n,) in [0, 1].
        outcome: (n,) bool.
        generator: Draws clusters.
        cluster: Whom an event is of, (n,) int64; None if events are independent.
        n_bins: Of the reliability curve.
        n_resamples: Number of resamples; fewer, down to `MIN_RESAMPLES`, where events are very many.

    Raises:
        ShapeError: If lengths differ.
        DataError: If a probability is impossible.

    Source:
        Efron and Tibshirani 1993, "An Introduction to the Bootstrap", sections 13.3 (percentiles) and 8.5
        (drawing what is independent).
    """
    curve = reliability_curve(probability, outcome, n_bins=n_bins)
    # Cut once: resamples are judged in the bins of all events, or bins would move with the draw.
    bins = equal_bins(probability, n_bins=n_bins)
    rate = float(outcome.mean())
    values = {
        "log_loss": log_loss(probability, outcome),
        "normalised_entropy": normalised_entropy(probability, outcome),
        "auc": auc(probability, outcome),
        "calibration_error": calibration_error(probability, outcome, n_bins=n_bins),
        "calibration_ratio": float(probability.mean()) / rate if rate > 0 else float("nan"),
    }
    # Numbered from 0: they are columns of the resampled counts; None makes each event its own.
    row_cluster = np.arange(len(outcome)) if cluster is None else np.unique(cluster, return_inverse=True)[1]
    n_true = int(outcome.sum())
    drawn: dict[str, Float64Array] = {}
    if min(n_true, len(outcome) - n_true) >= MIN_OUTCOMES:
        n_resamples = min(n_resamples, max(MAX_DRAWN // len(outcome), MIN_RESAMPLES))
        drawn = _resampled(probability, outcome, row_cluster, bins, generator, n_resamples)
    intervals = {metric: _percentiles(value, drawn.get(metric)) for metric, value in values.items()}
    by_chance = calibration_error_by_chance(probability, n_bins=n_bins)
    if drawn:
        # Resampling adds noise of its own: percentiles of the error itself would lie too high.
        noise, value = drawn["calibration_noise"], values["calibration_error"]
        by_chance, reach = float(noise.mean()), float(np.quantile(noise, CONFIDENCE))
        intervals["calibration_error"] = Estimate(value, max(value - reach, 0.0), value + reach)
    n_in_bin = np.bincount(bins)
    return JudgedProbabilities(
        name=name,
        n=len(outcome),
        n_true=n_true,
        rate=n_true / len(outcome),
        n_clusters=int(row_cluster.max(initial=-1)) + 1,
        mean_probability=float(probability.mean()),
        metrics=intervals,
        calibration_error_by_chance=by_chance,
        curve=tuple(
            ReliabilityBin(
                float(curve.probability[row]),
                _percentiles(float(curve.rate[row]), drawn.get(f"rate_{row}")),
                int(n_in_bin[row]),
            )
            for row in range(len(n_in_bin))
        ),
    )


def _resampled(
    probability: Float64Array,
    outcome: BoolArray,
    cluster: IndexArray,
    bins: IndexArray,
    generator: np.random.Generator,
    n_resamples: int,
) -> dict[str, Float64Array]:
    """Returns every number of every resample of clusters, (n_resamples,) each, and the rate of each bin."""
    n_clusters, n_bins = int(cluster.max()) + 1, int(bins.max()) + 1
    per_event = (np.ones(len(outcome)), outcome, probability, log_losses(probability, outcome))
    # (n_clusters, 4): sums of clusters suffice for all but the AUC.
    totals = np.stack([np.bincount(cluster, weights=column) for column in per_event], axis=1)
    cell = cluster * n_bins + bins
    binned = np.concatenate(
        [
            np.bincount(cell, weights=column, minlength=n_clusters * n_bins).reshape(n_clusters, n_bins)
            for column in per_event[:3]
        ],
        axis=1,
    )
    in_bin, true_in_bin, said_in_bin = np.split(binned.sum(axis=0), 3)
    gaps = (said_in_bin - true_in_bin) / in_bin.sum()
    order, starts = tied_groups(probability)
    found: dict[str, list[Float64Array]] = {}
    for times in resample_counts(n_clusters, generator, n_resamples):
        n, true, said, loss = (times @ totals).T
        with np.errstate(invalid="ignore", divide="ignore"):
            of_block = {
                "log_loss": loss / n,
                "normalised_entropy": loss / n / entropy(true / n),
                "calibration_ratio": said / true,
            }
            in_bin, true_in_bin, said_in_bin = np.split(times @ binned, 3, axis=1)
            # Off from the gaps of all events: what is left is sampling alone.
            noise = (said_in_bin - true_in_bin) / n[:, None] - gaps
            of_block["calibration_noise"] = np.abs(noise).sum(axis=1)
            rates = true_in_bin / in_bin
        of_block |= {f"rate_{row}": rates[:, row] for row in range(n_bins)}
        # The one number that needs each event again: a sum per cluster does not hold the order.
        of_block["auc"] = np.concatenate(
            [
                auc_of_groups(weight * outcome[order], weight * ~outcome[order], starts)
                for weight in _row_weights(times, cluster[order])
            ]
        )
        for metric, values in of_block.items():
            found.setdefault(metric, []).append(values)
    return {metric: np.concatenate(blocks) for metric, blocks in found.items()}


def _row_weights(times: Float64Array, cluster: IndexArray) -> Iterator[Float64Array]:
    """Yields how often each event stands in some of the resamples, (n, n_events), in bounded memory."""
    n_at_once = max(1, ROWS_MEMORY_MB * 2**20 // (8 * len(cluster)))
    for start in range(0, len(times), n_at_once):
        # (n, n_events)
        yield times[start : start + n_at_once, cluster]


def _percentiles(value: float, resampled: Float64Array | None) -> Estimate:
    """Returns a value with the 95 % interval of its resamples; NaN for ends that are not known."""
    if resampled is None or np.isnan(resampled).all() or np.isnan(value):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return Estimate(value, float(low), float(high))
