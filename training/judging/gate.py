"""Guardrails that a judged model must meet before it is published; each failure says why.

A comparison with another model is one of non-inferiority: the lower end of the 95 % interval of the paired
difference must not be below the margin, so a model that was judged on too few users does not pass.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from marquee.bundle.bundle import Bundle
from marquee.bundle.manifest import MANIFEST, Manifest
from marquee.bundle.releases import resolve
from marquee.errors import ConfigError
from marquee.evaluation.analyses.fairness import BoundFinding, Gap, GroupGaps, gap_between
from marquee.evaluation.intervals import Estimate
from marquee.evaluation.off_policy.estimators import Value
from marquee.evaluation.probabilities.outcomes import LOWER_IS_BETTER
from training.judging.judge import BUNDLE, Judgement

OFF_POLICY, LOG = "off_policy", "log"


@dataclass(kw_only=True)
class GuardrailConfig:
    """One thing that must hold.

    Attributes:
        metric: `ndcg@10`, `ndcg@10|ad` for an item group, `coverage@10`, a number of the report's section
            beyond accuracy, such as `gini`, or of its probabilities, such as `click/calibration_error`; or
            `off_policy`, the reward that `ope=…` estimates from a log, of which the bounds hold the end of
            the interval that speaks against it.
        slice: A slice of the report: `user: gender = F` for the headline metric, `surface = feed` for
            probabilities; empty for all. With `gap_at_most` the column alone: `user: gender`, of the headline
            metric, or of any metric of the report's groups where evaluation.protected names the column.
        at_least: Lowest value allowed; None for no bound.
        at_most: Highest value allowed; None for no bound.
        gap_at_most: Largest gap allowed between any two values of the column; it fails only where the whole
            interval of the gap, widened for having looked at all pairs, lies beyond. None for no bound.
        against: Name of a baseline in the report that the model must not be worse than by more than
            `margin`, or `bundle` for the one that is served; of `off_policy` it is `log`, for what the log
            itself earned; empty for none.
        margin: What may be lost against it; negative for what must be won. Of a log loss, a normalised
            entropy or a calibration error, more is lost.
    """

    metric: str
    slice: str = ""
    at_least: float | None = None
    at_most: float | None = None
    gap_at_most: float | None = None
    against: str = ""
    margin: float = 0.0
    optional: bool = False


@dataclass(kw_only=True)
class GateConfig:
    """Conditions that a model must keep in order to be exported.

    Attributes:
        bundle: Served bundle, or the folder of its versions: what `against: bundle` means.
        guardrails: Name → what must hold.
    """

    bundle: str = ""
    guardrails: dict[str, GuardrailConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if a guardrail asks for nothing, or for what cannot be known."""
        for name, rail in self.guardrails.items():
            bounds = (rail.at_least, rail.at_most, rail.gap_at_most)
            if all(bound is None for bound in bounds) and not rail.against:
                raise ConfigError(
                    f"gate.guardrails.{name} must have at_least, at_most, gap_at_most or against, got none "
                    f"for {rail.metric!r}"
                )
            # A gap is of a whole column, the other bounds are of one value: no guardrail can be about both.
            if rail.gap_at_most is not None and (rail.against or any(b is not None for b in bounds[:2])):
                raise ConfigError(
                    f"gate.guardrails.{name} bounds a gap, got another bound beside it; make two guardrails"
                )
            if rail.against == BUNDLE and not self.bundle:
                raise ConfigError(
                    f"gate.guardrails.{name} is against the bundle, got gate.bundle={self.bundle!r}"
                )


def served_bundle(config: GateConfig) -> Bundle | None:
    """Returns the bundle that a guardrail compares with, to be ranked beside the model; None if none does.

    Raises:
        BundleError: If it cannot be used.
    """
    is_asked = any(rail.against == BUNDLE for rail in config.guardrails.values())
    return Bundle.load(resolve(Path(config.bundle))) if is_asked else None


