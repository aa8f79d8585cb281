"""A knob that is accepted does something: settings beside `resume=` train longer, or are refused by name."""

import pytest

from tests.support.mini_shop import MiniShop, run
from training import train
from training.fitting.callbacks import read_epochs
from training.fitting.fit import EPOCHS_FILE


def test_settings_beside_resume(
    shop: MiniShop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shop.train(monkeypatch) == 0
    run_folder = shop.latest.resolve()

    assert run(monkeypatch, train.main, f"resume={run_folder}", "seed=5", "model.dim=8") == 2
    assert "got seed, model.dim beside it" in capsys.readouterr().err

    assert run(monkeypatch, train.main, f"resume={run_folder}") == 0
    assert "nothing was left to train" in capsys.readouterr().out

    assert run(monkeypatch, train.main, f"resume={run_folder}", "trainer.epochs=2") == 0
    assert len(read_epochs(run_folder / EPOCHS_FILE)) == 2
    assert "nothing was left" not in capsys.readouterr().out
