"""The messages of a command that cannot be composed, and of one that fails by itself."""

import sys

import pytest
from hydra.errors import CompactHydraException
from omegaconf import DictConfig

from marquee.errors import ConfigError
from training.choices import register_schemas
from training.cli.command import command


def end(monkeypatch: pytest.MonkeyPatch, error: Exception | None, *overrides: str) -> int:
    """Returns the exit status of a command that raises `error` when it is called."""

    @command("train", DictConfig)
    def run(config: DictConfig) -> None:  # noqa: ARG001 - what is composed does not matter
        if error is not None:
            raise error

    register_schemas()
    monkeypatch.setattr(sys, "argv", ["train", "hydra.run.dir=.", *overrides])
    try:
        run()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_settings_of_a_data_set_that_are_in_the_way_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end(monkeypatch, None, "data=gowalla", "loss=cosine_contrastive") == 2
    said = capsys.readouterr().err
    assert "Key 'temperature' not in 'CosineContrastiveConfig'" in said
    assert "configs/tuned/gowalla.yaml was found for other parts" in said
    assert "~tuned" in said
    assert "Traceback" not in said
    assert end(monkeypatch, None, "data=gowalla", "loss=cosine_contrastive", "~tuned") == 0


def test_other_mistakes_are_told_without_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end(monkeypatch, None, "data=world", "model.dimm=3") == 2
    said = capsys.readouterr().err
    assert "Key 'dimm' not in 'TwoTowerConfig'" in said
    assert "tuned" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("word", ["model=5", "model=inf", "model=null", "+model=true", "~model=1"])
def test_a_choice_that_is_no_name_is_told_with_the_names(
    word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end(monkeypatch, None, "data=world", word) == 2
    said = capsys.readouterr().err
    assert f"model must be the name of a choice, got {word.partition('=')[2]}" in said
    assert "two_tower" in said
    assert "Traceback" not in said


def test_errors_of_ours_are_words_and_others_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end(monkeypatch, ConfigError("got 3, expected 4"), "data=world") == 2
    said = capsys.readouterr().err
    assert "ConfigError: got 3, expected 4" in said
    assert "Traceback" not in said
    assert end(monkeypatch, RuntimeError("broken"), "data=world") == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "RuntimeError: broken" in said


def test_who_asks_for_full_errors_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(CompactHydraException):
        end(monkeypatch, None, "data=world", "model.dimm=3")