def failures(config: GateConfig, judgement: Judgement) -> Iterator[str]:
    """Yields why the model must not be published, one sentence per guardrail that does not hold.

    Args:
        config: What must hold.
        judgement: Of the model.

    Raises:
        ConfigError: If a guardrail names what the report or the bundle does not have.
    """
    # Once, and only where a guardrail can ask for it.
    served = _served_metrics(config.bundle) if config.bundle else {}
    numbers = judgement.numbers()
    for name, rail in config.guardrails.items():
        if rail.optional and rail.against in judgement.left_out:
            continue
        if rail.gap_at_most is not None:
            yield from _too_far_apart(name, rail, rail.gap_at_most, judgement)
            continue
        if rail.metric == OFF_POLICY:
            yield from _earns_too_little(name, rail, judgement.off_policy)
            continue
        key = f"{rail.metric}|{rail.slice}" if rail.slice else rail.metric
        value = _measured(name, key, numbers)
        subject = f"{name}: {rail.metric}" + (f" on {rail.slice}" if rail.slice else "")
        # Not `<`: a NaN must fail a guardrail, and compares false with everything.
        if rail.at_least is not None and not value >= rail.at_least:
            yield f"{subject} is {value:.4f}, expected {rail.at_least} or more"
        if rail.at_most is not None and not value <= rail.at_most:
            yield f"{subject} is {value:.4f}, expected {rail.at_most} or less"
        # The bundle was ranked for the same users on the same events: its manifest's numbers are of other
        # ones, and stand only for what no user has by himself.
        if rail.against == BUNDLE and BUNDLE not in _differences(rail, judgement):
            yield from _behind_bundle(subject, rail, key, value, served, judgement)
        elif rail.against:
            yield from _behind_model(name, subject, rail, judgement)


def _too_far_apart(name: str, rail: GuardrailConfig, bound: float, judgement: Judgement) -> Iterator[str]:
    """Yields why two groups differ by more than they may."""
    protected = _gaps_of(rail, judgement)
    if protected is not None:
        # One group alone has no gap: nothing is known, so nothing fails.
        if protected.largest is not None:
            yield from _beyond(name, rail, bound, protected.largest)
        return
    slices = judgement.slices
    parts = {column.name: column.slices for column in slices.columns if len(column.slices) > 1}
    if rail.metric != slices.metric or rail.slice not in parts:
        raise ConfigError(
            f"gate.guardrails.{name} bounds a gap of {slices.metric} over one of {sorted(parts)}, got "
            f"{rail.metric!r} over {rail.slice!r}"
        )
    # None with fewer than two groups that have an interval: nothing is known, so nothing fails.
    gap = gap_between({part.value: part.estimates[slices.model] for part in parts[rail.slice]})
    if gap is not None:
        yield from _beyond(name, rail, bound, gap)


def _gaps_of(rail: GuardrailConfig, judgement: Judgement) -> GroupGaps | None:
    """Returns the gaps of a protected column that was judged by itself; None if it was not."""
    fairness = judgement.fairness
    gaps = () if fairness is None else fairness.gaps
    return next(
        (one for one in gaps if one.metric == rail.metric and f"user: {one.attribute}" == rail.slice),
        None,
    )


def _beyond(name: str, rail: GuardrailConfig, bound: float, gap: Gap) -> Iterator[str]:
    """Yields why a gap fails its bound: only where its whole interval lies beyond."""
    if gap.against(bound) is BoundFinding.fails:
        yield (
            f"{name}: {rail.metric} of {gap.higher} is {gap.difference.mean:.4f} above that of {gap.lower} "
            f"({rail.slice}), 95\u00a0% interval {gap.difference.low:.4f} to {gap.difference.high:.4f}: "
            f"expected {bound} or less"
        )


def _earns_too_little(name: str, rail: GuardrailConfig, value: Value | None) -> Iterator[str]:
    """Yields why an estimated reward may be too low, or too high where that is bounded."""
    if value is None or rail.slice or rail.against not in ("", LOG):
        raise ConfigError(
            f"gate.guardrails.{name} is about {OFF_POLICY}: it needs ope=…, no slice, and no against but "
            f"{LOG}; got {'no ope' if value is None else 'ope'}, {rail.slice!r} and {rail.against!r}"
        )
    estimator = value.headline
    # A gate that lets pass what cannot be estimated guards nothing.
    if estimator is None:
        yield f"{name}: {OFF_POLICY} is not identifiable: {value.support.reason or 'the weights are all 0'}"
        return
    found, gain = value.estimates[estimator], value.gains[estimator]
    subject = f"{name}: {OFF_POLICY}"
    if rail.at_least is not None and not found.low >= rail.at_least:
        yield f"{subject} is {_spoken(found)}: expected the lower end to be {rail.at_least} or more"
    if rail.at_most is not None and not found.high <= rail.at_most:
        yield f"{subject} is {_spoken(found)}: expected the upper end to be {rail.at_most} or less"
    if rail.against and not gain.low >= -rail.margin:
        yield (
            f"{subject} minus what the log earned is {_spoken(gain)}: expected the lower end to be "
            f"{0 - rail.margin} or more"
        )


