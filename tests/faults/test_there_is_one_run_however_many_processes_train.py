"""Two processes once wrote a run folder each, and `latest` named the one without a model."""

import pytest

from tests.support.mini_shop import MiniShop, run
from training.export import main as export
from training.fitting.checkpoints import best_checkpoint, find_run


def test_two_processes_make_one_run_that_can_be_exported(
    shop: MiniShop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shop.train(monkeypatch, "trainer.devices=2", "trainer.accelerator=cpu") == 0

    said = capsys.readouterr().out
    assert said.count("split:") == 1
    assert said.count("test: ") == 1
    folders = [path for path in shop.latest.parent.iterdir() if path.is_dir() and not path.is_symlink()]
    assert folders == [find_run(str(shop.latest))]
    assert best_checkpoint(folders[0]).is_file()
    assert not (folders[0] / "part").exists()
    assert run(monkeypatch, export, f"run='{shop.latest}'", f"bundles='{shop.path / 'bundles'}'") == 0


def test_as_many_processes_are_started_as_the_config_says(
    shop: MiniShop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    launched = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in launched.items():
        monkeypatch.setenv(name, value)

    assert shop.train(monkeypatch) == 2

    assert "2 processes were started, expected trainer.devices=1 times" in capsys.readouterr().err
    assert not shop.latest.exists()
