"""`python -m training.tune data=… search=two_tower`: searches for settings on the validation part.

Each trial trains once, with other values of the knobs in `search.space`; the first one tries the values of
the config. A trial that does worse than the median of the others at the same epoch is pruned. The study
is kept in `runs/<data>/studies/<name>`: the same command goes on where it was left. Test is not read.
"""

import fcntl
import logging
import multiprocessing
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import numpy as np
import optuna
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from rich.console import Console

from marquee.errors import ConfigError, DataError, MarqueeError
from marquee.reports.study import StudyContent
from training.choices import register_schemas
from training.cli.command import EXIT_INTERRUPTED, command
from training.cli.console import open_console
from training.config import TrainConfig
from training.fitting.callbacks import MONITOR, is_ranked_epoch, read_epochs
from training.fitting.checkpoints import CHECKPOINTS
from training.fitting.fit import EPOCHS_FILE, fit
from training.fitting.recipe import settle
from training.runs.prepare import Prepared, prepare
from training.tuning.config import KnobValue, TuneConfig, resolve_tune, with_knobs
from training.tuning.results import (
    EPOCHS,
    REASON,
    SECONDS,
    in_short,
    show_results,
    study_content,
    write_results,
)

register_schemas()

JOURNAL = "study.log"
SPACE_FILE = "space.yaml"


def tune(raw: DictConfig, console: Console) -> StudyContent:
    """Searches, writes what was found into the study's folder, and returns it; exits if interrupted.

    Raises:
        ConfigError: If the study was begun with another space, or another command is at work on it.
    """
    config = resolve_tune(raw)
    config.folder.mkdir(parents=True, exist_ok=True)
    with _only_command(config.folder):
        _require_same_space(raw, config)
        # In the folder's lock: two commands would settle each other's trials as left over.
        study = open_study(config, worker=0)
        _settle_left_over(study)
        # Once: a study that goes on has tried the config's own values.
        if not study.trials:
            study.enqueue_trial(_starting_point(raw, config))
        interrupted = _search(raw, config, console)
        content = study_content(study, config)
        write_results(content, config)
        show_results(content, config, console)
    if interrupted:
        console.print("interrupted; the same command goes on from here", highlight=False)
        sys.exit(EXIT_INTERRUPTED)
    return content


def open_study(config: TuneConfig, worker: int) -> optuna.Study:
    """Returns the study on disk, new or begun.

    Args:
        config: Of the search.
        worker: Number of the process: each draws settings of its own.
    """
    # Each trial prints its own line; Optuna's would repeat it with all parameters.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = config.search
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(config.folder / JOURNAL))),
        study_name=search.name,
        direction="maximize",
        load_if_exists=True,
        # The first trials are never pruned: a median of few says little.
        pruner=optuna.pruners.MedianPruner(
            n_startup_trials=search.n_before_pruning, n_warmup_steps=search.epochs_before_pruning
        ),
    )
    # A study that goes on must not draw again what it drew first.
    seed = np.random.SeedSequence([search.seed, worker, len(study.trials)]).generate_state(1)
    study.sampler = optuna.samplers.TPESampler(seed=int(seed[0]), n_startup_trials=search.n_before_pruning)
    return study


def _search(raw: DictConfig, config: TuneConfig, console: Console) -> bool:
    """Runs the trials that are missing, in as many processes as wanted; returns if it was interrupted."""
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    others = [
        context.Process(target=_work_elsewhere, args=(raw, number), daemon=True)
        for number in range(1, config.search.jobs)
    ]
    for process in others:
        process.start()
    try:
        _work(raw, config, console, worker=0)
        for process in others:
            process.join()
    except KeyboardInterrupt:
        for process in others:
            process.terminate()
            process.join()
        return True
    return False


