"""The commands `customers` and `score` on a shop: values, a sentiment that scores new texts, a forecast."""

import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from tests.support.shop_tables import TRAITS, TRANSACTIONS, write_feedback, write_purchases
from training.customers.__main__ import main as customers
from training.score.__main__ import main as score


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a run of the command on the shop."""
    folder = tmp_path_factory.mktemp("shop")
    write_purchases(folder)
    write_feedback(folder)
    declared = {"name": "shop", "root": str(folder), "transactions": TRANSACTIONS, "traits": TRAITS}
    declared["audiences"] = {"best": {"order": "worth", "top": 100}}
    (folder / "customers").mkdir()
    (folder / "customers" / "shop.yaml").write_text(yaml.safe_dump(declared), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys,
            "argv",
            ["customers", "--config-dir", str(folder), "customers=shop", f"out={folder / 'runs'}"],
        )
        customers()
    return (folder / "runs" / "shop" / "latest").resolve()


def score_with(monkeypatch: pytest.MonkeyPatch, run: Path, path: Path, *given: str) -> int:
    """Returns the exit status of the command."""
    monkeypatch.setattr(sys, "argv", ["score", f"run={run}", f"path={path}", *given])
    try:
        score()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_run_writes_values_and_the_sentiment(run: Path) -> None:
    traits = pl.read_parquet(run / "traits.parquet")
    assert {"user_id", "worth", "worth_purchases", "mood", "mood_texts"} <= set(traits.columns)
    assert "sales" not in traits.columns
    assert (run / "sentiments" / "mood.json").is_file()
    members = pl.read_csv(run / "audiences" / "best.csv")
    best = traits.sort("worth", descending=True, nulls_last=True).head(100)
    assert set(members["user_id"]) == set(best["user_id"])


def test_new_texts_are_scored_and_not_written_out(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new.csv"
    new.write_text(
        "who,comment\nu1,the parcel is great\nu2,the parcel is broken\n,unsigned\n" + "u3,fine\n" * 200,
        encoding="utf-8",
    )
    assert score_with(monkeypatch, run, new, "traits=mood") == 0
    scored = pl.read_csv(tmp_path / "new.csv.scores.csv")
    assert scored.columns == ["user_id", "mood"]
    good, bad = scored["mood"].to_list()[:2]
    assert good > 0.5 > bad
    assert "rejected" in capsys.readouterr().out


def test_new_customers_are_scored_by_a_value_and_refused_by_a_forecast(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new.csv"
    columns = "user_id,orders,recency_days,tenure_days,repeat_value"
    new.write_text(f"{columns}\nu1,5,3,200,40\nu2,1,200,200,\n", encoding="utf-8")
    assert score_with(monkeypatch, run, new, "traits=worth") == 0
    scored = pl.read_csv(tmp_path / "new.csv.scores.csv")
    assert scored.columns == ["user_id", "worth", "worth_purchases"]
    often, once = scored["worth"].to_list()
    assert often > once > 0
    assert score_with(monkeypatch, run, new, "traits=sales") != 0
    assert "sales cannot score: it forecasts the sales of the shop" in capsys.readouterr().err.replace(
        "\n", " "
    )


def test_sentiment_without_its_column_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new.csv"
    new.write_text("who,words\nu1,great\n", encoding="utf-8")
    assert score_with(monkeypatch, run, new, "traits=mood") != 0
    assert "comment" in capsys.readouterr().err
