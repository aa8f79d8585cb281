"""Somebody's own table of three columns becomes answers over HTTP, by the very commands of the README."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from marquee.decision.recommender import Recommender
from marquee.decision.requests import HistoryEvent, Request
from tests.support.markdown import Block, blocks, commands
from tests.support.paths import ROOT
from tests.support.service_process import RunningService, running_service

SECTION = "Bring your own data"
ASKING = ("README.md", "docs/asking.md")
NOW = 1_750_000_000

# The table is small, the machine may be busy, and nothing here depends on how good the model is.
SMALL = (
    "trainer.threads=1",
    "trainer.epochs=6",
    "examples.batch_size=128",
    "negatives.n_uniform=40",
    "model.dim=32",
    "evaluation.baselines.als=false",
)

# What an answer says in words and counts must be as shown; ids and scores are those of another training.
SAID = {
    *("source", "kind", "requested", "returned", "short_reason", "unknown_history", "ignored_features"),
    *("code", "message", "field"),
}


@dataclass(frozen=True)
class Shop:
    """The results of the README's commands on a shop's table.

    Attributes:
        folder: Where they ran.
        printed: What each module printed.
    """

    folder: Path
    printed: dict[str, str]


def run(words: list[str], folder: Path) -> str:
    """Runs a command of the README in `folder`, where `python` is ours, and returns what it printed."""
    target = folder / words[-1] if words[-2] == ">" else None
    words = words[:-2] if target else words
    command = [sys.executable, *words[1:]] if words[0] == "python" else words
    if "training.train" in command:
        command = [*command, *SMALL]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    ran = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    if target:
        target.write_text(ran.stdout, encoding="utf8")
    return ran.stdout


def write_yaml(block: Block, folder: Path) -> None:
    """Writes a YAML of the README to the path that its first line names."""
    (folder / block.text.splitlines()[0].removeprefix("# ")).write_text(block.text, encoding="utf8")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The shop after all commands of the section but those that serve and ask."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "examples").symlink_to(ROOT / "examples")
    printed: dict[str, str] = {}
    for block in blocks("README.md", heading=SECTION):
        if block.language == "yaml":
            write_yaml(block, folder)
        if block.language == "sh":
            for words in commands(block):
                if words[0] in ("mkdir", "python"):
                    printed[words[2]] = run(words, folder)
    return Shop(folder, printed)


@pytest.fixture(scope="module")
def service(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    bundle = shop.folder / "bundles" / "my-shop"
    with running_service(bundle, tmp_path_factory.mktemp("service"), MARQUEE_WORKERS="1") as running:
        yield running


def asked() -> list[tuple[str, Any, Any]]:
    """Returns path and body of each request of the pages, and the answer that is shown for it, if one is."""
    exchanges: list[tuple[str, Any, Any]] = []
    for block in [block for page in ASKING for block in blocks(page)]:
        if block.language == "sh":
            for words in commands(block):
                if words[0] == "curl":
                    (url,) = [word for word in words if word.startswith("http://127.0.0.1:3000")]
                    path = url.removeprefix("http://127.0.0.1:3000")
                    exchanges.append((path, json.loads(words[words.index("-d") + 1]), None))
        if block.language == "json":
            exchanges[-1] = (*exchanges[-1][:2], json.loads(block.text))
    return exchanges


def assert_alike(shown: Any, got: Any) -> None:
    """Asserts that an answer has the form of the one that is shown, and says the same where it must."""
    assert type(shown) is type(got), (shown, got)
    if isinstance(shown, dict):
        assert shown.keys() == got.keys()
        for key, value in shown.items():
            assert_alike(value, got[key])
            assert key not in SAID or value == got[key]
    if isinstance(shown, list):
        assert len(shown) == len(got)
        for one, other in zip(shown, got, strict=True):
            assert_alike(one, other)


def test_yaml_of_three_columns_has_under_fifteen_lines() -> None:
    (block,) = blocks("README.md", "yaml", SECTION)
    assert len(block.text.splitlines()) < 15


def test_every_row_of_the_table_is_kept(shop: Shop) -> None:
    table = (shop.folder / "my-shop" / "purchases.csv").read_text(encoding="utf8")
    (excerpt,) = blocks("README.md", "csv", SECTION)
    assert table.startswith(excerpt.text)
    n_rows = len(table.splitlines()) - 1
    quality = shop.folder / "runs" / "my-shop" / "latest" / "quality.json"
    assert json.loads(quality.read_text(encoding="utf8"))["events"]["kept"] == n_rows
    assert f"{n_rows:,} kept + 0 rejected" in shop.printed["training.train"]


def test_training_ends_with_the_table_that_the_readme_shows(shop: Shop) -> None:
    printed = shop.printed["training.train"]
    (shown,) = [block.text for block in blocks("README.md", "text") if "full catalog" in block.text]
    header = next(line for line in shown.splitlines() if line.startswith("┃"))
    assert [column for column in header.split("┃") if column.strip() not in printed] == []
    report = printed.split("report ")[-1].strip()
    assert "<html" in (shop.folder / report).read_text(encoding="utf8")


def test_run_folder_holds_what_the_operator_s_page_lists(shop: Shop) -> None:
    (listed,) = blocks("docs/operating/runs.md", "text", "What a run leaves behind")
    entries = (shop.folder / "runs" / "my-shop").iterdir()
    (run_folder,) = (entry for entry in entries if entry.is_dir() and not entry.is_symlink())
    assert [entry.name for entry in run_folder.iterdir() if entry.name not in listed.text] == []
    assert (run_folder.parent / "latest" / "report.html").is_file()
    assert (run_folder.parent / "latest").resolve() == run_folder.resolve()


def test_visitor_who_looked_at_teas_is_shown_teas(shop: Shop) -> None:
    recommender = Recommender.load(shop.folder / "bundles" / "my-shop")
    looked_at = (HistoryEvent("tea-01"), HistoryEvent("tea-02"))
    (answer,) = recommender.recommend([Request(history=looked_at, k=3, timestamp=NOW)])
    assert answer.source == "history"
    assert [item.item_id[:4] for item in answer.items] == ["tea-"] * 3
    assert not {"tea-01", "tea-02"} & {item.item_id for item in answer.items}


@pytest.mark.server
@pytest.mark.parametrize(("path", "body", "shown"), asked(), ids=range(len(asked())))
def test_service_answers_as_the_readme_shows(
    service: RunningService, path: str, body: Any, shown: Any
) -> None:
    got = service.answer(path, body)
    assert got["request_id"]
    if shown is not None:
        assert_alike(shown, got)


def test_python_of_the_readme_answers_without_torch(shop: Shop) -> None:
    (block,) = blocks("README.md", "python", SECTION)
    code = f"{block.text}\nimport sys\nprint('torch loaded:', 'torch' in sys.modules)"
    printed = run(["python", "-c", code], shop.folder)
    assert re.fullmatch(r"personal \['\S+', '\S+', '\S+'\]\ntorch loaded: False\n", printed)


def test_client_of_the_readme_asks_the_service(shop: Shop, service: RunningService) -> None:
    (block,) = blocks("docs/asking.md", "python")
    code = block.text.replace("http://127.0.0.1:3000", service.url)
    printed = run(["python", "-c", code], shop.folder)
    assert re.fullmatch(r"history \['\S+', '\S+', '\S+'\]\n", printed)
