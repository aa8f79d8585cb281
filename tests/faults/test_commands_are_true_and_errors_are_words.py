"""Every command works from any folder, as printed, under any terminal; errors come as words."""

import errno
import io
import json
import os
import re
import shlex
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.support.mini_shop import MiniShop, mini_events, run
from training import backtest, evaluate, export, learning_curve, make_key, publish, train, tune
from training.cli.command import explain_errors
from training.cli.console import open_console

Capture = pytest.CaptureFixture[str]


def test_command_that_a_search_recommends_runs_as_printed(
    shop: MiniShop, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    arguments = shop.train_arguments("search.n_trials=1", "model.hidden=4")
    assert run(monkeypatch, tune.main, *arguments) == 0
    printed = re.search(r"train with the best: (.*)", capsys.readouterr().out)
    assert printed is not None
    words = shlex.split(printed[1])
    assert words[:3] == ["python", "-m", "training.train"]
    assert run(monkeypatch, train.main, *words[3:], "--cfg", "job") == 0
    composed = capsys.readouterr().out
    assert "name: mini" in composed
    assert "epochs: 1\n" in composed, "what was given to the search holds for the training"
    study = shop.path / "runs" / "mini" / "studies"
    (experiment,) = study.glob("*/experiment/*.yaml")
    assert printed[1] in experiment.read_text(encoding="utf-8")


def test_run_is_found_and_exported_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    shop = MiniShop.open(tmp_path)
    yaml = tmp_path / "configs" / "data" / "mini.yaml"
    yaml.write_text(yaml.read_text(encoding="utf-8").replace(str(tmp_path), ".", 1), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert shop.train(monkeypatch) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run(monkeypatch, export.main, "run=../runs/mini/latest", "index.kind=flat") == 0, (
        capsys.readouterr()
    )
    assert (tmp_path / "elsewhere" / "bundles" / "mini" / "CURRENT").exists()


def test_texts_of_users_are_printed_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    shop = MiniShop.open(tmp_path / "my [bold]shop[/bad] :smile:")
    rows = mini_events()
    shop.write_events([*rows, ("u1", "i1", "[/bad]")])
    assert shop.train(monkeypatch, "data.max_rejected_fraction=0.5") == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "[/bad]" in said
    assert "my [bold]shop[/bad] :smile:" in said.replace("\n", "")


def test_console_takes_no_text_for_markup() -> None:
    console = open_console()
    console.file = io.StringIO()
    console.print("a [/bad] [red]text[/red] :smile: " + "path/" * 60)
    assert console.file.getvalue() == "a [/bad] [red]text[/red] :smile: " + "path/" * 60 + "\n"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_stream_that_cannot_show_a_character_replaces_it(
    shop: MiniShop, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    assert shop.train(monkeypatch) == 0
    assert json.loads((shop.latest / "evaluation.json").read_text(encoding="utf-8"))["part"] == "test"
    assert (shop.latest / "report.html").is_file()
    out.seek(0)
    assert "report.html" in out.read()


def test_report_is_written_before_it_is_printed(shop: MiniShop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("the terminal is gone")

    monkeypatch.setattr("training.judging.judge.show_judgement", fail)
    assert shop.train(monkeypatch) == 2
    assert (shop.latest / "report.html").is_file()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("data.split.test_fraction=0",), "the test part has 0 events"),
        (("trainer.accelerator=tpu",), "this machine cannot train with trainer.accelerator=tpu"),
        (("trainer.precision=17-true",), "trainer.precision=17-true"),
        (("trainer.devices=0",), "trainer.devices must be 1 or more, got 0"),
        (("trainer.nodes=2",), "trainer.nodes=2 needs a start on each machine: torchrun --nnodes 2"),
    ],
)
def test_what_can_be_known_at_the_start_stops_at_the_start(
    shop: MiniShop,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    overrides: tuple[str, ...],
    words: str,
) -> None:
    assert shop.train(monkeypatch, *overrides) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert not [*shop.path.rglob("*.ckpt")]


@pytest.mark.parametrize(
    ("module", "key"),
    [
        *((module, "run") for module in (backtest, evaluate, export, learning_curve)),
        (make_key, "path"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_missing_key_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, module: object, key: str
) -> None:
    assert run(monkeypatch, module.main) == 2  # type: ignore[attr-defined]
    said = capsys.readouterr().err
    assert f"{key} must be given" in said
    assert "Traceback" not in said


def test_errors_of_yaml_and_of_the_system_are_words(
    shop: MiniShop, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (shop.path / "file").write_text("no folder", encoding="utf-8")
    assert shop.train(monkeypatch, f"runs={shop.path / 'file'}") == 2
    assert "file" in capsys.readouterr().err
    assert run(monkeypatch, publish.main, "bundle=nowhere") == 2
    yaml = shop.path / "configs" / "data" / "mini.yaml"
    yaml.write_text("name: mini\n\troot: .\n", encoding="utf-8")
    assert shop.train(monkeypatch) == 2
    said = capsys.readouterr().err
    assert "mini.yaml" in said
    assert "line 2" in said
    assert "Traceback" not in said


def test_folder_in_the_way_of_a_key_is_named(
    shop: MiniShop, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (shop.path / "configs" / "runs").mkdir()
    assert shop.train(monkeypatch) == 2
    assert f"the folder {shop.path / 'configs' / 'runs'} is in the way" in capsys.readouterr().err


def test_titles_that_are_lists_name_nothing(shop: MiniShop, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = sorted({item for _, item, _ in mini_events()})
    pl.DataFrame({"item_id": ids, "title": [[id_, "x"] for id_ in ids]}).write_parquet(
        shop.path / "items.parquet"
    )
    yaml = shop.path / "configs" / "data" / "mini.yaml"
    yaml.write_text(yaml.read_text(encoding="utf-8") + "items: {path: items.parquet}\n", encoding="utf-8")
    assert shop.train(monkeypatch) == 0
    assert (shop.latest / "report.html").is_file()


def test_targets_that_nobody_can_reach_are_told_before_training(
    shop: MiniShop, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    # Every user asks for one item again and again: it was seen before.
    shop.write_events([(user, f"only-{user}", at) for user, _, at in mini_events()])
    assert shop.train(monkeypatch) == 2
    assert re.search(r"of [\d,]+ targets [\d,]+ were seen before", capsys.readouterr().err)
    assert not [*shop.path.rglob("*.ckpt")]


def test_full_disk_is_told_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    def fill_the_disk() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as write() tells it: without a file

    with pytest.raises(SystemExit) as ended:
        explain_errors(fill_the_disk)()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "No space left on device; make room where files are written" in said
    assert "resume=" in said


def test_words_that_the_locale_cannot_read_are_refused_with_the_locale(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    as_ascii = "runs=l\u00e4den".encode().decode(
        "ascii", "surrogateescape"
    )  # as LC_ALL=C PYTHONUTF8=0 has it
    assert run(monkeypatch, train.main, as_ascii) == 2
    said = capsys.readouterr().err
    assert "'runs=l\\xe4den' is not in the encoding of this locale" in said
    assert "LC_ALL=C.UTF-8" in said
