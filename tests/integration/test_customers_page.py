"""The page on customers: its commands run on its own tables, and its YAML is that of the example."""

import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from tests.support.markdown import blocks, commands
from tests.support.paths import ROOT
from training.customers.__main__ import main as customers
from training.score.__main__ import main as score

PAGE = "docs/customers.md"
SHOP = ROOT / "examples" / "my-shop"


@pytest.mark.slow
def test_commands_of_the_page_run_in_their_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    # The commands are typed in the repository; what they write must not stay there.
    monkeypatch.chdir(tmp_path)
    mains = {"training.customers": customers, "training.score": score}
    ran = []
    for words in commands(blocks(PAGE, "sh", "First run")[0]):
        monkeypatch.setattr(sys, "argv", words[2:])
        mains[words[2]]()
        ran.append(words[2])
    assert ran == ["training.customers", "training.customers", "training.score"]
    runs = tmp_path / "runs" / "customers"
    for name, trait in (("churn", "leaves"), ("shop", "worth")):
        assert pl.read_parquet(runs / name / "latest" / "traits.parquet")[trait].is_not_null().any()
        assert (runs / name / "latest" / "customers.html").is_file()
    assert len(pl.read_csv(runs / "churn" / "latest" / "audiences" / "keep.csv")) >= 100
    assert len(pl.read_csv(tmp_path / "runs" / "new.csv")) == 900


def test_declarations_of_the_page_are_those_of_the_example() -> None:
    churn, *parts = [yaml.safe_load(block.text) for block in blocks(PAGE, "yaml")]
    assert churn == yaml.safe_load((SHOP / "customers" / "churn.yaml").read_text(encoding="utf-8"))
    shop = yaml.safe_load((SHOP / "customers" / "shop.yaml").read_text(encoding="utf-8"))
    declared = {
        name: trait for part in parts for name, trait in part["traits"].items() if name in shop["traits"]
    }
    assert declared == {name: shop["traits"][name] for name in ("worth", "mood", "sales")}
    assert parts[0]["transactions"] == shop["transactions"]
    assert len((SHOP / "customers" / "churn.yaml").read_text(encoding="utf-8").splitlines()) < 15