def _spoken(found: Estimate) -> str:
    """Returns a value with its interval."""
    return f"{found.mean:.4f}, 95\u00a0% interval {found.low:.4f} to {found.high:.4f}"


def _measured(name: str, key: str, numbers: Mapping[str, float]) -> float:
    """Returns a number of the model, over all users or on a slice."""
    if key not in numbers:
        metric, _, part = key.partition("|")
        of_metric = [known for known in numbers if known.partition("|")[0] == metric]
        # Slices are many: all of them would bury the one name that was misspelt.
        known = of_metric if part and of_metric else [known for known in numbers if "|" not in known]
        raise ConfigError(
            f"gate.guardrails.{name} must be about what was measured, got {key!r}; choose one of "
            f"{'; '.join(known)} (cutoffs are evaluation.ks; slices with few users are not measured)"
        )
    return numbers[key]


def _behind_bundle(
    subject: str,
    rail: GuardrailConfig,
    key: str,
    value: float,
    served: Mapping[str, float],
    judgement: Judgement,
) -> Iterator[str]:
    """Yields why a value is too far behind that of the served bundle."""
    part_name = judgement.part_name
    if f"{part_name}/{key}" not in served:
        raise ConfigError(
            f"the served bundle has no metric {f'{part_name}/{key}'!r}, got {sorted(served)}; choose one of "
            "them, or export a run that was judged with it"
        )
    reference = served[f"{part_name}/{key}"]
    # `click/log_loss`: the outcome stands before the measure.
    is_lower_better = rail.metric.rpartition("/")[2] in LOWER_IS_BETTER
    lost = value - reference if is_lower_better else reference - value
    # Not `>`: a NaN must fail.
    if not lost <= rail.margin:
        n_users, n_served = judgement.evaluation.counts.n_queries, served.get(f"{part_name}/n_users")
        others = ""
        if n_served is not None and n_served != n_users:
            others = f" (it was judged on {n_served:,.0f} users, this model on {n_users:,})"
        yield (
            f"{subject} is {value:.4f}, and {reference:.4f} for the served bundle{others}: expected to be no "
            f"more than {rail.margin} {'above' if is_lower_better else 'below'}"
        )


def _behind_model(name: str, subject: str, rail: GuardrailConfig, judgement: Judgement) -> Iterator[str]:
    """Yields why the paired difference to a model of the report is too low."""
    differences = _differences(rail, judgement)
    if rail.against not in differences:
        raise ConfigError(
            f"gate.guardrails.{name}.against must be {BUNDLE} or one of "
            f"{', '.join(judgement.evaluation.differences)}, with a metric of each user, got "
            f"{rail.against!r} and {rail.metric!r}"
        )
    difference = differences[rail.against]
    # The lower end: a gate that lets pass what may be worse guards nothing.
    if not difference.low >= -rail.margin:
        yield (
            f"{subject} minus that of {rail.against} is {difference.mean:+.4f}, 95\u00a0% interval "
            f"{difference.low:+.4f} to {difference.high:+.4f}: expected the lower end to be "
            f"{0 - rail.margin} or more"
        )


def _differences(rail: GuardrailConfig, judgement: Judgement) -> Mapping[str, Estimate]:
    """Returns reference → paired difference, over all users or on the slice; empty if there is none."""
    if not rail.slice:
        of_models = judgement.evaluation.differences
        return {name: metrics[rail.metric] for name, metrics in of_models.items() if rail.metric in metrics}
    slices = judgement.slices
    for column in slices.columns:
        for part in column.slices:
            if rail.metric == slices.metric and rail.slice == f"{column.name} = {part.value}":
                return part.differences
    return {}


def _served_metrics(bundle: str) -> Mapping[str, float]:
    """Reads the metrics in the manifest of the served bundle."""
    return Manifest.from_json((resolve(Path(bundle)) / MANIFEST).read_bytes()).metrics
