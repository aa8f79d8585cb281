"""A search for settings on one page: what was tried, what came out, and which knobs mattered."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from marquee.reports.plots import spots_figure
from marquee.reports.rendering import render

STUDY_FORMAT = 1


class Outcome(StrEnum):
    """How a trial ended."""

    finished = "finished"
    pruned = "pruned"
    failed = "failed"


@dataclass(frozen=True, slots=True)
class TriedSettings:
    """One trial.

    Attributes:
        number: In the order in which trials began, from 0.
        outcome: How it ended.
        value: Best validation metric of its epochs; None if it had none.
        knobs: Key → value.
        epochs: Epochs that ran.
        seconds: Wall time.
        reason: Why it failed; empty if it did not.
    """

    number: int
    outcome: Outcome
    value: float | None
    knobs: Mapping[str, float | int | str | bool]
    epochs: int
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class StudyContent:
    """A search, as it is shown.

    Attributes:
        name: Of the study.
        dataset: What was trained on.
        metric: What was searched for, e.g. `validation ndcg@10`.
        trials: In the order of their numbers; at least one.
        logarithmic: Knobs whose values differ by ratios.
        importance: Knob → share of the variation between good and other trials that it explains, largest
            first; empty where there were too few trials to tell.
        command: How to train with the best settings.
    """

    name: str
    dataset: str
    metric: str
    trials: Sequence[TriedSettings]
    logarithmic: Sequence[str]
    importance: Mapping[str, float]
    command: str

    @property
    def best(self) -> TriedSettings | None:
        """The trial with the highest value, the earlier one if two are equal; None if none finished."""
        # A pruned trial has a value too, of fewer epochs.
        finished = [trial for trial in self.trials if trial.outcome is Outcome.finished]
        # Equal values go to the earlier trial: a search that goes on does not move its best without cause.
        return max(finished, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)

    @property
    def counts(self) -> dict[str, int]:
        """How many trials ended how."""
        return {outcome: sum(trial.outcome is outcome for trial in self.trials) for outcome in Outcome}

    def to_json_dict(self) -> dict[str, object]:
        """Returns everything, ready for `json.dumps`."""
        best = self.best
        return {
            "study_format": STUDY_FORMAT,
            **asdict(self),
            "best": None if best is None else best.number,
            "counts": self.counts,
        }


def render_study(content: StudyContent) -> str:
    """Returns one self-contained page, like the report's.

    Raises:
        ConfigError: If jinja2 or matplotlib is not installed.
    """
    best = content.best
    ranked = sorted(content.trials, key=lambda trial: (-(trial.value or 0.0), trial.number))
    valued = [trial for trial in content.trials if trial.value is not None]
    # In the order in which they first occur: a set would change the page each time.
    knobs = list(dict.fromkeys(key for trial in content.trials for key in trial.knobs))
    figures = []
    if valued:
        figures.append(
            spots_figure(
                "value by trial",
                content.metric,
                [(trial.number, _value(trial)) for trial in valued],
                _place(best),
            )
        )
        figures += [
            spots_figure(
                knob,
                content.metric,
                # A trial need not have every knob.
                [(trial.knobs[knob], _value(trial)) for trial in valued if knob in trial.knobs],
                None if best is None else (best.knobs[knob], _value(best)),
                is_logarithmic=knob in content.logarithmic,
            )
            for knob in _by_importance(knobs, content.importance)
        ]
    return render("study.html.j2", content=content, best=best, ranked=ranked, knobs=knobs, figures=figures)


def _place(best: TriedSettings | None) -> tuple[int, float] | None:
    """Returns where the best trial stands in the order of trials."""
    return None if best is None else (best.number, _value(best))


def _value(trial: TriedSettings) -> float:
    """Returns the value of a trial that has one."""
    # For mypy: callers ask for trials with a value only.
    assert trial.value is not None, f"trial {trial.number} has no value"
    return trial.value


def _by_importance(knobs: Sequence[str], importance: Mapping[str, float]) -> list[str]:
    """Returns the knobs, those that mattered most first."""
    return sorted(knobs, key=lambda knob: -importance.get(knob, 0.0))
