"""Content of a report before it takes any form: HTML, Markdown and JSON are all made from `ReportContent`.

Times, versions and memory are given by the caller, who may read clocks; nothing here does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property

import numpy as np

from marquee.core.arrays import IndexArray
from marquee.core.ids import PADDING_INDEX
from marquee.core.item_lists import ItemLists
from marquee.errors import ConfigError
from marquee.evaluation.analyses.ageing import Ageing
from marquee.evaluation.analyses.beyond_accuracy import BeyondAccuracy
from marquee.evaluation.analyses.item_map import ModelInspection
from marquee.evaluation.analyses.retraining import RetrainingSeries
from marquee.evaluation.analyses.served import ServedComparison
from marquee.evaluation.analyses.slices import SlicedMetric
from marquee.evaluation.evaluation import Evaluation
from marquee.evaluation.group_fairness import GroupFairness
from marquee.evaluation.metrics import METRICS
from marquee.evaluation.probabilities.objective import JudgedObjective
from marquee.evaluation.probabilities.outcomes import JudgedOutcome
from marquee.reports.verdict import Verdict, judge_against, protocol_warnings

REPORT_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Part:
    """One side of the split.

    Attributes:
        name: `train`, `validation` or `test`.
        n_users: Distinct users.
        n_items: Distinct items.
        n_events: Rows.
    """

    name: str
    n_users: int
    n_items: int
    n_events: int


@dataclass(frozen=True)
class Protocol:
    """How the numbers came about: enough to make them again.

    Attributes:
        dataset: Name of the data set.
        split: How events were parted, in words, with the cutoff times where there are any.
        parts: The sides of the split, in order of time.
        judged_on: Name of the part that the metrics are of.
        exclude_seen: Whether items that a user had before were left out of the ranking and the targets.
        seed: Seed of the run.
        fingerprint: Checksum of the data that were read.
        versions: Package → version.
        created: When the report was made, as text.
        train_seconds: Wall time of training; None if not measured.
        evaluate_seconds: Wall time of the evaluation; None if not measured.
        peak_memory_mb: Largest resident memory of the process, in MiB; None if not measured.
        checks: What was verified, with its result, one sentence each.
    """

    dataset: str
    split: str
    parts: tuple[Part, ...]
    judged_on: str
    exclude_seen: bool
    seed: int
    fingerprint: str
    versions: Mapping[str, str]
    created: str
    train_seconds: float | None = None
    evaluate_seconds: float | None = None
    peak_memory_mb: float | None = None
    checks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Curve:
    """One quantity over the course of training.

    Attributes:
        name: As in the training log.
        steps: Where it was measured, ascending.
        values: What it was there.
    """

    name: str
    steps: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ListedItem:
    """An item as a reader knows it.

    Attributes:
        label: Its title, or its id.
        is_target: Whether the user turned to it in the part judged.
    """

    label: str
    is_target: bool


@dataclass(frozen=True)
class Sample:
    """One user: history, each model's list, and the targets.

    Attributes:
        user: The user's id.
        history: Last items before the part judged, oldest first.
        targets: Items of the part judged, the first of them.
        n_targets: How many there are.
        lists: Model → its list, best first.
    """

    user: str
    history: tuple[str, ...]
    targets: tuple[str, ...]
    n_targets: int
    lists: Mapping[str, tuple[ListedItem, ...]]


@dataclass(frozen=True)
class ReportContent:
    """All that a report says.

    Attributes:
        title: Head of the page, e.g. the data set and the model.
        protocol: How the numbers came about.
        evaluation: The numbers; its first model is the one the report is about.
        headline: The metric that the verdict is about, e.g. `ndcg@10`.
        left_out: Baseline → why it is not there and what to do about it.
        beyond_accuracy: Model → what its lists are like besides accurate, at the headline's cutoff.
        slices: The headline metric on parts of users and items; None if nothing was sliced.
        served: The same users asked through a bundle; None if none was given.
        outcomes: How good the model's probabilities are, by what they are of.
        objective: What the exposures of the part were worth; None where there are none.
        unjudged: Why other probabilities were not judged, one sentence each.
        fairness: Gaps between groups of people, and exposure of groups of items; None if not judged.
        ageing: The headline metric by the time since training; None where there is nothing to say.
        backtest: The model trained and judged at successive cutoffs; None if that was not done.
        learning_curve: The model trained on parts of the training data; None if that was not done.
        inspection: Item map, neighbourhoods and mistakes of the model; None if it was not inspected.
        absent: Name of a section → why it is not there, and what brings it, in words.
        cautions: What the caller knows to mislead, one sentence each.
        curves: Course of training.
        best_step: Step of the checkpoint that was kept; None if unknown.
        quality: The data-quality report in words, one line each.
        samples: Some users, for the eye.
        config: The resolved config as text.

    Raises:
        ConfigError: If the headline is not a metric at a cutoff of the evaluation.
    """

    title: str
    protocol: Protocol
    evaluation: Evaluation
    headline: str
    left_out: Mapping[str, str] = field(default_factory=dict)
    beyond_accuracy: Mapping[str, BeyondAccuracy] = field(default_factory=dict)
    slices: SlicedMetric | None = None
    served: ServedComparison | None = None
    outcomes: tuple[JudgedOutcome, ...] = ()
    objective: JudgedObjective | None = None
    unjudged: tuple[str, ...] = ()
    fairness: GroupFairness | None = None
    ageing: Ageing | None = None
    backtest: RetrainingSeries | None = None
    learning_curve: RetrainingSeries | None = None
    inspection: ModelInspection | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    cautions: tuple[str, ...] = ()
    curves: tuple[Curve, ...] = ()
    best_step: float | None = None
    quality: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = ()
    config: str = ""

    def __post_init__(self) -> None:
        # Checked here, before tables and figures ask for a metric that was not evaluated.
        known = [f"{metric}@{k}" for metric in METRICS for k in self.evaluation.ks]
        if self.headline not in known:
            raise ConfigError(
                f"the headline metric must be one of {', '.join(known)}, got {self.headline!r}; choose a "
                "cutoff that is evaluated"
            )

    @property
    def headline_k(self) -> int:
        """Cutoff of the headline metric."""
        return int(self.headline.split("@")[1])

    @property
    def best_other(self) -> str:
        """Name of the best of the other models, by the headline metric; empty if there is none."""
        models = self.evaluation.models
        others = [name for name in models if name != self.evaluation.model]
        return max(others, key=lambda name: models[name].estimates[self.headline].mean, default="")

    # Cached: the tests draw thousands of signs, and page, Markdown and JSON all ask.
    @cached_property
    def verdict(self) -> Verdict:
        """Whether the model beats the baselines."""
        return judge_against(self.evaluation, self.headline)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings to the reader, one sentence each."""
        # First: if something else is served than was judged, no number below is about it.
        served = () if self.served is None or self.served.is_within_tolerance else (self.served.sentence,)
        return (*served, *self.cautions, *protocol_warnings(self.evaluation))

    def to_json_dict(self) -> dict[str, object]:
        """Returns the whole content, ready for `json.dumps`; a verdict and warnings come with it."""
        return {
            "report_format": REPORT_FORMAT,
            "title": self.title,
            "verdict": asdict(self.verdict),
            "warnings": list(self.warnings),
            "protocol": asdict(self.protocol),
            "headline": self.headline,
            "evaluation": self.evaluation.to_json_dict(),
            "left_out": dict(self.left_out),
            # `beyond` and `inside` are the names of their sections, in the page's anchors too.
            "beyond": {name: numbers.to_json_dict() for name, numbers in self.beyond_accuracy.items()},
            "slices": None if self.slices is None else self.slices.to_json_dict(),
            "served": None if self.served is None else self.served.to_json_dict(),
            "probabilities": [outcome.to_json_dict() for outcome in self.outcomes],
            "objective": None if self.objective is None else self.objective.to_json_dict(),
            "unjudged_probabilities": list(self.unjudged),
            "fairness": None if self.fairness is None else self.fairness.to_json_dict(),
            "ageing": None if self.ageing is None else self.ageing.to_json_dict(),
            "backtest": None if self.backtest is None else self.backtest.to_json_dict(),
            "learning_curve": None if self.learning_curve is None else self.learning_curve.to_json_dict(),
            "inside": None if self.inspection is None else self.inspection.to_json_dict(),
            "absent": dict(self.absent),
            "curves": [asdict(curve) for curve in self.curves],
            "best_step": self.best_step,
            "quality": list(self.quality),
            "samples": [asdict(sample) for sample in self.samples],
            "config": self.config,
        }


