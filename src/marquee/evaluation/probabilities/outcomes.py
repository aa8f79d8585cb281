"""Probabilities of one kind of outcome, from several sources, judged on the same events and by slice.

What a click, a purchase or a next item is, and who says how likely it is, is the caller's; everything is
judged alike, so a head for ads stands in the same tables as the softmax of a retrieval model.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import BoolArray, Float64Array, IndexArray
from marquee.errors import DataError
from marquee.evaluation.analyses.slices import MAX_SLICES, MIN_USERS, Members
from marquee.evaluation.intervals import Estimate, json_fields, widening
from marquee.evaluation.probabilities.intervals import (
    MIN_OUTCOMES,
    JudgedProbabilities,
    judge_probabilities,
)

LOWER_IS_BETTER = ("log_loss", "normalised_entropy", "calibration_error")


@dataclass(frozen=True)
class SlicedProbabilities:
    """One way to part the events.

    Attributes:
        name: Of the column.
        slices: Those that are large enough, at most `MAX_SLICES`, the largest; each named by its value.
        n_suppressed: Slices with fewer than `MIN_USERS` users, or than `MIN_OUTCOMES` of either outcome.
        n_beyond: Slices left out beyond `MAX_SLICES`.
    """

    name: str
    slices: tuple[JudgedProbabilities, ...]
    n_suppressed: int
    n_beyond: int


@dataclass(frozen=True)
class JudgedOutcome:
    """How good the probabilities of one kind of outcome are.

    Attributes:
        name: E.g. `click`.
        meaning: What is said of what, by whom, and what was left out, in words.
        sources: Who says it; the first is the one under judgement, the others are its references.
        columns: The first source on parts of the events.
    """

    name: str
    meaning: str
    sources: tuple[JudgedProbabilities, ...]
    columns: tuple[SlicedProbabilities, ...]

    @property
    def sentence(self) -> str:
        """The first source in words."""
        own = self.sources[0]
        ratio, entropy = own.metrics["calibration_ratio"], own.metrics["normalised_entropy"]
        error = own.metrics["calibration_error"]
        # Too few outcomes leave NaN ends, which every comparison below would answer with no.
        if np.isnan(entropy.high):
            use = "come with too few outcomes to tell what they are worth"
        elif entropy.high < 1:
            use = "tell more than the mean rate does"
        else:
            use = f"{'tell less than' if entropy.low > 1 else 'cannot be told from'} the mean rate"
        return (
            f"The probabilities of {own.name} {use}: normalised entropy {_in_words(entropy)}. They say "
            f"{own.mean_probability:.4f} on average, and {own.rate:.4f} came (ratio "
            f"{_in_words(ratio)}); the calibration error is {_in_words(error)}, of which chance alone makes "
            f"{own.calibration_error_by_chance:.4f}."
        )

    @property
    def worst(self) -> tuple[str, ...]:
        """Names the slice with the worst ratio of said to came, and says if chance may have made it."""
        slices = [(column.name, part) for column in self.columns for part in column.slices]
        if not slices:
            return ()
        # By logarithm: saying half and saying double are equally wrong.
        name, part = max(slices, key=lambda one: abs(np.log(one[1].metrics["calibration_ratio"].mean)))
        ratio = part.metrics["calibration_ratio"]
        reach = widening(len(slices)) * np.log([ratio.low / ratio.mean, ratio.high / ratio.mean])
        # Both ends on one side of 0, the logarithm of a ratio of 1, have a product above 0.
        is_chance = np.prod(np.log(ratio.mean) + reach) <= 0  # the longer interval holds a ratio of 1
        chance = " Among so many slices chance alone may make one as bad." if is_chance else ""
        return (
            f"Worst calibrated slice, of {len(slices)}: {name} = {part.name}: {part.mean_probability:.4f} "
            f"said, {part.rate:.4f} came, ratio {_in_words(ratio)}, {part.n:,} events of "
            f"{part.n_clusters:,} users.{chance}",
        )

    def numbers(self) -> dict[str, float]:
        """Returns `click/log_loss` and the like of the first source, and `click/log_loss|column = value`."""
        found = {f"{self.name}/{metric}": value.mean for metric, value in self.sources[0].metrics.items()}
        for column in self.columns:
            for part in column.slices:
                for metric, value in part.metrics.items():
                    found[f"{self.name}/{metric}|{column.name} = {part.name}"] = value.mean
        # NaN where a slice tells nothing: such a number is left out, not logged.
        return {name: value for name, value in found.items() if np.isfinite(value)}

    def to_json_dict(self) -> dict[str, object]:
        """Returns everything, ready for `json.dumps`."""
        return {**json_fields(self), "sentence": self.sentence, "worst": list(self.worst)}


def judge_outcome(
    name: str,
    meaning: str,
    sources: Mapping[str, Float64Array],
    outcome: BoolArray,
    user: IndexArray,
    columns: Mapping[str, Members],
    generator: np.random.Generator,
) -> JudgedOutcome:
    """Returns every source on all events, and the first one by slice.

    Args:
        name: E.g. `click`.
        meaning: What is said of what, in words.
        sources: Who says it → the probabilities, (n,); the first is the one under judgement.
        outcome: What came, (n,) bool.
        user: Whom each event is of, (n,) int64: users are drawn for the intervals.
        columns: Column → value → its events, (n,) bool.
        generator: Draws users.

    Raises:
        DataError: If there is no event or no source.
    """
    if not len(outcome) or not sources:
        raise DataError(
            f"the outcome {name!r} needs events and a source of probabilities, got {len(outcome)} events and "
            f"{len(sources)} sources"
        )
    first = next(iter(sources.values()))
    return JudgedOutcome(
        name=name,
        meaning=meaning,
        sources=tuple(
            judge_probabilities(source, probability, outcome, generator, cluster=user)
            for source, probability in sources.items()
        ),
        columns=tuple(
            _sliced(column, members, first, outcome, user, generator) for column, members in columns.items()
        ),
    )


def _sliced(
    name: str,
    members: Members,
    probability: Float64Array,
    outcome: BoolArray,
    user: IndexArray,
    generator: np.random.Generator,
) -> SlicedProbabilities:
    """Returns the slices of a column that are large enough."""
    present = {value: is_in for value, is_in in members.items() if is_in.any()}
    # Both are needed: many events of few users, or of one outcome, have no interval.
    enough = {value: is_in for value, is_in in present.items() if _is_enough(outcome[is_in], user[is_in])}
    # By events; shown in the order given.
    largest = sorted(enough, key=lambda value: -int(enough[value].sum()))[:MAX_SLICES]
    return SlicedProbabilities(
        name,
        tuple(
            judge_probabilities(value, probability[is_in], outcome[is_in], generator, cluster=user[is_in])
            for value, is_in in enough.items()
            if value in largest
        ),
        len(present) - len(enough),
        len(enough) - len(largest),
    )


def _is_enough(outcome: BoolArray, user: IndexArray) -> bool:
    """Returns whether a slice has users and outcomes enough to say something of it."""
    n_true = int(outcome.sum())
    return min(n_true, len(outcome) - n_true) >= MIN_OUTCOMES and len(np.unique(user)) >= MIN_USERS


def _in_words(estimate: Estimate) -> str:
    """Returns a value with its interval, if it has one."""
    if np.isnan(estimate.low):
        return "not known" if np.isnan(estimate.mean) else f"{estimate.mean:.4f}"
    return f"{estimate.mean:.4f} (95\u00a0% interval {estimate.low:.4f} to {estimate.high:.4f})"
