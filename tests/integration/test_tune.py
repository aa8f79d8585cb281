"""A search for settings on a small simulated market: real trainings, a study on disk, and its end."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import optuna
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from marquee.errors import ConfigError
from tests.support.paths import CONFIGS
from training.config import resolve
from training.fitting.callbacks import MONITOR, read_epochs
from training.fitting.fit import EPOCHS_FILE
from training.train import train
from training.tune import JOURNAL, open_study, tune
from training.tuning.config import KnobConfig, resolve_tune, with_knobs
from training.tuning.results import PAGE, RESULT_FILE

SMALL = [
    "data.world.n_users=120",
    "data.world.n_content=60",
    "data.world.n_ads=40",
    "model.dim=4",
    "trainer.epochs=2",
    "trainer.accelerator=cpu",
    "search.n_before_pruning=2",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studies")


def composed(folder: Path, *overrides: str) -> DictConfig:
    """Returns the config of a search; every test shares the simulated market."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("tune", [f"runs={folder}", f"data.root={folder / 'world'}", *SMALL, *overrides])
    config.search.space = {
        "optimizer.learning_rate": KnobConfig(low=0.001, high=0.1, log=True),
        "model.dim": KnobConfig(choices=[2, 4]),
    }
    return config


def quiet() -> Console:
    return Console(file=StringIO(), width=120)


@pytest.fixture(scope="module")
def begun(folder: Path) -> Path:
    """Returns the folder of a study of three trials."""
    tune(composed(folder, "search.n_trials=3"), quiet())
    return folder / "world" / "studies" / "study"


@pytest.mark.usefixtures("begun")
def test_first_trial_has_the_values_of_the_config(folder: Path) -> None:
    first = open_study(resolve_tune(composed(folder)), worker=0).trials[0]
    assert first.params == {"optimizer.learning_rate": 0.005, "model.dim": 4}


def test_value_of_a_trial_is_the_best_of_its_epochs(begun: Path) -> None:
    result = json.loads((begun / RESULT_FILE).read_text(encoding="utf-8"))
    assert result["counts"] == {"finished": 3, "pruned": 0, "failed": 0}
    for trial in result["trials"]:
        rows = read_epochs(begun / "trials" / str(trial["number"]) / EPOCHS_FILE)
        assert trial["value"] == pytest.approx(max(float(row[MONITOR]) for row in rows), abs=1e-5)
        assert trial["epochs"] == len(rows) == 2
        assert not (begun / "trials" / str(trial["number"]) / "checkpoints").exists()


def test_page_shows_every_trial_and_the_best_settings(begun: Path) -> None:
    page = (begun / PAGE).read_text(encoding="utf-8")
    result = json.loads((begun / RESULT_FILE).read_text(encoding="utf-8"))
    best = max(result["trials"], key=lambda trial: trial["value"])
    assert result["best"] == best["number"]
    assert f"Best: {best['value']:.4f}, trial {best['number']}" in page
    assert page.count('<th scope="row">') == 3
    assert page.count("<svg") == 3  # value by trial, and one per knob
    assert "http" not in page.replace("http://www.w3.org", "")


