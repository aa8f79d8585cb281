"""Callbacks around the steps: they rank validation users after each epoch, and show progress."""

import csv
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch.optim import Optimizer

from marquee.data.dataset import QueryArrays
from marquee.evaluation.evaluation import EvaluationTask, evaluate
from marquee.index.ranking import ScoreBlock
from marquee.nn.averages import WeightAverages
from marquee.nn.batches import TrainingBatch
from marquee.nn.embed import score_queries
from marquee.nn.models import TwoTower
from training.cli.console import open_console
from training.fitting.checkpoints import AVERAGED, BEST, LAST
from training.fitting.module import RetrievalModule
from training.fitting.ranks.rows import KeptRows

MONITOR = "validation_ndcg"
RANKED = (MONITOR, "validation_recall")
EPOCH_COLUMNS = ("epoch", "loss", MONITOR, "validation_recall", "examples_per_s", "seconds")


class AverageWeights(Callback):
    """Averages the weights along the way; checkpoints hold the averages beside the weights to go on from.

    Args:
        half_life_epochs: After so many epochs the weights of a step count half.
    """

    def __init__(self, half_life_epochs: float) -> None:
        self.half_life_epochs = half_life_epochs
        self.averages: WeightAverages | None = None
        self.loaded: dict[str, Any] = {}  # Any: a checkpoint

    def on_load_checkpoint(
        self,
        trainer: L.Trainer,  # noqa: ARG002
        pl_module: L.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        """Keeps what a resumed run goes on from."""
        # Kept until training starts: before there are no averages to load it into.
        self.loaded = checkpoint

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begins at the weights, or where the run before this one was."""
        # Per step: the same half-life in epochs whatever the size of a batch.
        n_steps = self.half_life_epochs * max(int(trainer.num_training_batches), 1)
        self.averages = WeightAverages(pl_module, 0.5 ** (1 / n_steps))
        # A run may be resumed that was begun without averages.
        if AVERAGED in self.loaded:
            self.averages.load(self.loaded[AVERAGED], trainer.global_step)
        self.loaded = {}

    def on_before_optimizer_step(
        self,
        trainer: L.Trainer,  # noqa: ARG002
        pl_module: L.LightningModule,  # noqa: ARG002
        optimizer: Optimizer,  # noqa: ARG002
    ) -> None:
        """Follows the step."""
        assert self.averages is not None, "expected averages of a run that has started, got none"
        self.averages.before_step()

    def on_save_checkpoint(
        self,
        trainer: L.Trainer,  # noqa: ARG002
        pl_module: L.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        """Adds the averages to a checkpoint."""
        if self.averages is not None:
            checkpoint[AVERAGED] = self.averages.catch_up()

    def in_place(self) -> AbstractContextManager[None]:
        """Puts the averages in place of the weights inside the block; before training they are the same."""
        return nullcontext() if self.averages is None else self.averages.in_place()


class CentreBiases(Callback):
    """Gives new items their share (`TwoTower.centre_biases`) before an epoch is ranked and saved.

    Args:
        odds_unit: Of the loss.
        averages: Whose weights are centred as well.
    """

    def __init__(self, odds_unit: float, averages: AverageWeights | None = None) -> None:
        self.odds_unit = odds_unit
        self.averages = averages

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Centres the averages first, which catches them up with the weights as they are."""
        assert isinstance(pl_module, RetrievalModule), f"expected a RetrievalModule, got {type(pl_module)}"
        if self.averages is not None:
            with self.averages.in_place():
                pl_module.model.centre_biases(self.odds_unit)
        pl_module.model.centre_biases(self.odds_unit)


class RankValidation(Callback):
    """Ranks the whole catalog for the validation users after an epoch and logs NDCG and recall.

    Args:
        task: What is asked.
        queries: Who asks it.
        every: Epochs from one ranking to the next; the first and the last epoch are always ranked.
        averages: Whose weights are ranked; None for those of the latest step.
    """

    def __init__(
        self, task: EvaluationTask, queries: QueryArrays, every: int, averages: AverageWeights | None = None
    ) -> None:
        self.task = task
        self.queries = queries
        self.every = every
        self.averages = averages

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Logs the metrics of the epochs that are ranked."""
        assert isinstance(pl_module, RetrievalModule), f"expected a RetrievalModule, got {type(pl_module)}"
        if not is_ranked_epoch(trainer, self.every):
            return
        kept = keep_rows(trainer, pl_module, self.averages)
        in_place = nullcontext() if self.averages is None else self.averages.in_place()
        # The rows of all ranks are read where each has just written its own.
        with in_place, nullcontext() if kept is None else pl_module.model.mapped(kept.mapped()):
            found = self.rank(pl_module.model)
        # To ranks that wait in `HearValidation`, if there are any.
        trainer.strategy.broadcast(found)
        for name, value in zip(RANKED, found, strict=True):
            pl_module.log(name, value)

    def rank(self, model: TwoTower) -> tuple[float, float]:
        """Returns NDCG and recall of a model at the first cutoff of the task."""
        return self.rank_scores(score_queries(model, self.queries))

    def rank_scores(self, scorer: ScoreBlock) -> tuple[float, float]:
        """Returns NDCG and recall of the scores of its queries at the first cutoff of the task."""
        # Intervals are for the report; one resample is the least that `evaluate` draws.
        generator = np.random.default_rng(0)
        evaluation = evaluate({"model": scorer}, self.task, generator, n_resamples=1)
        estimates = evaluation.models["model"].estimates
        k = self.task.ks[0]
        return estimates[f"ndcg@{k}"].mean, estimates[f"recall@{k}"].mean


class HearValidation(Callback):
    """Takes over what rank 0 has ranked, so that every rank keeps and stops at the same epoch.

    Args:
        every: Epochs from one ranking to the next.
        averages: Whose weights are ranked; None for those of the latest step.
    """

    def __init__(self, every: int, averages: AverageWeights | None = None) -> None:
        self.every = every
        self.averages = averages

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Logs the metrics of the epochs that are ranked."""
        if not is_ranked_epoch(trainer, self.every):
            return
        assert isinstance(pl_module, RetrievalModule), f"expected a RetrievalModule, got {type(pl_module)}"
        keep_rows(trainer, pl_module, self.averages)
        found: tuple[float, ...] = trainer.strategy.broadcast(())
        for name, value in zip(RANKED, found, strict=True):
            pl_module.log(name, value)


def keep_rows(
    trainer: L.Trainer, module: RetrievalModule, averages: AverageWeights | None
) -> KeptRows | None:
    """Writes this rank's rows of sharded tables, and returns where all of them lie; None without such."""
    if module.rows is None or not module.rows.tables:
        return None
    state: dict[str, Any] = {"optimizer_states": [o.state_dict() for o in trainer.optimizers]}
    if averages is not None and averages.averages is not None:
        state[AVERAGED] = averages.averages.catch_up()
    return module.rows.write(trainer.global_step, state)


def is_ranked_epoch(trainer: L.Trainer, every: int) -> bool:
    """Returns whether the validation users are ranked after the current epoch."""
    # The last one always: a run whose best epoch is its last must be able to keep it.
    is_last = trainer.max_epochs is not None and trainer.current_epoch + 1 >= trainer.max_epochs
    return is_last or trainer.current_epoch % every == 0


class StopEarly(EarlyStopping):
    """Stops a run that ranks validation users no better than before; looks only where they are ranked.

    Args:
        patience: Rankings without a better NDCG.
        every: Epochs from one ranking to the next.
    """

    def __init__(self, patience: int, every: int) -> None:
        super().__init__(MONITOR, mode="max", patience=patience, check_on_train_epoch_end=True)
        self.every = every

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Looks at the epochs that are ranked."""
        if is_ranked_epoch(trainer, self.every):
            super().on_train_epoch_end(trainer, pl_module)


class KeepBest(ModelCheckpoint):
    """Keeps the checkpoint of the best ranking; looks only where validation users are ranked.

    Args:
        folder: Of the checkpoints.
        every: Epochs from one ranking to the next.
    """

    def __init__(self, folder: Path, every: int) -> None:
        super().__init__(
            dirpath=folder,
            filename=BEST,
            monitor=MONITOR,
            mode="max",
            save_on_train_epoch_end=True,
            # Else a resumed run writes `best-v1` beside `best`, and exports would take the old one.
            enable_version_counter=False,
        )
        self.every = every

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Looks at the epochs that are ranked."""
        if is_ranked_epoch(trainer, self.every):
            super().on_train_epoch_end(trainer, pl_module)


def keep_last(folder: Path) -> ModelCheckpoint:
    """Returns the callback that keeps the latest epoch, to resume from; it must run after all others.

    Trap: `save_last` of a callback that keeps the best saves nothing in an epoch that is no better.
    test_every_epoch_leaves_a_checkpoint_to_resume_from.
    """
    return ModelCheckpoint(
        dirpath=folder, filename=LAST, save_on_train_epoch_end=True, enable_version_counter=False
    )


class WriteEpochs(Callback):
    """Writes one row per epoch into a CSV; a resumed run continues the table of the run before it.

    Args:
        path: The CSV.
        every: Epochs from one ranking of the validation users to the next.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path = path
        self.every = every
        self.started = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Writes the head, and takes out rows of epochs that will run again."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # An epoch that was cut off runs again and writes its row again.
        rows = [row for row in read_epochs(self.path) if int(row["epoch"]) <= trainer.current_epoch]
        with self.path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, EPOCH_COLUMNS)
            writer.writeheader()
            writer.writerows(rows)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Starts the epoch's clock."""
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Appends the epoch's row; a metric of an epoch that was not ranked stays empty."""
        metrics = {**trainer.callback_metrics}
        # Lightning has both: the last step's loss and the mean of the epoch.
        metrics["loss"] = metrics.pop("loss_epoch")
        row = {name: f"{float(metrics[name]):.6g}" for name in EPOCH_COLUMNS if name in metrics}
        if not is_ranked_epoch(trainer, self.every):  # Lightning keeps showing the last ranking's numbers
            row = {name: number for name, number in row.items() if not name.startswith("validation_")}
        row["epoch"] = str(trainer.current_epoch + 1)
        row["seconds"] = f"{time.perf_counter() - self.started:.3f}"
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, EPOCH_COLUMNS).writerow(row)


