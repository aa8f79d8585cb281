"""Judges a trained model beside the baselines: numbers as JSON for programs, a table for people."""

import json
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from marquee.baselines import Baseline, FittedBaselines, fit_baselines
from marquee.dataset import JudgedPart
from marquee.errors import DataError
from marquee.evaluation import Evaluation, evaluate
from marquee.events import TimeMeaning
from marquee.histories import FloatArray
from marquee.nn.embed import score_queries
from marquee.nn.models import TwoTower
from marquee.ranking import ScoreBlock
from training.config import TrainConfig
from training.prepare import Prepared
from training.runs import RunFolder

EVALUATION_FILE = "evaluation.json"


@dataclass(frozen=True)
class Judgement:
    """How a model did on one part of the split.

    Attributes:
        part_name: `test`, or `validation` while settings are still being chosen.
        part: Who was asked.
        evaluation: Of the model and the baselines.
        left_out: Baseline → why it does not stand in the evaluation.
    """

    part_name: str
    part: JudgedPart
    evaluation: Evaluation
    left_out: dict[str, str]

    def headline(self, k: int) -> dict[str, float]:
        """Returns the few numbers that travel with a bundle."""
        model = self.evaluation.models[self.evaluation.model]
        return {
            f"{self.part_name}/{metric}@{k}": model.estimates[f"{metric}@{k}"].mean
            for metric in ("ndcg", "recall", "hit_rate")
        }


def judge(prepared: Prepared, model: TwoTower, config: TrainConfig, console: Console) -> Judgement:
    """Ranks the full catalog for every user of the judged part, with the model and with the baselines.

    Raises:
        DataError: If the part that is to be read is empty.
    """
    part_name = "test" if config.evaluation.test else "validation"
    part = prepared.test if config.evaluation.test else prepared.validation
    if part is None:
        raise DataError(
            f"the {part_name} part has 0 events, expected some to judge the model on; change data.split, or "
            f"evaluation.test={str(not config.evaluation.test).lower()} to read the other part"
        )
    with console.status("fitting the baselines"):
        baselines = _fit_baselines(prepared, part, config)
    scorers: dict[str, ScoreBlock] = {"model": score_queries(model, part.queries)}
    scorers |= {name: _scorer(baseline) for name, baseline in baselines.models.items()}
    progress = Progress(
        TextColumn("ranking {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    with progress:
        tasks: dict[str, TaskID] = {}

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=done)

        evaluation = evaluate(
            scorers,
            config.evaluation.task(part, prepared.dataset.n_items),
            np.random.default_rng(config.seed),
            memory_mb=config.evaluation.memory_mb,
            progress=show,
        )
    return Judgement(part_name, part, evaluation, baselines.left_out)


def write_judgement(judgement: Judgement, config: TrainConfig, folder: RunFolder) -> None:
    """Writes the evaluation as JSON."""
    content = {
        "part": judgement.part_name,
        "headline": judgement.headline(config.evaluation.headline_k),
        "left_out": judgement.left_out,
        **judgement.evaluation.to_json_dict(),
    }
    (folder.path / EVALUATION_FILE).write_text(json.dumps(content, indent=1), encoding="utf-8")


def show_judgement(judgement: Judgement, config: TrainConfig, console: Console) -> None:
    """Prints the headline metrics of every model, with intervals, and what was left out."""
    k = config.evaluation.headline_k
    names = [f"ndcg@{k}", f"recall@{k}", f"hit_rate@{k}"]
    table = Table(
        title=f"{judgement.part_name}, {len(judgement.evaluation.query_index):,} users, full catalog"
    )
    table.add_column("model")
    for name in (*names, f"coverage@{k}"):
        table.add_column(name, justify="right")
    for name, result in judgement.evaluation.models.items():
        estimates = [result.estimates[metric] for metric in names]
        cells = [f"{e.mean:.4f} [dim]{e.low:.4f} to {e.high:.4f}[/dim]" for e in estimates]
        table.add_row(name, *cells, f"{result.coverage[f'coverage@{k}']:.4f}")
    console.print(table)
    for name, reason in judgement.left_out.items():
        console.print(f"{name}: {reason}", highlight=False)


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
        return baseline.scores(np.arange(rows.start + 1, rows.stop + 1))

    return score
