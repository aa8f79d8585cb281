"""Sets runs side by side on the users that they share, and says which one is better."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from marquee.core.arrays import IndexArray
from marquee.errors import DataError
from marquee.evaluation.comparison import (
    SIGNIFICANCE,
    JudgedUsers,
    PairedTest,
    common_users,
    corrected,
    paired_test,
)
from marquee.evaluation.intervals import Estimate, estimate_means
from marquee.evaluation.metrics import METRICS
from marquee.reports.rendering import render
from marquee.reports.verdict import SIGNS_SEED, Finding, detectable_in_words, finding_of, p_in_words, signed

COMPARISON_FORMAT = 1
MANY_LEFT_OUT = 0.01


@dataclass(frozen=True)
class ComparedRun:
    """A run as the comparison is given it.

    Attributes:
        name: What the reader calls it, distinct.
        users: What each user got.
        settings: Key → value of its config, flat.
    """

    name: str
    users: JudgedUsers
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Contrast:
    """One run beside the base, on one metric and the users that the two share.

    Attributes:
        run: Name of the run.
        metric: E.g. `ndcg@10`.
        run_mean: Over the shared users.
        base_mean: Over the shared users.
        difference: Run minus base, with its bootstrap interval.
        test: Its p-value is corrected for all contrasts that are read together.
        finding: What that says.
    """

    run: str
    metric: str
    run_mean: float
    base_mean: float
    difference: Estimate
    test: PairedTest
    finding: Finding


@dataclass(frozen=True)
class RunComparison:
    """All that the page says.

    Attributes:
        base: Name of the run that the others are set beside.
        metric: The metric that the verdicts are about.
        runs: What was compared, the base first.
        headline: One contrast per other run; p-values corrected among themselves.
        details: Every metric at the headline's cutoff of every other run; corrected among themselves.
        warnings: What a reader must be wary of.
        differing_settings: Key → its value in each run, where the values differ.
    """

    base: str
    metric: str
    runs: tuple[ComparedRun, ...]
    headline: tuple[Contrast, ...]
    details: tuple[Contrast, ...]
    warnings: tuple[str, ...]
    differing_settings: Mapping[str, tuple[str, ...]]

    @property
    def sentences(self) -> tuple[str, ...]:
        """The verdicts in words, one per other run."""
        return tuple(_sentence(contrast, self.base) for contrast in self.headline)

    def to_json_dict(self) -> dict[str, object]:
        """Returns the content, ready for `json.dumps`."""
        return {
            "comparison_format": COMPARISON_FORMAT,
            "base": self.base,
            "metric": self.metric,
            "verdicts": list(self.sentences),
            "headline": [asdict(contrast) for contrast in self.headline],
            "details": [asdict(contrast) for contrast in self.details],
            "warnings": list(self.warnings),
            "differing_settings": {key: list(values) for key, values in self.differing_settings.items()},
        }


def compare_runs(runs: Sequence[ComparedRun], metric: str = "") -> RunComparison:
    """Returns how the runs after the first do beside the first.

    Args:
        runs: Two or more, with distinct names; the first is the base.
        metric: What the verdicts are about, e.g. `ndcg@10`; empty for the headline of the base.

    Raises:
        DataError: If there are fewer than two runs, two of one name, a run lacks the metric, or two runs
            share fewer than two users with the same targets.
    """
    names = [run.name for run in runs]
    if len(names) < 2 or len(set(names)) != len(names):
        raise DataError(f"a comparison needs two or more runs with distinct names, got {names}")
    base, others = runs[0], runs[1:]
    # The base's: its report gave the verdict that the others are set beside.
    metric = metric or base.users.headline
    for run in runs:
        if metric not in run.users.values:
            raise DataError(
                f"run {run.name} must have the metric {metric!r}, got {', '.join(run.users.values)}; "
                "judge it again with that cutoff in evaluation.ks"
            )
    k = metric.split("@")[1]
    metrics = [metric, *(f"{name}@{k}" for name in METRICS if f"{name}@{k}" != metric)]
    # A metric that one run lacks is left out for all: details stay comparable.
    shared = [name for name in metrics if all(name in run.users.values for run in runs)]
    return RunComparison(
        base=base.name,
        metric=metric,
        runs=tuple(runs),
        # Corrected by itself: showing details beside it must not weaken the verdict.
        headline=_contrasts(base, others, [metric]),
        details=_contrasts(base, others, shared),
        warnings=tuple(_warnings(base, others)),
        differing_settings=_differing(runs),
    )


def render_comparison(comparison: RunComparison) -> str:
    """Returns the side-by-side page: self-contained, no script.

    Raises:
        ConfigError: If jinja2 is not installed.
    """
    means = {
        run.name: [
            # NaN is a user without a value, such as one without targets of a group.
            float(np.nanmean(run.users.values[name])) if name in run.users.values else None
            for name in dict.fromkeys(contrast.metric for contrast in comparison.details)
        ]
        for run in comparison.runs
    }
    return render("compare.html.j2", comparison=comparison, means=means, significance=SIGNIFICANCE)


def _contrasts(
    base: ComparedRun, others: Sequence[ComparedRun], metrics: Sequence[str]
) -> tuple[Contrast, ...]:
    """Returns every other run beside the base on every metric, corrected for their number."""
    # Seeded: equal runs give an equal page.
    generator = np.random.default_rng(SIGNS_SEED)
    n_comparisons = len(others) * len(metrics)
    found = []
    for other in others:
        # On shared users alone: means over other users would differ by the users.
        rows, base_rows = _shared_rows(other, base)
        for metric in metrics:
            values = np.stack(
                [other.users.values[metric][rows], base.users.values[metric][base_rows]], axis=1
            )
            differences = values[:, 0] - values[:, 1]
            (difference,) = estimate_means(
                differences[:, None], generator, is_difference=np.ones(1, np.bool_)
            )
            test = paired_test(differences, generator, n_comparisons=n_comparisons)
            found.append(
                Contrast(
                    run=other.name,
                    metric=metric,
                    run_mean=float(values[:, 0].mean()),
                    base_mean=float(values[:, 1].mean()),
                    difference=difference,
                    test=test,
                    finding=finding_of(test),
                )
            )
    # The number of tests is known only now: findings are concluded anew from corrected p-values.
    tests = corrected([contrast.test for contrast in found])
    return tuple(
        replace(contrast, test=test, finding=finding_of(test))
        for contrast, test in zip(found, tests, strict=True)
    )


def _shared_rows(run: ComparedRun, base: ComparedRun) -> tuple[IndexArray, IndexArray]:
    """Returns the rows of the users that a run shares with the base."""
    rows, base_rows = common_users(run.users, base.users)
    if len(rows) < 2:
        raise DataError(
            f"runs {run.name} and {base.name} must share 2 users with the same targets, got {len(rows)} of "
            f"{len(base.users.user_ids):,}; judge both on the same part of the same split"
        )
    return rows, base_rows


def _warnings(base: ComparedRun, others: Sequence[ComparedRun]) -> list[str]:
    """Names differences that make runs less comparable than they look, one sentence each."""
    found = []
    for other in others:
        for name in ("fingerprint", "split", "part", "n_items"):
            ours, theirs = getattr(base.users, name), getattr(other.users, name)
            if ours != theirs:
                found.append(f"{other.name} has another {name} than {base.name}: {theirs} instead of {ours}.")
        n_shared = len(common_users(other.users, base.users)[0])
        # Of the larger run: users that one of the two lacks are left out either way.
        n_largest = max(len(base.users.user_ids), len(other.users.user_ids))
        if n_shared < (1 - MANY_LEFT_OUT) * n_largest:
            found.append(
                f"{other.name} and {base.name} share {n_shared:,} users with the same targets, out of "
                f"{n_largest:,}: the verdict is about those."
            )
    return found


def _differing(runs: Sequence[ComparedRun]) -> dict[str, tuple[str, ...]]:
    """Returns the settings in which the runs differ."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    # A key that a run lacks is a difference too.
    values = {key: tuple(run.settings.get(key, "not set") for run in runs) for key in keys}
    return {key: of_runs for key, of_runs in values.items() if len(set(of_runs)) > 1}


def _sentence(contrast: Contrast, base: str) -> str:
    """Returns a verdict in words; the size of a difference is stated in the direction of the words."""
    difference, test = contrast.difference, contrast.test
    means = f"{contrast.run_mean:.4f} against {contrast.base_mean:.4f}"
    certainty = (
        f"95\u00a0% interval {signed(difference.low)} to {signed(difference.high)}, "
        f"{p_in_words(test.p_value)}, {test.n_users:,} users"
    )
    if contrast.finding is Finding.undecided:
        found = detectable_in_words(test.detectable, "comparisons")
        return (
            f"{contrast.run} cannot be told from {base} on {contrast.metric}: {means} ({certainty}). "
            f"{found[0].upper()}{found[1:]}."
        )
    return (
        f"{contrast.run} is {contrast.finding} than {base} on {contrast.metric}: {means}, "
        f"{signed(difference.mean)} ({certainty})."
    )
