"""The command `customers`: a table and a few lines become a report, traits, an audience and its changes."""

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from marquee.bundle.traits.pseudonyms import pseudonym
from tests.support.customers import CHURN, customer_table, run_command
from training.score.__main__ import main as score

KEY = "0123456789abcdef"
QUICK = CHURN.replace("type: probability", "type: probability, model: logistic")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder in which the command has run once."""
    folder = tmp_path_factory.mktemp("shop")
    customer_table().drop("chance").write_csv(folder / "customers.csv")
    with pytest.MonkeyPatch.context() as patch:
        assert run_command(patch, folder) == 0
    return folder


def latest(folder: Path) -> Path:
    """Returns the last run."""
    return (folder / "runs" / "churn" / "latest").resolve()


def test_fewer_than_fifteen_lines_are_enough() -> None:
    assert len(CHURN.splitlines()) < 15


def test_run_writes_report_traits_audience_and_changes(shop: Path) -> None:
    written = sorted(
        str(path.relative_to(latest(shop))) for path in latest(shop).rglob("*") if path.is_file()
    )
    assert written == [
        "audiences/keep.changes.jsonl",
        "audiences/keep.csv",
        "columns.yaml",
        "config.yaml",
        "customers.html",
        "customers.json",
        "customers.md",
        "manifest.json",
        "traits.parquet",
        "traits/leaves.json",
    ]


def test_probability_is_that_of_the_truth(shop: Path) -> None:
    said = pl.read_parquet(latest(shop) / "traits.parquet")["leaves"].to_numpy()
    truth = customer_table()["chance"].to_numpy()
    assert np.abs(said - truth).mean() < 0.06
    assert said.mean() == pytest.approx(truth.mean(), abs=0.02)


def test_members_are_those_whom_the_condition_names(shop: Path) -> None:
    traits = pl.read_parquet(latest(shop) / "traits.parquet")
    table = customer_table().rename({"customer": "user_id"}).join(traits, on="user_id")
    wanted = table.filter((pl.col("leaves") >= 0.4) & (pl.col("plan") == "monthly"))
    members = pl.read_csv(latest(shop) / "audiences" / "keep.csv")
    assert set(members["user_id"]) == set(wanted["user_id"])
    assert members["leaves"].is_sorted(descending=True)
    assert 0.1 < (members["group"] == "holdout").mean() < 0.3  # type: ignore[operator] # a share


def test_new_rows_are_scored_as_the_run_would(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = customer_table(50, seed=1)
    new.drop("chance", "left").write_csv(shop / "new.csv")
    given = [f"run={latest(shop)}", f"path={shop / 'new.csv'}"]
    monkeypatch.setattr(sys, "argv", ["score", *given])
    score()
    scored = pl.read_csv(shop / "new.csv.scores.csv")
    assert scored["user_id"].to_list() == new["customer"].to_list()
    assert np.abs(scored["leaves"].to_numpy() - new["chance"].to_numpy()).mean() < 0.08
    assert set(scored["leaves_reasons"][0].replace(",", "").split()) <= {
        sign + name for sign in "+-" for name in ("months", "fee", "plan")
    }


def test_new_rows_are_scored_of_those_who_agreed_and_under_their_pseudonyms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHOP_KEY", KEY)
    table = customer_table(800).drop("chance").with_columns(agreed=pl.lit("personal"))
    table.write_csv(tmp_path / "customers.csv")
    (tmp_path / "erased.txt").write_text("c00003\n", encoding="utf-8")
    more = "consent: agreed\nerased: erased.txt\npseudonyms: SHOP_KEY\n"
    assert run_command(monkeypatch, tmp_path, QUICK + more) in (0, 2)
    words = ["personal", "none", "", "personal", "segment", "personal"]
    table.head(6).with_columns(pl.Series("agreed", words)).write_csv(tmp_path / "new.csv")
    latest_run = tmp_path / "runs" / "churn" / "latest"
    monkeypatch.setattr(sys, "argv", ["score", f"run={latest_run}", f"path={tmp_path / 'new.csv'}"])
    score()
    scored = pl.read_csv(tmp_path / "new.csv.scores.csv")
    assert scored["user_id"].to_list() == [pseudonym(one, KEY.encode()) for one in ("c00000", "c00005")]
    said = capsys.readouterr().out
    assert "3 customers have not agreed to be scored: left out" in said
    assert "1 rows are of erased people: left out" in said


def test_second_run_of_the_same_table_changes_nothing(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = latest(shop)
    assert run_command(monkeypatch, shop) == 0
    second = latest(shop)
    assert second != first
    assert (second / "audiences" / "keep.changes.jsonl").read_text() == ""
    for name in ("traits.parquet", "traits/leaves.json", "audiences/keep.csv"):
        assert (second / name).read_bytes() == (first / name).read_bytes()


def test_report_says_what_it_found_in_three_forms(shop: Path) -> None:
    facts = json.loads((latest(shop) / "customers.json").read_text())
    assert facts["traits"]["leaves"]["n"] == 800
    assert facts["traits"]["leaves"]["judged"]["sources"][0]["metrics"]["auc"]["mean"] > 0.7
    for ending in ("html", "md"):
        said = (latest(shop) / f"customers.{ending}").read_text()
        assert "leaves: how far to believe it" in said
        assert "Odds ratios" in said
