"""The pages of documentation are true: commands, configs, tables, links and excerpts.

The commands on one's own data, the requests and their answers run in `test_own_csv`; the demo runs in
`test_demo`. Here stands the rest.
"""

import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console

from demo.questions import Question
from demo.screen import show_answer
from examples.shop import purchases
from marquee.client import RecommendAnswer, Recommendation
from marquee.core.catalog import ItemKind
from marquee.core.event_kinds import EventKind
from marquee.core.reasons import Reason
from marquee.core.schema import EVENTS, ITEMS
from marquee.data.config import DataConfig
from marquee.data.dataset import Dataset
from marquee.data.reading.tables import read_tables
from marquee.data.splits import SplitMethod, split_events
from marquee.data.table_config import TableFormat
from marquee.decision.requests import Source
from marquee.features import FeatureType
from marquee_cli.commands import COMMANDS
from serving.api.routes import ROUTES
from serving.config import Settings
from serving.http.errors import Problem
from tests.support.bundles import publish_tiny
from tests.support.markdown import LINK, PAGES, Block, blocks, commands, read_page, table_column
from tests.support.paths import ROOT
from training.choices import SCHEMAS

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf8")
TARGETS = set(re.findall(r"^([a-z]+):.*## ", MAKEFILE, flags=re.MULTILINE))
VARIABLES = set(re.findall(r"^([A-Z]+) \?=", MAKEFILE, flags=re.MULTILINE)) | {"ARGS"}
HYDRA_COMMANDS = {
    f"training.{name}": name
    for name in (
        "train",
        "tune",
        "evaluate",
        "backtest",
        "learning_curve",
        "export",
        "publish",
        "make_key",
        "download",
        "simulate",
    )
}
TOOLS = {"eval", "source", "mkdir", "ls", "tensorboard", "bentoml", "python3.11", ".venv/bin/pip", "curl"} | {
    *("docker", "kubectl", "systemctl", "umask", "head"),
}
ENVIRONMENT = {f"MARQUEE_{field.name.upper()}": field.default for field in fields(Settings)}


def all_commands() -> list[list[str]]:
    return [words for page in PAGES for block in blocks(page, "sh") for words in commands(block)]


def without_environment(words: list[str]) -> list[str]:
    """Returns a command without the variables set before it, after asserting that each of them is read."""
    while re.match(r"[A-Z_]+=", words[0]):
        assert words[0].partition("=")[0] in {*ENVIRONMENT, "MARQUEE_DATA"}, words
        words = words[1:]
    return words


def modules_named(page: str) -> set[str]:
    """Returns every module of ours that a page names in code, alone or behind `python -m`."""
    return set(
        re.findall(r"[`\s]((?:marquee|training|serving|demo)(?:\.[a-z_0-9]+)+)[`\s:]", read_page(page))
    )


@pytest.mark.parametrize("words", all_commands(), ids=" ".join)
def test_command_is_one_that_there_is(words: list[str]) -> None:
    program, *arguments = without_environment(words)
    if program == "make":
        assert arguments[0] in TARGETS
        assert {argument.partition("=")[0] for argument in arguments[1:]} <= VARIABLES
    elif program == "marquee":
        assert arguments[0] in COMMANDS
    elif program == "python" and arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1]), arguments[1]
    elif program == "python":
        assert arguments[0] == "-c" or (ROOT / arguments[0]).is_file()
    else:
        assert program in TOOLS


@pytest.mark.parametrize(
    "words", [words for words in all_commands() if HYDRA_COMMANDS.keys() & set(words)], ids=" ".join
)
def test_settings_of_a_command_compose(words: list[str], tmp_path: Path) -> None:
    (module,) = HYDRA_COMMANDS.keys() & set(words)
    # Makes its schema known to Hydra.
    if hasattr(importlib.import_module(module), "__path__"):
        importlib.import_module(f"{module}.__main__")
    arguments = without_environment(words)[3:]
    overrides = [argument for argument in arguments if re.match(r"[a-z_.]+=", argument)]
    if "--multirun" in arguments:
        overrides = [override.partition(",")[0] for override in overrides]
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    for block in blocks("README.md", "yaml") if "--config-dir" in arguments else []:
        (tmp_path / "configs" / "data" / "my-shop.yaml").write_text(block.text, encoding="utf8")
    with initialize_config_dir(str(tmp_path / "configs"), version_base="1.3"):
        config = compose(HYDRA_COMMANDS[module], overrides)
    for override in overrides:
        key, _, value = override.partition("=")
        found = OmegaConf.select(config, key)
        is_group = key in {*SCHEMAS, "data", "search", "ope"}
        assert is_group or str(found) == value or found == yaml.safe_load(value)


@pytest.mark.parametrize("module", sorted(set().union(*map(modules_named, PAGES))))
def test_module_is_where_a_page_says(module: str) -> None:
    assert importlib.util.find_spec(module.removesuffix(".service:MarqueeService"))


