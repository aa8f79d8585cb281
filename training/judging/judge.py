"""Judges a trained model beside the baselines: numbers as JSON for programs, a table for people."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from rich.console import Console
from rich.table import Table

from marquee.bundle.bundle import Bundle
from marquee.core.arrays import FloatArray
from marquee.core.schema import TimeMeaning
from marquee.data.dataset import JudgedPart
from marquee.errors import DataError
from marquee.evaluation.analyses.beyond_accuracy import BeyondAccuracy
from marquee.evaluation.analyses.item_map import ModelInspection
from marquee.evaluation.analyses.served import ServedComparison
from marquee.evaluation.analyses.served_surfaces import SurfaceRules
from marquee.evaluation.analyses.slices import SlicedMetric
from marquee.evaluation.baselines import Baseline, FittedBaselines, fit_baselines
from marquee.evaluation.evaluation import Evaluation, evaluate, require_targets
from marquee.evaluation.group_fairness import GroupFairness
from marquee.evaluation.off_policy.estimators import Value
from marquee.evaluation.probabilities.objective import JudgedObjective
from marquee.evaluation.probabilities.outcomes import JudgedOutcome
from marquee.index.ranking import ScoreBlock, inner_product_scores
from marquee.nn.embed import embed_catalog, embed_queries
from marquee.nn.models import TwoTower
from marquee.reports import judge_against
from training.config import TrainConfig
from training.fitting.probabilities.run import HeadOfRun
from training.judging.describe import describe, slice_headline
from training.judging.groups.fairness import judge_fairness
from training.judging.head_outcomes import objective_of_part
from training.judging.inspection import inspect_model
from training.judging.outcomes import judge_outcomes
from training.judging.replay import replay
from training.judging.served_model import served_scores
from training.runs.prepare import Prepared
from training.runs.progress import ranking_progress

BUNDLE = "bundle"
"""Name of the served release among the models of an evaluation."""


@dataclass(frozen=True)
class Judgement:
    """How a model did on one part of the split.

    Attributes:
        part_name: `test`, or `validation` while settings are still being chosen.
        part: Who was asked.
        evaluation: Of the model and the baselines.
        left_out: Baseline → why it does not stand in the evaluation.
        beyond_accuracy: Model → what its lists are like at the headline's cutoff.
        slices: The headline metric by part of users and items.
        seconds: Wall time of fitting the baselines, ranking and measuring.
        served: The same users asked through a bundle; None if none was given.
        inspection: Item map, neighbourhoods and mistakes; None if the model was not inspected.
        outcomes: How good the model's probabilities are.
        objective: What the exposures of the part were worth; None where there are none.
        unjudged: Why other probabilities were not judged, one sentence each.
        fairness: Gaps between groups of people, and what is shown of groups of items; None if not judged.
        off_policy: The value of a candidate by a log; None if none was asked for.
    """

    part_name: str
    part: JudgedPart
    evaluation: Evaluation
    left_out: dict[str, str]
    beyond_accuracy: dict[str, BeyondAccuracy]
    slices: SlicedMetric
    seconds: float
    served: ServedComparison | None = None
    inspection: ModelInspection | None = None
    outcomes: tuple[JudgedOutcome, ...] = ()
    objective: JudgedObjective | None = None
    unjudged: tuple[str, ...] = ()
    fairness: GroupFairness | None = None
    off_policy: Value | None = None

    def headline(self, k: int) -> dict[str, float]:
        """Returns the numbers that travel with a bundle, under the name of the part: see `numbers`."""
        # A manifest is read by people: one cutoff, and all that has none.
        at_k = {name: value for name, value in self.numbers().items() if f"@{k}" in name or "@" not in name}
        counts = self.evaluation.counts
        facts = {"n_users": float(counts.n_queries), "n_targets": float(counts.n_targets)}
        return {f"{self.part_name}/{name}": value for name, value in {**at_k, **facts}.items()}

    def numbers(self) -> dict[str, float]:
        """Returns every number of the model by the name that a guardrail calls it; what is NaN is left out.

        `ndcg@10`, `ndcg@10|ad` on an item group, `coverage@10`, `gini`, `click/log_loss`; and on a slice
        `ndcg@10|user: gender = F`, `click/log_loss|surface = feed`.
        """
        name = self.evaluation.model
        model = self.evaluation.models[name]
        found = {metric: estimate.mean for metric, estimate in model.estimates.items()} | model.coverage
        if name in self.beyond_accuracy:
            beyond = self.beyond_accuracy[name].to_json_dict()
            found |= {quality: value for quality, value in beyond.items() if value is not None}
        for column in self.slices.columns:
            for part in column.slices:
                sliced = f"{self.slices.metric}|{column.name} = {part.value}"
                found[sliced] = part.estimates[self.slices.model].mean
        for outcome in self.outcomes:
            found |= outcome.numbers()
        # JSON has no NaN, and a guardrail on a number that is not there should say so.
        return {metric: value for metric, value in found.items() if np.isfinite(value)}


def part_to_judge(prepared: Prepared, config: TrainConfig) -> tuple[str, JudgedPart]:
    """Returns the part that a config has judged, and its name.

    Raises:
        DataError: If it is empty.
    """
    part_name = "test" if config.evaluation.test else "validation"
    part = prepared.test if config.evaluation.test else prepared.validation
    if part is None:
        raise DataError(
            f"the {part_name} part has 0 events, expected some to judge the model on; change data.split, or "
            f"evaluation.test={str(not config.evaluation.test).lower()} to read the other part"
        )
    # Before anything is fitted: baselines take minutes, and this error needs none of them.
    require_targets(config.evaluation.task(part, prepared.dataset.n_items))
    return part_name, part


def judge(
    prepared: Prepared,
    model: TwoTower,
    config: TrainConfig,
    console: Console,
    bundle: Bundle | None = None,
    head: HeadOfRun | None = None,
) -> Judgement:
    """Ranks the full catalog for every user of the judged part, with the model and with the baselines.

    Args:
        prepared: The data.
        model: Under judgement.
        config: Of its run.
        console: Shows progress.
        bundle: The release that is served, to be ranked beside it as `BUNDLE`; None for none.
        head: The head of the run, which says how likely clicks are; None where it has none.

    Raises:
        DataError: If the part that is to be read is empty.
    """
    part_name, part = part_to_judge(prepared, config)
    started = time.perf_counter()
    with console.status("fitting the baselines"):
        # On the training part alone, like the model: otherwise they would know what is asked.
        baselines = _fit_baselines(prepared, part, config)
    item_vectors = embed_catalog(model)  # (n_items + 1, out_dim)
    scores = inner_product_scores(embed_queries(model, item_vectors, part.queries), item_vectors)
    # First: the first of an evaluation is the one that the report is about.
    scorers: dict[str, ScoreBlock] = {"model": scores}
    # In the same evaluation: a difference needs the same users, targets and exclusions.
    if bundle is not None:
        scorers[BUNDLE] = served_scores(bundle, prepared, part, config)
    scorers |= {name: _scorer(baseline) for name, baseline in baselines.models.items()}
    with ranking_progress(console) as progress:
        evaluation = evaluate(
            scorers,
            config.evaluation.task(part, prepared.dataset.n_items, groups=prepared.dataset.item_groups()),
            np.random.default_rng(config.seed),
            memory_mb=config.evaluation.memory_mb,
            progress=progress,
        )
    directions = item_vectors[:, : -1 if model.config.item_bias else None]  # a bias is no likeness
    with console.status("measuring lists and slices"):
        beyond_accuracy = describe(prepared, part, evaluation, directions, config)
        slices = slice_headline(prepared, part, evaluation, config)
        inspection = inspect_model(prepared, part, evaluation, directions, scores, config)
    with console.status("measuring probabilities"):
        # With the bias, unlike the likeness above: it is a part of the probability.
        outcomes, unjudged = judge_outcomes(prepared, part, evaluation, model, item_vectors, config, head)
        objective = objective_of_part(prepared, config, head, directions)
        fairness = judge_fairness(prepared, part, evaluation, model, item_vectors, config)
    return Judgement(
        part_name=part_name,
        part=part,
        evaluation=evaluation,
        left_out=baselines.left_out,
        beyond_accuracy=beyond_accuracy,
        slices=slices,
        seconds=time.perf_counter() - started,
        inspection=inspection,
        outcomes=outcomes,
        objective=objective,
        unjudged=unjudged,
        fairness=fairness,
    )


def with_served(
    judgement: Judgement,
    bundle: str,
    prepared: Prepared,
    config: TrainConfig,
    surfaces: Sequence[SurfaceRules] = (),
) -> Judgement:
    """Returns the judgement with the same users asked through a published bundle, and on its surfaces."""
    served = replay(bundle, prepared, judgement.part, judgement.evaluation, config, surfaces)
    return replace(judgement, served=served)


def show_judgement(judgement: Judgement, config: TrainConfig, console: Console) -> None:
    """Prints the headline metrics of every model, the verdict in words, and what was left out."""
    k = config.evaluation.headline_k
    names = [f"ndcg@{k}", f"recall@{k}", f"hit_rate@{k}"]
    n_users = len(judgement.evaluation.query_index)
    table = Table(title=f"{judgement.part_name}: {n_users:,} users, full catalog, cutoff {k}")
    table.add_column("model", no_wrap=True)
    for name in ("ndcg", "95 % interval", "recall", "hit rate", "coverage"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, result in judgement.evaluation.models.items():
        headline, *others = (result.estimates[metric] for metric in names)
        table.add_row(
            name,
            f"{headline.mean:.4f}",
            f"{headline.low:.3f} to {headline.high:.3f}",
            *(f"{estimate.mean:.4f}" for estimate in others),
            f"{result.coverage[f'coverage@{k}']:.3f}",
        )
    # A table that the console may wrap softly would lose its columns.
    console.print(table, soft_wrap=False)
    verdict = judge_against(judgement.evaluation, names[0])
    console.print(verdict.sentence, highlight=False, soft_wrap=True)
    if judgement.served is not None:
        console.print(judgement.served.sentence, highlight=False)
    for name, reason in judgement.left_out.items():
        console.print(f"{name}: {reason}", highlight=False)
    for outcome in judgement.outcomes:
        console.print(f"{outcome.name}: {outcome.sentence}", highlight=False, soft_wrap=True)


def _fit_baselines(prepared: Prepared, part: JudgedPart, config: TrainConfig) -> FittedBaselines:
    """Returns the baselines, fitted on the training part and asked with what is known of each user."""
    return fit_baselines(
        prepared.dataset.train,
        prepared.dataset.n_items,
        config.evaluation.baselines,
        histories=part.known,
        has_absolute_time=config.data.time is TimeMeaning.absolute,
        seed=config.seed,
    )


def _scorer(baseline: Baseline) -> ScoreBlock:
    """Returns the scorer of a baseline; query i stands in row i + 1 of the histories."""

    def score(rows: slice) -> FloatArray:
        # Row 0 of the histories is nobody.
        return baseline.scores(np.arange(rows.start + 1, rows.stop + 1))

    return score
