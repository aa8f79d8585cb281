"""A command leaves nothing in the process that the next one would trip over."""

import os

import pytest

from tests.support.mini_shop import MiniShop


def test_multirun_trains_once_per_value(
    shop: MiniShop, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shop.path)
    assert shop.train(monkeypatch, "seed=1,2", "--multirun") == 0, capfd.readouterr().err
    reports = sorted((shop.path / "runs" / "mini").glob("*/report.html"))
    # `latest` is one of the two as well, where the system has links.
    assert len({path.resolve() for path in reports}) == 2
    assert "HYDRA_FULL_ERROR" not in os.environ
    assert not (shop.path / "multirun").exists()


def test_error_in_a_job_of_a_multirun_is_words(
    shop: MiniShop, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert shop.train(monkeypatch, "model.dim=8,x", "--multirun") == 2
    said = capfd.readouterr().err
    assert "model.dim" in said
    assert "Traceback" not in said