def test_every_operating_page_is_in_their_index() -> None:
    linked = {f"docs/{match['target']}" for match in LINK.finditer(read_page("docs/operating.md"))}
    assert [page for page in PAGES if page.startswith("docs/operating/") and page not in linked] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    targets = [match["target"] for match in LINK.finditer(read_page(page))]
    local = [target for target in targets if not target.startswith("https://")]
    assert local
    files = [target.partition("#")[0] for target in local]  # nothing before the #: a place on the same page
    assert [file for file in files if file and not (ROOT / page).parent.joinpath(file).exists()] == []


def test_figure_says_what_the_house_is_made_of() -> None:
    shown = " ".join(ElementTree.parse(ROOT / "docs" / "circle.svg").getroot().itertext())
    assert all(noun in shown for noun in ("events", "training", "bundle", "report", "recommender", "service"))
    assert "prefers-color-scheme: dark" in shown


def test_house_has_the_rooms_that_its_page_lists() -> None:
    rooms, _ = (block.text for block in blocks("docs/architecture.md", "text"))
    listed, parent = set[str](), ""
    for line in rooms.splitlines():
        name = line.split()[0].rstrip("/")
        parent = parent if line.startswith(" ") else name
        listed.add(name if parent == name else f"{parent}/{name}")
    assert len(listed) > 25
    assert [name for name in listed if not list(ROOT.glob(f"{name}*"))] == []
    rooms_there = {str(path.parent.relative_to(ROOT)) for path in ROOT.glob("src/marquee/*/__init__.py")}
    assert rooms_there <= listed


def test_every_place_of_the_page_where_to_put_it_exists() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    (table, *_) = page.partition("## Where to put it")[2].partition("One change of each")
    places = re.findall(
        r"`((?:src|serving|training|configs|docs|tests|marquee_cli|benchmarks)/[^`]*)`", table
    )
    # `configs/loss/<name>.yaml` stands for a file that is yet to be: its folder must be there.
    there = [place.partition("<")[0] for place in places]
    assert len(there) > 30
    assert [place for place in there if not (ROOT / place).exists()] == []


def test_going_back_makes_an_older_bundle_the_current_one(tmp_path: Path) -> None:
    older, newer = publish_tiny(tmp_path, seed=1), publish_tiny(tmp_path, seed=2)
    current = tmp_path / "tiny" / "CURRENT"
    assert current.read_text(encoding="utf8").strip() == newer.name
    page = [words for block in blocks("docs/operating/releases.md", "sh") for words in commands(block)]
    (words,) = (words for words in page if words[-1] == "back=served/world")
    subprocess.run([sys.executable, *words[1:-1], f"back={tmp_path / 'tiny'}"], cwd=ROOT, check=True)
    assert current.read_text(encoding="utf8").strip() == older.name


def test_table_of_commands_names_what_a_person_types_most() -> None:
    named = table_column("docs/commands.md", "Commands", "Command")
    assert {name.removeprefix("make ") for name in named if name.startswith("make")} <= TARGETS
    modules = {name.removeprefix("python -m ") for name in named if name.startswith("python")}
    of_training = {one.module for one in COMMANDS.values() if one.module.startswith("training.")}
    assert modules == {*of_training, "serving.mirror", "serving.register"}


def test_table_of_paths_is_that_of_the_service() -> None:
    named = table_column("docs/asking.md", "The service by example", "Path")
    assert {name.split()[1] for name in named} == {route.path for route in ROUTES}


def test_page_on_asking_names_every_source_of_an_answer() -> None:
    section = read_page("docs/asking.md")
    assert all(f"`{source}`" in section for source in Source)


def test_table_of_settings_is_that_of_the_service() -> None:
    rows = re.findall(
        r"^\| `(MARQUEE_\w+)` \| (\w*) ?\|", read_page("docs/operating/running.md"), re.MULTILINE
    )
    switches = {name: int(default) for name, default in ENVIRONMENT.items() if isinstance(default, bool)}
    assert dict(rows) == {name: str(default) for name, default in {**ENVIRONMENT, **switches}.items()}


def test_table_of_statuses_is_that_of_the_service() -> None:
    rows = re.findall(
        r"^\| (\d{3}) \| `(\w+)` \| (.*) \|$", read_page("docs/operating/requests.md"), re.MULTILINE
    )
    assert rows == [(str(one.status), one.name, one.description) for one in Problem]


@pytest.mark.parametrize(
    ("heading", "first", "expected"),
    [
        ("What is wrong is counted", "Reason", list(Reason)),
        ("Time and the split", "Method", list(SplitMethod)),
        ("Features", "Type", list(FeatureType)),
        ("Tables and their columns", "Events", [column.name for column in EVENTS.columns]),
        ("Tables and their columns", "Items", [column.name for column in ITEMS.columns]),
        ("Published data sets", "Name", [path.stem for path in (ROOT / "configs" / "data").glob("*.yaml")]),
    ],
    ids=["reasons", "splits", "features", "events", "items", "data sets"],
)
def test_table_names_all_that_there_is(heading: str, first: str, expected: list[str]) -> None:
    assert sorted(table_column("docs/data.md", heading, first)) == sorted(map(str, expected))