def _work_elsewhere(raw: DictConfig, worker: int) -> None:
    """Runs trials in a process of its own, quietly, until there are enough."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    _work(raw, resolve_tune(raw), open_console(quiet=True), worker)


def _work(raw: DictConfig, config: TuneConfig, console: Console, worker: int) -> None:
    """Runs trials, one after the other, until there are enough."""
    study = open_study(config, worker)
    trainee = _Trainee(raw, config, console)
    # Counted on disk: all processes, and earlier commands, add to one number.
    while sum(trial.state.is_finished() for trial in study.trials) < config.search.n_trials:
        # One at a time, so that the count above is looked at; settings that do not fit end a trial alone.
        study.optimize(trainee.objective, n_trials=1, catch=(MarqueeError,))


@dataclass
class _Trainee:
    """Trains for one trial after the other.

    Attributes:
        raw: The composed config.
        config: The same, resolved.
        console: Shows a line per trial.
        prepared: The data, read once if no knob of the space concerns them.
    """

    raw: DictConfig
    config: TuneConfig
    console: Console
    prepared: Prepared | None = None

    def objective(self, trial: optuna.Trial) -> float:
        """Returns the best validation NDCG of one training.

        Raises:
            TrialPruned: If it does worse than the others.
            KeyboardInterrupt: If a person stopped it.
            MarqueeError: If the settings do not fit together, or the model diverges.
        """
        space = self.config.search.space
        knobs = {key: knob.suggest(trial, key) for key, knob in space.items()}
        words = ", ".join(f"{key}={in_short(value)}" for key, value in knobs.items())
        self.console.print(f"trial {trial.number}: {words}", highlight=False, soft_wrap=True)
        started = time.perf_counter()
        try:
            return self._train(trial, with_knobs(self.raw, knobs))
        except MarqueeError as error:
            trial.set_user_attr(REASON, f"{type(error).__name__}: {error}")
            self.console.print(f"trial {trial.number} failed: {error}", highlight=False, soft_wrap=True)
            raise
        finally:
            # Also of what failed or was pruned: it took the time all the same.
            trial.set_user_attr(SECONDS, time.perf_counter() - started)

    def _train(self, trial: optuna.Trial, config: TrainConfig) -> float:
        """Returns the best validation NDCG of one training; raises as `objective`."""
        prepared = self._data(config)
        if prepared.validation is None:
            raise DataError(
                "a search reads the validation part, got 0 events in it; set data.split.validation_fraction "
                "above 0 and data.split.fit_on_validation=false"
            )
        config = settle(config, prepared.dataset).config
        folder = self.config.folder / "trials" / str(trial.number)
        report = ReportToStudy(trial, config.trainer.validate_every)
        fitted = fit(prepared.dataset, prepared.validation, config, folder, extra=[report])
        rows = read_epochs(folder / EPOCHS_FILE)
        # The best epoch and not the last: that is the checkpoint which a run keeps.
        values = [float(row[MONITOR]) for row in rows if row[MONITOR]]
        trial.set_user_attr(EPOCHS, len(rows))
        # The best settings are trained again; a model for each trial would fill the disk.
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        if fitted.interrupted:
            # Lightning has taken Ctrl-C: without this Optuna would go on with the next trial.
            raise KeyboardInterrupt
        if report.is_pruned:
            self.console.print(f"trial {trial.number} pruned after {len(rows)} epochs", highlight=False)
            raise optuna.TrialPruned
        self.console.print(f"trial {trial.number}: {MONITOR} {max(values):.4f}", highlight=False)
        return max(values)

    def _data(self, config: TrainConfig) -> Prepared:
        """Returns the prepared data of a training."""
        # A knob of the data changes what is read; all others leave it as it is.
        if self.prepared is None or any(key.startswith("data.") for key in self.config.search.space):
            self.prepared = prepare(config, self.config.folder, open_console(quiet=True))
        return self.prepared


class ReportToStudy(Callback):
    """Tells a study how a trial does at each ranking, and stops the trial where the study prunes it.

    Args:
        trial: The trial.
        every: Epochs from one ranking to the next.

    Attributes:
        is_pruned: Whether it was stopped.
    """

    def __init__(self, trial: optuna.Trial, every: int) -> None:
        self.trial = trial
        self.every = every
        self.is_pruned = False

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Reports the epochs that are ranked."""
        if not is_ranked_epoch(trainer, self.every):
            return
        self.trial.report(float(trainer.callback_metrics[MONITOR]), trainer.current_epoch + 1)
        is_last = trainer.max_epochs is not None and trainer.current_epoch + 1 >= trainer.max_epochs
        # After the last epoch nothing is saved by pruning, and a result would be lost.
        if not is_last and self.trial.should_prune():
            self.is_pruned = True
            trainer.should_stop = True


@contextmanager
def _only_command(folder: Path) -> Iterator[None]:
    """Holds a study; the system gives it back when its holder dies."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"another command is at work on study {folder}; wait for it, or change search.name"
            ) from error
        yield


def _require_same_space(raw: DictConfig, config: TuneConfig) -> None:
    """Notes the space of a new study; raises ConfigError if a begun one has another."""
    path = config.folder / SPACE_FILE
    text = OmegaConf.to_yaml(raw.search.space)
    if not path.exists():
        path.write_text(text, encoding="utf-8")
    # Values of another space would teach the sampler what it cannot draw.
    elif path.read_text(encoding="utf-8") != text:
        raise ConfigError(
            f"study {config.search.name!r} was begun with the space in {path}, got another; give search.name "
            "another value for a new study"
        )


def _settle_left_over(study: optuna.Study) -> None:
    """Ends trials that a killed command left behind: they count as failed."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)


def _starting_point(raw: DictConfig, config: TuneConfig) -> dict[str, KnobValue]:
    """Returns the values that the config has, of those knobs whose space holds them."""
    current = {key: OmegaConf.select(raw, key) for key in config.search.space}
    return {key: value for key, value in current.items() if config.search.space[key].holds(value)}


@command("tune", DictConfig)
def main(config: DictConfig) -> None:
    """Searches for settings of the composed config."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    tune(config, open_console())


if __name__ == "__main__":
    main()
