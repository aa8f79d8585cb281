"""Run folders: which one `latest` stands for, and how a command finds it."""

from pathlib import Path

import pytest

from marquee.data.config import DataConfig
from marquee.data.table_config import TableConfig
from tests.support.small_config import small_config
from training.runs.folders import LATEST_FILE, RunFolder


def open_run(runs: Path) -> RunFolder:
    return RunFolder.open(small_config(DataConfig(name="shop", events=TableConfig(path="e.csv")), str(runs)))


def test_latest_opens_as_the_folder_of_the_last_run(tmp_path: Path) -> None:
    open_run(tmp_path)
    second = open_run(tmp_path)
    latest = tmp_path / "shop" / LATEST_FILE
    assert (latest / "config.yaml").is_file()
    assert RunFolder.find(str(latest)).path == second.path


def test_latest_is_a_file_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    folder = open_run(tmp_path)
    latest = tmp_path / "shop" / LATEST_FILE
    assert latest.read_text(encoding="utf-8") == folder.path.name
    assert RunFolder.find(str(latest)).path == folder.path


def test_latest_of_earlier_versions_makes_way_for_a_link(tmp_path: Path) -> None:
    first = open_run(tmp_path)
    latest = tmp_path / "shop" / LATEST_FILE
    latest.unlink()
    latest.write_text(first.path.name + "\n", encoding="utf-8")
    assert RunFolder.find(str(latest)).path == first.path
    assert RunFolder.find(str(latest)) != open_run(tmp_path) == RunFolder.find(str(latest))