def test_kinds_and_formats_are_named() -> None:
    page = read_page("docs/data.md")
    assert all(kind.value in page for kind in EventKind)
    for word in ("Parquet", "CSV", "JSON lines", "adjacency", "Excel"):
        assert word in page
    assert len(TableFormat) - 1 == 5  # auto is no format of its own


def resolved(block: Block) -> DataConfig:
    """Returns a YAML of the documentation, which may be a part of one, as the real config."""
    schema = OmegaConf.structured(DataConfig)
    whole = OmegaConf.create({"name": "part", "events": {}})
    snippet = OmegaConf.create(block.text)
    if "events" not in snippet:
        whole.events.path = "events.csv"
    config = OmegaConf.to_object(OmegaConf.merge(schema, whole, snippet))
    assert isinstance(config, DataConfig)
    return config


@pytest.mark.parametrize("block", [*blocks("README.md", "yaml"), *blocks("docs/data.md", "yaml")], ids=str)
def test_yaml_is_a_valid_config(block: Block) -> None:
    config = resolved(block)
    declared = OmegaConf.create(block.text)
    assert {str(key) for key in declared} <= {field.name for field in fields(config)}


def write_shop(folder: Path) -> None:
    """Writes the tables that the complete example of docs/data.md describes."""
    (folder / "events").mkdir(parents=True)
    actions = ("look", "buy", "buy", "look")
    for month in ("01", "02"):
        rows = [
            f"{who},{article},2025-{month}-{day:02d}T10:00:00Z,{actions[day % 4]},{amount},2.5,phone"
            for day, (who, article, amount) in enumerate(
                [("ada", "tea-1", 1), ("bob", "Tea-1", 2), ("ada", "cup-1", -1), ("staff", "cup-1", 1)] * 5, 1
            )
        ]
        text = "\n".join(["customer,article,at,action,amount,price,device", *rows])
        (folder / "events" / f"{month}.csv").write_text(text, encoding="utf8")
    items = pl.DataFrame({"sku": ["tea-1", "cup-1", "new-1"], "sponsored": [False, True, False]})
    items.with_columns(
        *(pl.lit(None, pl.Int64).alias(name) for name in ("listed_at", "delisted_at")),
        department=pl.lit("kitchen"),
        labels=pl.Series([["green"], [], None], dtype=pl.List(pl.String)),
        title=pl.lit("A thing"),
        price=pl.Series([2.5, 4.0, None]),
    ).write_parquet(folder / "articles.parquet")
    users = '{"customer": "ada", "country": "NL", "age": 36}\n{"customer": "bob", "country": "PT"}\n'
    (folder / "customers.jsonl").write_text(users, encoding="utf8")


def test_complete_example_reads_the_tables_that_it_describes(tmp_path: Path) -> None:
    (block,) = blocks("docs/data.md", "yaml", "A complete example")
    config = resolved(block)
    config.root = str(tmp_path / "my-shop")
    write_shop(tmp_path / "my-shop")
    tables = read_tables(config)
    assert tables.quality.events.excluded == {"return": 10, "staff": 10}
    assert tables.quality.events.kept == 20
    dataset = Dataset.prepare(tables, split_events(tables.events, config.split, config.time), config)
    assert dataset.item_ids.ids == ("TEA-1", "CUP-1", "NEW-1")
    assert dataset.items["kind"].to_list() == ["content", "ad", "content"]
    assert dataset.train_context is not None


def test_csv_of_the_readme_is_what_the_example_writes() -> None:
    (block,) = blocks("README.md", "csv")
    shown = [tuple(line.split(",")) for line in block.text.splitlines()[1:]]
    assert shown == purchases()[: len(shown)]


def shown_answer() -> tuple[str, list[list[str]]]:
    """Returns the demo's answer in the README, and the cells of its table."""
    (text,) = [block.text for block in blocks("README.md", "text") if block.text.startswith("content for")]
    return text, [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in text.splitlines()
        if line.startswith("│")
    ]


def rendered(lines: str) -> Iterator[str]:
    """Yields the lines of a text without blanks at their ends, and without empty ones."""
    yield from (line.rstrip() for line in lines.splitlines() if line.strip())


def test_excerpt_of_the_demo_is_what_the_demo_shows() -> None:
    text, cells = shown_answer()
    items = tuple(
        Recommendation(item_id=item_id, score=float(score), kind=kind) for _, item_id, _, kind, score in cells
    )
    titles = {item_id: title for _, item_id, title, _, _ in cells}
    recent = text.partition("latest items are ")[2].partition("┏")[0].replace("\n", " ")
    question = Question(
        who="an anonymous history",
        kind=ItemKind.content,
        k=5,
        recent=tuple(title.strip() for title in recent.split(" · ")),
    )
    latency_ms = float(text.split()[-2])
    console = Console(file=StringIO(), width=80, record=True)
    answer = RecommendAnswer(
        request_id="", version="", source=Source.history, items=items, requested=5, returned=len(items)
    )
    show_answer(console, question, answer, latency_ms, titles, [])
    assert list(rendered(console.export_text())) == list(rendered(text))