def test_best_settings_are_an_experiment_that_trains(begun: Path, folder: Path, tmp_path: Path) -> None:
    result = json.loads((begun / RESULT_FILE).read_text(encoding="utf-8"))
    best = result["trials"][result["best"]]
    written = (begun / "experiment" / "study.yaml").read_text(encoding="utf-8")
    assert f"validation ndcg@10 {best['value']:.4f}, the best of 3 trials" in written
    overrides = [f"hydra.searchpath=[{begun}]", "experiment=study", f"runs={tmp_path}"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = resolve(compose("train", [f"data.root={folder / 'world'}", *SMALL[:-1], *overrides]))
    assert config.optimizer.learning_rate == best["knobs"]["optimizer.learning_rate"]
    run = train(config, quiet())
    rows = read_epochs(run.path / EPOCHS_FILE)
    assert max(float(row[MONITOR]) for row in rows) == pytest.approx(best["value"], abs=1e-5)


def test_study_goes_on_where_it_was_left(begun: Path, folder: Path) -> None:
    before = json.loads((begun / RESULT_FILE).read_text(encoding="utf-8"))["trials"]
    content = tune(composed(folder, "search.n_trials=4"), quiet())
    assert [trial.number for trial in content.trials] == [0, 1, 2, 3]
    rates = [trial.knobs["optimizer.learning_rate"] for trial in content.trials]
    assert rates[:3] == [trial["knobs"]["optimizer.learning_rate"] for trial in before]
    assert rates[3] not in rates[:3]
    again = tune(composed(folder, "search.n_trials=4"), quiet())
    assert len(again.trials) == 4  # enough: nothing is trained


@pytest.mark.usefixtures("begun")
def test_begun_study_with_another_space_is_refused(folder: Path) -> None:
    other = composed(folder)
    other.search.space["model.dim"].choices = [2, 8]
    with pytest.raises(ConfigError, match=r"study 'study' was begun with the space in .*, got another"):
        tune(other, quiet())


def test_two_commands_never_work_on_one_study(begun: Path, folder: Path) -> None:
    with held(begun), pytest.raises(ConfigError, match="another command is at work on study"):
        tune(composed(folder), quiet())


@contextmanager
def held(study: Path) -> Iterator[None]:
    """Holds a study as another command does."""
    with (study / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_trial_that_a_killed_command_left_behind_counts_as_failed(folder: Path) -> None:
    raw = composed(folder, "search.name=killed", "search.n_trials=2")
    config = resolve_tune(raw)
    config.folder.mkdir(parents=True)
    open_study(config, worker=0).ask()  # begun and never told how it ended
    content = tune(raw, quiet())
    assert content.counts == {"finished": 1, "pruned": 0, "failed": 1}
    assert content.trials[0].reason == "it was killed"


def test_trial_worse_than_the_others_is_pruned(folder: Path) -> None:
    knobs = ["search.n_trials=3", "search.epochs_before_pruning=2", "trainer.epochs=3"]
    raw = composed(folder, "search.name=pruning", *knobs)
    config = resolve_tune(raw)
    config.folder.mkdir(parents=True)
    study = open_study(config, worker=0)
    study.enqueue_trial({"optimizer.learning_rate": 0.001, "model.dim": 2})
    for value in (0.99, 0.98):  # two that nobody can follow
        study.add_trial(
            optuna.trial.create_trial(
                params={"optimizer.learning_rate": 0.01, "model.dim": 4},
                distributions={
                    "optimizer.learning_rate": optuna.distributions.FloatDistribution(0.001, 0.1, log=True),
                    "model.dim": optuna.distributions.CategoricalDistribution([2, 4]),
                },
                intermediate_values={1: value, 2: value, 3: value},
                value=value,
            )
        )
    content = tune(raw, quiet())
    assert content.counts == {"finished": 2, "pruned": 1, "failed": 0}
    assert content.trials[0].epochs == 2  # so many are always granted


def test_settings_that_do_not_fit_together_fail_with_the_reason(folder: Path) -> None:
    raw = composed(folder, "search.name=failing", "search.n_trials=2")
    raw.search.space = {"model.dim": KnobConfig(choices=[0, 4])}
    config = resolve_tune(raw)
    config.folder.mkdir(parents=True)
    study = open_study(config, worker=0)
    study.enqueue_trial({"model.dim": 0})
    study.enqueue_trial({"model.dim": 4})
    content = tune(raw, quiet())
    assert content.counts == {"finished": 1, "pruned": 0, "failed": 1}
    assert "model.dim must be 1 or more" in content.trials[0].reason
    assert content.best is not None
    assert content.best.number == 1


def test_several_processes_share_a_study(folder: Path) -> None:
    content = tune(composed(folder, "search.name=shared", "search.n_trials=2", "search.jobs=2"), quiet())
    assert 2 <= len(content.trials) <= 3  # each process may finish the trial that it has begun
    assert content.counts["failed"] == 0


def test_search_without_a_validation_part_fails_with_the_reason(folder: Path) -> None:
    raw = composed(folder, "search.name=blind", "search.n_trials=1", "data.split.fit_on_validation=true")
    content = tune(raw, quiet())
    assert content.best is None
    assert "a search reads the validation part, got 0 events" in content.trials[0].reason
    assert "No trial finished" in (folder / "world" / "studies" / "blind" / PAGE).read_text(encoding="utf-8")


def test_knob_that_is_no_key_is_refused(folder: Path) -> None:
    raw = composed(folder)
    raw.search.space = {"model.width": KnobConfig(low=1, high=2)}
    with pytest.raises(ConfigError, match=r"search\.space names 'model\.width', which is no key"):
        resolve_tune(raw)


def test_knobs_change_the_training_run_alone(folder: Path) -> None:
    raw = composed(folder)
    before = OmegaConf.to_yaml(raw)
    changed = with_knobs(raw, {"model.dim": 2, "optimizer.learning_rate": 0.5})
    assert changed.optimizer.learning_rate == 0.5
    assert not hasattr(changed, "search")
    assert OmegaConf.to_yaml(raw) == before
    assert (folder / "world").exists()


def test_journal_is_no_pickle(begun: Path) -> None:
    lines = (begun / JOURNAL).read_text(encoding="utf-8").splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)