def curves_from_rows(
    rows: Sequence[Mapping[str, str | float | None]], step: str = "step"
) -> tuple[Curve, ...]:
    """Returns one curve per column of a training log, in the order of the columns.

    A row need not have every column: loggers write training and validation numbers in rows of their own.

    Args:
        rows: As `csv.DictReader` yields them: column → number, as text or not, empty where there is none.
        step: Column that counts the steps; rows without it are left out.

    Example:
        >>> curves_from_rows([{"step": "1", "loss": "0.5"}, {"step": "2", "loss": "", "ndcg": "0.1"}])
        (Curve(name='loss', steps=(1.0,), values=(0.5,)), Curve(name='ndcg', steps=(2.0,), values=(0.1,)))
    """
    # The epoch counts the steps again.
    names = dict.fromkeys(name for row in rows for name in row if name not in (step, "epoch"))
    curves = []
    for name in names:
        points = [
            (float(row[step] or 0), float(row[name] or 0))
            for row in rows
            # A `csv.DictReader` gives an empty text where a logger wrote nothing; 0 is a value.
            if row.get(step) not in (None, "") and row.get(name) not in (None, "")
        ]
        if points:
            # A log need not be in the order of its steps.
            points.sort(key=lambda point: point[0])
            curves.append(Curve(name, *zip(*points, strict=True)))
    return tuple(curves)


