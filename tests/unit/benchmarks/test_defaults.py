"""Defaults beside BPR on a market of 50 users: the plumbing, not the numbers."""

from pathlib import Path

import pytest

from benchmarks import defaults, fits
from benchmarks.experiments import compose_config
from marquee.evaluation.intervals import Estimate
from marquee.nn.optimizers import LazyAdamConfig
from marquee.world import World, write_world
from training.config import TrainerConfig
from training.runs.prepare import Prepared

SMALL = ("trainer.epochs=1", "model.dim=8")
CHOSEN = defaults.Chosen(0.01, 0.1)


@pytest.fixture(scope="module")
def prepared(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("world") / "tables"
    write_world(tiny_world, folder)
    return fits.prepare_data("world", [*defaults.COMMON, f"data.root={folder}"])


def beside(ours: float, theirs: float, low: float) -> defaults.Beside:
    first, second = (Estimate(mean, mean, mean) for mean in (ours, theirs))
    return defaults.Beside("world", first, second, Estimate(ours - theirs, low, 1.0), 50, (1.0, 1.0))


def test_defaults_and_bpr_are_judged_on_the_same_users(prepared: Prepared) -> None:
    found = defaults.compare("world", prepared, CHOSEN, SMALL)
    assert prepared.validation is not None
    assert 0 < found.n_users <= len(prepared.validation.user_ids)
    assert found.difference.mean == pytest.approx(found.ours.mean - found.theirs.mean)
    assert found.line().startswith("world")


def test_nothing_tuned_enters_the_defaults() -> None:
    tuned, plain = (compose_config(["data=movielens-1m", *without]) for without in ((), defaults.COMMON))
    assert plain.optimizer == LazyAdamConfig() != tuned.optimizer
    assert plain.trainer == TrainerConfig() != tuned.trainer


@pytest.mark.parametrize(
    ("ours", "theirs", "low", "reached"),
    [(0.125, 0.1, 0.01, True), (0.124, 0.1, 0.01, False), (0.2, 0.1, -0.01, False), (0.1, 0.0, 0.01, True)],
    ids=["at the margin", "below it", "by chance", "they have nothing"],
)
def test_the_margin_counts_only_beyond_chance(ours: float, theirs: float, low: float, reached: bool) -> None:
    found = beside(ours, theirs, low)
    assert found.is_reached is reached
    assert ("MISSED" in found.line()) is not reached


def test_the_grid_is_searched_whole(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(defaults, "LEARNING_RATES", (0.01, 0.03))
    monkeypatch.setattr(defaults, "WEIGHT_DECAYS", (0.0,))
    found = defaults.search_grid("world", prepared, SMALL)
    assert list(found) == [defaults.Chosen(0.01, 0.0), defaults.Chosen(0.03, 0.0)]
    assert all(0 <= value <= 1 for value in found.values())
    assert capsys.readouterr().out.count("learning rate") == 2


def test_every_set_has_settings_of_bpr() -> None:
    assert set(defaults.CHOSEN) == set(fits.EVERY_SET)
    for chosen in defaults.CHOSEN.values():
        assert chosen.learning_rate in defaults.LEARNING_RATES
        assert chosen.weight_decay in defaults.WEIGHT_DECAYS


def test_a_set_is_there_with_its_files_or_a_simulation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MARQUEE_DATA", str(tmp_path))
    assert fits.is_there("world")
    assert not fits.is_there("deskdrop")
    assert not fits.is_there("gowalla")
    (tmp_path / "gowalla").mkdir()
    (tmp_path / "gowalla" / "train.txt").touch()
    assert not fits.is_there("gowalla")
    (tmp_path / "gowalla" / "test.txt").touch()  # valid.txt is optional
    assert fits.is_there("gowalla")


def test_a_missed_margin_fails_the_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], prepared: Prepared
) -> None:
    monkeypatch.setattr(defaults, "prepare_data", lambda *_: prepared)
    for arguments, low, status in ((["--check"], 0.1, 0), (["--check"], -0.1, 1), ([], -0.1, 0)):
        monkeypatch.setattr(defaults, "compare", lambda *_, low=low: beside(0.2, 0.1, low))
        monkeypatch.setattr("sys.argv", ["defaults", "world", *arguments])
        assert defaults.main() == status
        assert ("FAILED" in capsys.readouterr().out) is (low < 0)
