"""Guardrails that a judged model must meet before it is published; each failure says why.

A comparison with another model is one of non-inferiority: the lower end of the 95 % interval of the paired
difference must not be below the margin, so a model that was judged on too few users does not pass.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from marquee.bundle import resolve
from marquee.errors import ConfigError
from marquee.intervals import Estimate
from marquee.manifest import MANIFEST, Manifest
from training.judge import Judgement


@dataclass(kw_only=True)
class GuardrailConfig:
    """One thing that must hold.

    Attributes:
        metric: `ndcg@10`, `ndcg@10|ad` for an item group, `coverage@10`, or a number of the report's section
            beyond accuracy, such as `gini`.
        slice: A slice of the report, `user: gender = F`, of which the headline metric is known; empty for
            all.
        at_least: Lowest value allowed; None for no bound.
        at_most: Highest value allowed; None for no bound.
        against: Name of a baseline in the report that the model must not be worse than by more than
            `margin`, or `bundle` for the one that is served; empty for none.
        margin: What may be lost against it; negative for what must be won.
    """

    metric: str
    slice: str = ""
    at_least: float | None = None
    at_most: float | None = None
    against: str = ""
    margin: float = 0.0


@dataclass(kw_only=True)
class GateConfig:
    """What must hold.

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
            if rail.at_least is None and rail.at_most is None and not rail.against:
                raise ConfigError(
                    f"gate.guardrails.{name} must have at_least, at_most or against, got none for "
                    f"{rail.metric!r}"
                )
            if rail.against == "bundle" and not self.bundle:
                raise ConfigError(
                    f"gate.guardrails.{name} is against the bundle, got gate.bundle={self.bundle!r}"
                )
            if rail.against and rail.slice:
                raise ConfigError(
                    f"gate.guardrails.{name} must be against a model or on a slice, got {rail.against!r} and "
                    f"{rail.slice!r}"
                )


def failures(config: GateConfig, judgement: Judgement, k: int) -> Iterator[str]:
    """Yields why the model must not be published, one sentence per guardrail that does not hold.

    Args:
        config: What must hold.
        judgement: Of the model.
        k: Cutoff of the numbers beyond accuracy.

    Raises:
        ConfigError: If a guardrail names what the report does not have.
    """
    served = _served_metrics(config.bundle) if config.bundle else {}
    for name, rail in config.guardrails.items():
        value = _on_slice(name, rail, judgement) if rail.slice else _overall(name, rail, judgement, k)
        subject = f"{name}: {rail.metric}" + (f" on {rail.slice}" if rail.slice else "")
        if rail.at_least is not None and not value >= rail.at_least:
            yield f"{subject} is {value:.4f}, expected {rail.at_least} or more"
        if rail.at_most is not None and not value <= rail.at_most:
            yield f"{subject} is {value:.4f}, expected {rail.at_most} or less"
        if rail.against == "bundle":
            yield from _behind_bundle(subject, rail, value, served, judgement.part_name)
        elif rail.against:
            yield from _behind_model(name, subject, rail, judgement)


def _behind_bundle(
    subject: str, rail: GuardrailConfig, value: float, served: Mapping[str, float], part_name: str
) -> Iterator[str]:
    """Yields why a value is too far behind that of the served bundle."""
    key = f"{part_name}/{rail.metric}"
    if key not in served:
        raise ConfigError(
            f"the served bundle has no metric {key!r}, got {sorted(served)}; choose one of them"
        )
    if value < served[key] - rail.margin:
        yield (
            f"{subject} is {value:.4f}, and {served[key]:.4f} for the served bundle: expected to be no more "
            f"than {rail.margin} below"
        )


def _behind_model(name: str, subject: str, rail: GuardrailConfig, judgement: Judgement) -> Iterator[str]:
    """Yields why the paired difference to a model of the report is too low."""
    differences = judgement.evaluation.differences
    if rail.against not in differences or rail.metric not in differences[rail.against]:
        raise ConfigError(
            f"gate.guardrails.{name}.against must be bundle or one of {', '.join(differences)}, with a "
            f"metric of each user, got {rail.against!r} and {rail.metric!r}"
        )
    difference: Estimate = differences[rail.against][rail.metric]
    if not difference.low >= -rail.margin:
        yield (
            f"{subject} minus that of {rail.against} is {difference.mean:+.4f}, 95\u00a0% interval "
            f"{difference.low:+.4f} to {difference.high:+.4f}: expected the lower end to be "
            f"{0 - rail.margin} or more"
        )


def _overall(name: str, rail: GuardrailConfig, judgement: Judgement, k: int) -> float:
    """Returns a number of the model over all users."""
    model = judgement.evaluation.models[judgement.evaluation.model]
    numbers: dict[str, float] = {key: estimate.mean for key, estimate in model.estimates.items()}
    numbers |= model.coverage
    beyond = judgement.beyond[judgement.evaluation.model].to_json_dict()
    numbers |= {key: value for key, value in beyond.items() if value is not None}
    if rail.metric not in numbers:
        raise ConfigError(
            f"gate.guardrails.{name}.metric must be measured at cutoff {k} or another of evaluation.ks, got "
            f"{rail.metric!r}; choose one of {', '.join(numbers)}"
        )
    return numbers[rail.metric]


def _on_slice(name: str, rail: GuardrailConfig, judgement: Judgement) -> float:
    """Returns the headline metric of the model on a slice."""
    slices = judgement.slices
    known = {
        f"{column.name} = {part.value}": part.estimates[slices.model].mean
        for column in slices.columns
        for part in column.slices
    }
    if rail.metric != slices.metric or rail.slice not in known:
        raise ConfigError(
            f"gate.guardrails.{name} must be about {slices.metric} on one of {', '.join(known)}, got "
            f"{rail.metric!r} on {rail.slice!r}; slices with few users are not measured"
        )
    return known[rail.slice]


def _served_metrics(bundle: str) -> Mapping[str, float]:
    """Returns what the manifest of the served bundle says of it."""
    return Manifest.from_json((resolve(Path(bundle)) / MANIFEST).read_bytes()).metrics