def read_epochs(path: Path) -> list[dict[str, str]]:
    """Returns the rows that `WriteEpochs` wrote, empty if there is no such file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class ShowProgress(Callback):
    """One bar for the whole run, with loss, validation NDCG, examples per second and the time left.

    Where the output is not a terminal, one line per epoch.
    """

    def __init__(self) -> None:
        self.console = open_console(stderr=True)
        self.bar = Progress(
            TextColumn("epoch {task.fields[shown].epoch}"),
            BarColumn(),
            TextColumn("{task.fields[shown].numbers}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task: TaskID | None = None
        self.started = 0.0
        self.n_examples = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Shows the bar."""
        # Of the whole run, so that the bar and the time left are the run's.
        total = float(trainer.estimated_stepping_batches)
        self.task = self.bar.add_task("train", total=total, completed=trainer.global_step, shown=Shown())
        self.bar.start()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Starts the epoch's clock."""
        self.started, self.n_examples = time.perf_counter(), 0

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,  # noqa: ARG002
        outputs: object,  # noqa: ARG002
        batch: TrainingBatch,
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Moves the bar by one batch."""
        self.n_examples += len(batch.all_targets)
        self._update(trainer, advance=1)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Logs examples per second, and prints the epoch's line where there is no bar."""
        rate = self.n_examples / max(time.perf_counter() - self.started, 1e-9)
        pl_module.log("examples_per_s", rate)
        self._update(trainer, advance=0)
        if not self.console.is_terminal:
            shown = self._shown(trainer, loss="loss_epoch")
            self.console.print(f"epoch {shown.epoch}  {shown.numbers}", highlight=False)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:  # noqa: ARG002
        """Takes the bar away, also after an interruption."""
        self.bar.stop()

    def _update(self, trainer: L.Trainer, advance: int) -> None:
        """Moves the bar."""
        if self.task is not None and self.console.is_terminal:
            self.bar.update(self.task, advance=advance, shown=self._shown(trainer, loss="loss_step"))

    def _shown(self, trainer: L.Trainer, loss: str) -> "Shown":
        """Returns the numbers beside the progress bar."""
        metrics = trainer.callback_metrics
        rate = self.n_examples / max(time.perf_counter() - self.started, 1e-9)
        return Shown(
            epoch=f"{trainer.current_epoch + 1}/{trainer.max_epochs}",
            numbers=f"loss {_digits(metrics.get(loss))}  "
            f"ndcg {_digits(metrics.get(MONITOR))}  {rate:,.0f} examples/s",
        )


@dataclass(frozen=True)
class Shown:
    """The words beside the bar."""

    epoch: str = ""
    numbers: str = ""


def _digits(value: torch.Tensor | None) -> str:
    """Returns a metric with four digits, or a dash."""
    return "-" if value is None else f"{float(value):.4f}"
