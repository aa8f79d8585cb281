"""Reads the numbers for a person in a hurry: does the model beat the baselines, and what to be wary of."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from marquee.evaluation.comparison import POWER, SIGNIFICANCE, PairedTest, corrected, paired_test
from marquee.evaluation.evaluation import Evaluation
from marquee.evaluation.intervals import Estimate

SIGNS_SEED = 0  # of the tests: equal content gives an equal verdict
# Other models may be evaluated beside it: the verdict is about these, in this order.
REFERENCES = ("popularity", "recent_popularity", "item_knn", "als")
FEW_QUERIES = 500
MANY_TIES = 0.01
MANY_UNREACHABLE = 0.05


class Finding(StrEnum):
    """Conclusion of a paired test, corrected for the number of comparisons."""

    better = "better"
    worse = "worse"
    undecided = "undecided"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The model beside one reference, on the headline metric.

    Attributes:
        reference: Name of the other model.
        finding: Better, worse or undecided.
        model_mean: The model's metric.
        reference_mean: The reference's metric.
        difference: First minus second, with the interval of the paired difference.
        p_value: Of the paired test, corrected for the number of references.
        detectable: See `PairedTest`.
    """

    reference: str
    finding: Finding
    model_mean: float
    reference_mean: float
    difference: Estimate
    p_value: float
    detectable: float | None


@dataclass(frozen=True)
class Verdict:
    """The report in one sentence.

    Attributes:
        finding: Better if the model beats every reference, worse if some reference beats it.
        sentence: For people.
        metric: What it is about.
        comparisons: What it rests on.
    """

    finding: Finding
    sentence: str
    metric: str
    comparisons: tuple[Comparison, ...]


def judge_against(evaluation: Evaluation, metric: str) -> Verdict:
    """Returns whether the model beats the baselines, as far as they were evaluated.

    Args:
        evaluation: The numbers.
        metric: The one to judge by, e.g. `ndcg@10`.
    """
    references = [reference for reference in REFERENCES if reference in evaluation.differences]
    # Of each user: the tests are paired.
    own = evaluation.models[evaluation.model].values[metric]
    generator = np.random.default_rng(SIGNS_SEED)
    tests = [
        paired_test(
            own - evaluation.models[reference].values[metric], generator, n_comparisons=len(references)
        )
        for reference in references
    ]
    comparisons = tuple(
        _compare(evaluation, reference, metric, test)
        for reference, test in zip(references, corrected(tests), strict=True)
    )
    findings = {comparison.finding for comparison in comparisons}
    # One reference above the model decides; better needs all below it, and at least one.
    if Finding.worse in findings:
        finding = Finding.worse
    else:
        finding = Finding.better if findings == {Finding.better} else Finding.undecided
    mean = evaluation.models[evaluation.model].estimates[metric].mean
    if comparisons:
        clauses = "; it ".join(_clause(comparison) for comparison in comparisons)
        sentence = f"{evaluation.model} reaches {metric} {mean:.4f}: it {clauses}."
    else:
        sentence = (
            f"{evaluation.model} reaches {metric} {mean:.4f}, and no baseline was evaluated beside it: "
            "whether that is good cannot be told."
        )
    return Verdict(finding, sentence, metric, comparisons)