def pick_samples(
    evaluation: Evaluation,
    targets: ItemLists,
    histories: ItemLists,
    user_ids: Sequence[str],
    labels: Sequence[str],
    generator: np.random.Generator,
    *,
    n_samples: int = 6,
    n_items: int = 10,
) -> tuple[Sample, ...]:
    """Returns some of the queries evaluated, drawn at random: not the ones that look best.

    Args:
        evaluation: Gives the lists.
        targets: Of the evaluation's task.
        histories: Items before the part judged, per query, oldest first.
        user_ids: User of each query, n_queries.
        labels: Title or id of each item, n_items + 1; entry 0 is not used.
        generator: Draws the queries.
        n_samples: How many, if there are that many.
        n_items: Longest list, history and targets shown.
    """
    queries = evaluation.query_index
    # At random, not the ones that look best.
    drawn = np.sort(generator.choice(queries, size=min(n_samples, len(queries)), replace=False))
    samples = []
    for query in drawn.tolist():
        wanted = _list_of(targets, query)
        samples.append(
            Sample(
                user=user_ids[query],
                # The last ones: what the model has seen most recently.
                history=_labels(_list_of(histories, query)[-n_items:], labels),
                targets=_labels(wanted[:n_items], labels),
                n_targets=len(wanted),
                lists={
                    name: tuple(
                        ListedItem(labels[item], is_target=item in wanted)
                        for item in model.lists.items[query, :n_items].tolist()
                        if item != PADDING_INDEX
                    )
                    for name, model in evaluation.models.items()
                },
            )
        )
    return tuple(samples)


def _list_of(lists: ItemLists, query: int) -> IndexArray:
    """Returns the items of one query."""
    return lists.item_index[lists.offsets[query] : lists.offsets[query + 1]]


def _labels(items: IndexArray, labels: Sequence[str]) -> tuple[str, ...]:
    """Returns the label of each item of the catalog; items outside it have none."""
    # An item outside the catalog has index 0 and no label.
    return tuple(labels[item] for item in items.tolist() if item != PADDING_INDEX)
