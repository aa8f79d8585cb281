"""Trains and judges the model of a run on other data than its own, each time in a folder to resume from."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import polars as pl
from rich.console import Console

from marquee.data.dataset import Dataset
from marquee.data.reading.tables import Tables
from marquee.data.splits import Split
from marquee.evaluation.analyses.retraining import Retraining, RetrainingSeries
from marquee.reports import amend_report
from marquee.store.files import replace_file
from training.cli.command import EXIT_INTERRUPTED
from training.config import TrainConfig, as_plain
from training.fitting.checkpoints import CHECKPOINTS
from training.fitting.fit import fit
from training.judging.judge import Judgement, judge
from training.judging.writing import EVALUATION_FILE
from training.runs.folders import RunFolder
from training.runs.prepare import Prepared, part

CONFIG_FILE = "config.json"
RETRAINING_FILE = "trial.json"


@dataclass(frozen=True)
class Plan:
    """One training to come.

    Attributes:
        label: What sets it apart.
        position: Where it stands in the series.
        folder: Name of its folder.
        tables: What may be read: nothing later than what it is judged on.
        config: Of the training; its test part is what the retraining is judged on.
        choose: Returns the training events to keep, of those of the split; None for all.
    """

    label: str
    position: float
    folder: str
    tables: Tables
    config: TrainConfig
    choose: Callable[[pl.DataFrame], pl.DataFrame] | None = None


def run_retrainings(
    name: str, design: str, plans: Sequence[Plan], folder: RunFolder, config: TrainConfig, console: Console
) -> RetrainingSeries:
    """Trains and judges what is planned, writes the series into the run's folder and its report.

    A retraining that is done is not done again, and one that was interrupted goes on from its last epoch.

    Args:
        name: Of the section, `backtest` or `learning_curve`, and of the folder of the retrainings.
        design: What was varied and what was judged, in words.
        plans: In the order of their position.
        folder: Of the run.
        config: Of the run.
        console: Shows progress.
    """
    retrainings = []
    for number, plan in enumerate(plans, start=1):
        console.print(f"training {number} of {len(plans)}: {plan.label}", highlight=False)
        retrainings.append(_retraining(plan, folder.path / name / plan.folder, console))
    series = RetrainingSeries(f"ndcg@{config.evaluation.headline_k}", "model", design, tuple(retrainings))
    # At once, also where the run was never judged: its report takes the series in later.
    replace_file(folder.trials_file(name), json.dumps(series.to_json_dict(), indent=1).encode())
    # A run that was not judged has no report to amend.
    if (folder.path / EVALUATION_FILE).is_file():
        _amend(name, series, folder.path)
    return series


def show_series(series: RetrainingSeries, folder: Path, console: Console) -> None:
    """Prints each retraining, and where the result is."""
    for retraining in series.retrainings:
        own = retraining.estimates[series.model]
        others = ", ".join(
            f"{name} {retraining.estimates[name].mean:.4f}" for name in series.names if name != series.model
        )
        console.print(
            f"{retraining.label}: {series.metric} {own.mean:.4f} ({own.low:.4f} to {own.high:.4f}); {others}",
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"report {folder / 'report.html'}", highlight=False, soft_wrap=True)


def _amend(name: str, series: RetrainingSeries, run: Path) -> None:
    """Puts the series into the report of a run, in all its forms."""
    amend_report(run, name, series)
    path = run / EVALUATION_FILE
    numbers = json.loads(path.read_text(encoding="utf-8"))
    numbers[name] = series.to_json_dict()
    # The section is there now.
    numbers["absent"].pop(name, None)
    replace_file(path, json.dumps(numbers, indent=1).encode())


def _retraining(plan: Plan, folder: Path, console: Console) -> Retraining:
    """Trains and judges by a plan, or reads the result from its folder if that was done before."""
    wanted = {
        "label": plan.label,
        "data": _data_checksum(plan.tables),
        # By way of JSON, as it is read back: a tuple would differ from a list for ever.
        **json.loads(json.dumps(as_plain(plan.config))),
    }
    begun = folder / CONFIG_FILE
    if begun.is_file() and json.loads(begun.read_text(encoding="utf-8")) != wanted:
        shutil.rmtree(folder)  # of other settings or data: neither to be trusted nor to be resumed
    done = folder / RETRAINING_FILE
    if done.is_file():
        console.print("done before", highlight=False)
        return Retraining.from_json_dict(json.loads(done.read_text(encoding="utf-8")))
    folder.mkdir(parents=True, exist_ok=True)
    # Before the training: a folder without it would be resumed by whatever settings come.
    replace_file(begun, json.dumps(wanted).encode())
    prepared = _prepared(plan, console)
    fitted = fit(prepared.dataset, prepared.validation, plan.config, folder)
    if fitted.interrupted:
        console.print("interrupted; the same command goes on from here", highlight=False)
        sys.exit(EXIT_INTERRUPTED)
    judgement = judge(prepared, fitted.model, plan.config, console)
    retraining = _result(plan, prepared.split, judgement, fitted.seconds)
    # Before the checkpoints go: what was interrupted in between is done.
    replace_file(done, json.dumps(asdict(retraining)).encode())
    # A series keeps numbers alone; a model for each of its trainings would fill the disk.
    shutil.rmtree(folder / CHECKPOINTS)
    return retraining


def _data_checksum(tables: Tables) -> str:
    """Returns a checksum of the events, whatever their number."""
    # A hash per row and one of all: no copy of the events as text.
    # As text: the code of a kind follows the order in which kinds were met.
    kind = pl.col("kind").cast(pl.String)
    rows = tables.events.select("user_id", "item_id", "timestamp", kind, "value").hash_rows(seed=0)
    return f"{tables.events.height}-{hashlib.sha256(rows.to_numpy().tobytes()).hexdigest()}"


def _prepared(plan: Plan, console: Console) -> Prepared:
    """Returns the data of a plan: judged on all of its users, trained on the events that it chooses."""
    prepared = part(plan.tables, plan.config, console)
    if plan.choose is None:
        return prepared
    split = prepared.split
    # The training part alone: all trainings are judged on the same users with whole histories.
    thinned = replace(split, train=plan.choose(split.train))
    dataset = Dataset.prepare(plan.tables, thinned, plan.config.data)
    validation, test = (
        None if judged.is_empty() else dataset.judged_part(before, judged)
        for before, judged in (
            (split.before_validation, split.validation),
            (split.before_test, split.test),
        )
    )
    return Prepared(dataset, thinned, validation, test, prepared.quality)


def _result(plan: Plan, split: Split, judgement: Judgement, seconds: float) -> Retraining:
    """Returns the part of a judgement that a series keeps."""
    evaluation, metric = judgement.evaluation, f"ndcg@{plan.config.evaluation.headline_k}"
    return Retraining(
        label=plan.label,
        position=plan.position,
        n_train_events=len(split.train),
        n_users=evaluation.counts.n_queries,
        n_targets=evaluation.counts.n_targets,
        seconds=seconds,
        estimates={name: model.estimates[metric] for name, model in evaluation.models.items()},
        differences={name: values[metric] for name, values in evaluation.differences.items()},
    )
