"""The verdict on an experiment: ship, stop, go on, or cannot tell, with the reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from marquee.evaluation.comparison import SIGNIFICANCE
from marquee.evaluation.experiments.effects import Effect
from marquee.evaluation.experiments.sample_ratio import SampleRatio


class Conclusion(StrEnum):
    """The verdict of an experiment on an arm."""

    ship = "ship"
    stop = "stop"
    go_on = "go on"
    cannot_tell = "cannot tell"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision about one arm.

    Attributes:
        conclusion: What to do.
        reason: One sentence for people.
    """

    conclusion: Conclusion
    reason: str


@dataclass(frozen=True, slots=True)
class Measured:
    """The effect of an arm on one metric, turned so that more is better.

    Attributes:
        name: Of the metric.
        effect: The effect; its sign is turned by `is_better_low`.
        is_better_low: Whether less of the metric is better.
    """

    name: str
    effect: Effect
    is_better_low: bool = False

    def ends(self, *, is_final: bool) -> tuple[float, float]:
        """Returns the ends of the interval that may be read now, more being better.

        Args:
            is_final: Whether the declared end is reached: only then the fixed interval holds.
        """
        effect = self.effect
        low, high = (effect.low, effect.high) if is_final else (effect.always_low, effect.always_high)
        # Turning the sign swaps the ends.
        return (-high, -low) if self.is_better_low else (low, high)


def decide(
    ratio: SampleRatio,
    primary: Measured,
    guardrails: Sequence[Measured],
    *,
    minimum_effect: float,
    is_final: bool,
    doubt: str = "",
) -> Verdict:
    """Decides about one arm.

    Args:
        ratio: Of the whole experiment: with a mismatch no effect counts.
        primary: The metric that the arm is to improve.
        guardrails: Metrics that it must not worsen.
        minimum_effect: Smallest improvement that matters, 0 or more, in the metric's unit.
        is_final: Whether the declared end is reached.
        doubt: Why the interval of the metric that decides does not hold; empty if it does.
    """
    if ratio.is_mismatch:
        return Verdict(
            Conclusion.cannot_tell,
            f"the arms do not hold the declared shares (p = {ratio.p_value:.1g}): believe no effect",
        )
    # Before the metric that decides: an arm that worsens what it must not is stopped, whatever it improves.
    for guardrail in guardrails:
        low, high = guardrail.ends(is_final=is_final)
        if high < 0:
            return Verdict(
                Conclusion.stop, f"{guardrail.name} is worse: {low:+.4g} to {high:+.4g}, more is better"
            )
    if doubt:
        return Verdict(Conclusion.cannot_tell, doubt)
    return _decide_by(primary, minimum_effect, is_final=is_final)


def _decide_by(primary: Measured, minimum_effect: float, *, is_final: bool) -> Verdict:
    """Decides by the metric that the arm is to improve alone; see `decide`."""
    low, high = primary.ends(is_final=is_final)
    said = f"{primary.name} changes by {low:+.4g} to {high:+.4g}, more is better"
    # Above 0 is enough to ship: the smallest effect that matters only says when to stop.
    if low > 0 and is_final and primary.effect.p_value >= SIGNIFICANCE:
        # By itself it would do; whoever looks at many metrics and arms finds such a one by chance.
        corrected = f"corrected for all metrics and arms p = {primary.effect.p_value:.2g}"
        return Verdict(Conclusion.cannot_tell, f"{said} by itself; {corrected}, at the declared end")
    if low > 0:
        return Verdict(Conclusion.ship, said)
    if high < minimum_effect or high < 0:
        return Verdict(Conclusion.stop, f"{said}: less than the {minimum_effect:g} that matters")
    if is_final:
        return Verdict(Conclusion.cannot_tell, f"{said}, and the declared end is reached")
    return Verdict(Conclusion.go_on, said)