def protocol_warnings(evaluation: Evaluation) -> Iterator[str]:
    """Yields what in the protocol is known to mislead, one sentence each, with what to do about it."""
    counts = evaluation.counts
    if counts.n_queries < FEW_QUERIES:
        yield (
            f"Only {counts.n_queries:,} users were evaluated: below {FEW_QUERIES}, intervals are wide and "
            "small differences cannot be seen. Evaluate more users before deciding on them."
        )
    tied_fraction = evaluation.models[evaluation.model].tied_fraction
    if tied_fraction > MANY_TIES:
        yield (
            f"The last place of {tied_fraction:.0%} of the lists of {evaluation.model} went by the tie rule "
            "(lower item index first) and not by its scores: its numbers depend on the order of the items."
        )
    # These are no longer among `n_targets`: the share is of all.
    unavailable = counts.n_targets_unavailable / (counts.n_targets + counts.n_targets_unavailable)
    if unavailable > MANY_UNREACHABLE:
        yield (
            f"{unavailable:.0%} of the targets are items that could not be shown yet, or no longer, when "
            "their user was asked, at the first event of the part: they are left out, and how such items "
            "do later is not judged. A shorter part has fewer of them."
        )
    unreachable = counts.n_targets_outside_catalog / counts.n_targets
    if unreachable > MANY_UNREACHABLE:
        yield (
            f"{unreachable:.0%} of the targets are items outside the catalog, which count as misses for "
            "every model. Items that came up after training need an items table to be reachable."
        )


def finding_of(test: PairedTest) -> Finding:
    """Concludes from a test whose p-value is corrected."""
    if test.p_value >= SIGNIFICANCE:
        return Finding.undecided
    return Finding.better if test.difference > 0 else Finding.worse


def _compare(evaluation: Evaluation, reference: str, metric: str, test: PairedTest) -> Comparison:
    """Returns the model beside one reference."""
    return Comparison(
        reference=reference,
        finding=finding_of(test),
        model_mean=evaluation.models[evaluation.model].estimates[metric].mean,
        reference_mean=evaluation.models[reference].estimates[metric].mean,
        difference=evaluation.differences[reference][metric],
        p_value=test.p_value,
        detectable=test.detectable,
    )


def _clause(comparison: Comparison) -> str:
    """Returns one comparison in words; a difference is stated in the direction of the words."""
    reference = f"{comparison.reference} ({comparison.reference_mean:.4f})"
    difference = comparison.difference
    mean, low, high = difference.mean, difference.low, difference.high
    relative = ""
    # No share of 0.
    if comparison.reference_mean > 0:
        relative = f"{signed(mean / comparison.reference_mean, '.1%')}; "
    if comparison.finding is Finding.better:
        return (
            f"beats {reference} by {mean:.4f} ({relative}95\u00a0% interval {low:.4f} to {high:.4f}, "
            f"{p_in_words(comparison.p_value)})"
        )
    if comparison.finding is Finding.worse:
        return (
            f"does not beat {reference}: it is lower by {-mean:.4f} ({relative}95\u00a0% interval "
            f"{-high:.4f} to {-low:.4f}, {p_in_words(comparison.p_value)})"
        )
    return (
        f"cannot be told from {reference}: the difference is {signed(mean)} ({relative}95\u00a0% interval "
        f"{signed(low)} to {signed(high)}, {p_in_words(comparison.p_value)}; "
        f"{detectable_in_words(comparison.detectable, 'evaluations')})"
    )


def detectable_in_words(detectable: float | None, tests: str) -> str:
    """Says how large a true difference had to be in order to be found.

    Args:
        detectable: See `PairedTest`.
        tests: Plural of the tests, e.g. `evaluations`.

    Example:
        >>> detectable_in_words(0.0125, "evaluations")
        'a true difference of 0.0125 would have been found in 80% of such evaluations'
    """
    if detectable is None:
        return "the difference is the same for all users, so no size of a true difference can be stated"
    return f"a true difference of {detectable:.4f} would have been found in {POWER:.0%} of such {tests}"


def p_in_words(p_value: float) -> str:
    """Returns a p-value as people read it.

    Example:
        >>> p_in_words(0.00004), p_in_words(0.03)
        ('p < 0.001', 'p = 0.030')
    """
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def signed(value: float, form: str = ".4f") -> str:
    """Returns a number with its sign, and a minus sign in place of a hyphen.

    Example:
        >>> signed(-0.5), signed(0.25, ".1%")
        ('\u22120.5000', '+25.0%')
    """
    return f"{value:+{form}}".replace("-", "\u2212")
