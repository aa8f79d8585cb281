"""Leaks are refused; consent, erasure, pseudonyms and small cells keep people to themselves."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marquee.data.table_config import TableConfig
from marquee.errors import DataError
from marquee.marketing.cells import MIN_CELL, suppressed
from marquee.marketing.config import AudienceConfig, CustomersConfig
from marquee.marketing.running import CustomersResult, Previous, run_customers
from marquee.marketing.segments.trait import JudgedSegments, SegmentRow
from marquee.marketing.traits import TraitResult
from marquee.reports.customers.page import customers_page
from marquee.reports.customers.parts import count_text
from marquee.reports.customers.segments import segments_part
from marquee.reports.evidence.page import render_page_markdown
from tests.support.customers import CHURN, customer_table, run_command

TABLE = customer_table(600).drop("chance")
# One model in place of two: the choice between them is tested elsewhere.
QUICK = CHURN.replace("type: probability", "type: probability, model: logistic")
TRAIT = {"type": "probability", "outcome": "left = 'yes'", "model": "logistic"}


def run(folder: Path, table: pl.DataFrame, key: bytes = b"", **more: object) -> CustomersResult:
    """Returns a run over a table."""
    table.write_csv(folder / "customers.csv")
    declared: dict[str, object] = {
        "traits": {"leaves": TRAIT},
        "users": TableConfig(path="customers.csv", columns={"user_id": "customer"}),
    }
    config = CustomersConfig(
        name="churn",
        root=str(folder),
        **(declared | more),  # type: ignore[arg-type] # as YAML
    )
    return run_customers(config, Previous(), key)


def leaky() -> pl.DataFrame:
    """Returns the table with a column that was filled when a customer left."""
    rng = np.random.default_rng(0)
    left = (TABLE["left"] == "yes").to_numpy()
    return TABLE.with_columns(pl.Series("refund", np.where(left, rng.gamma(3, 10, 600), 0.0).round(2)))


def test_a_column_that_tells_the_outcome_is_named_and_refused(tmp_path: Path) -> None:
    (trait,) = run(tmp_path, leaky()).traits
    (leak,) = trait.judged.leaks
    assert (leak.column, leak.is_accepted) == ("refund", False)
    assert leak.auc > 0.99 > leak.auc_without > 0.65
    assert "known_after" in trait.refused
    assert "Was it known before the outcome?" in " ".join(trait.cautions)


def test_a_leak_that_is_declared_is_used_or_left_out(tmp_path: Path) -> None:
    (used,) = run(tmp_path, leaky(), traits={"leaves": TRAIT | {"known_before": ["refund"]}}).traits
    assert used.refused == ""
    assert used.judged.leaks[0].is_accepted
    (left_out,) = run(tmp_path, leaky(), known_after=["refund"]).traits
    assert (left_out.refused, left_out.judged.leaks) == ("", ())


def test_a_refused_trait_ends_with_status_2_and_writes_no_audience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaky().write_csv(tmp_path / "customers.csv")
    assert run_command(monkeypatch, tmp_path, QUICK) == 2
    latest = tmp_path / "runs" / "churn" / "latest"
    assert list((latest / "audiences").glob("*.csv")) == []
    assert list((latest / "traits").iterdir()) == []
    assert pl.read_parquet(latest / "traits.parquet").columns == ["user_id"]
    assert json.loads((latest / "customers.json").read_text())["traits"]["leaves"]["refused"]


def test_rows_in_an_order_are_named_and_the_last_fifth_judged(tmp_path: Path) -> None:
    (trait,) = run(tmp_path, TABLE.sort("left")).traits
    assert trait.judged.ordered.p < 1e-6
    assert "Rows look ordered" in " ".join(trait.cautions)
    assert run(tmp_path, TABLE).traits[0].judged.ordered is None


def test_rows_that_say_their_time_are_audited_by_it(tmp_path: Path) -> None:
    # In the file the outcomes are mixed, in time all leavers come last.
    is_late = pl.col("left") == "yes"
    late = TABLE.with_columns(pl.when(is_late).then(1_700_000_000).otherwise(1_600_000_000).alias("made"))
    users = TableConfig(path="customers.csv", columns={"user_id": "customer", "timestamp": "made"})
    (trait,) = run(tmp_path, late, users=users).traits
    assert trait.judged.ordered is not None
    assert "timestamp" not in trait.judged.weights


CONSENT = pl.Series("agreed", (["personal"] * 3 + ["segment", "none", None]) * 100)


def test_consent_decides_who_is_learned_from_scored_and_grouped(tmp_path: Path) -> None:
    traits = {"leaves": TRAIT, "group": {"type": "segment", "by": "clusters", "k": 2, "min_size": 20}}
    result = run(tmp_path, TABLE.with_columns(CONSENT), consent="agreed", traits=traits)
    assert result.traits[0].judged.n == 300
    assert result.rows.height == 400
    assert result.rows["leaves"].count() == 300
    assert result.rows["group"].count() == 400
    assert result.customers.n_without_consent == 200
    assert "agreed" not in result.customers.kinds


def test_who_agreed_to_be_grouped_is_a_member_only_where_groups_decide(tmp_path: Path) -> None:
    traits = {"leaves": TRAIT, "group": {"type": "segment", "by": "clusters", "k": 2, "min_size": 20}}
    audiences = {
        "grouped": AudienceConfig(where="group IS NOT NULL"),
        "young": AudienceConfig(where="months >= 0"),
        "likely": AudienceConfig(where="leaves >= 0 AND group IS NOT NULL"),
    }
    table = TABLE.with_columns(CONSENT)
    result = run(tmp_path, table, consent="agreed", traits=traits, audiences=audiences)
    assert [audience.members.height for audience in result.audiences] == [400, 300, 300]


def test_a_list_that_was_refused_once_is_compared_with_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    TABLE.write_csv(tmp_path / "customers.csv")
    latest = tmp_path / "runs" / "churn" / "latest" / "audiences"
    assert run_command(monkeypatch, tmp_path, QUICK) == 0
    assert run_command(monkeypatch, tmp_path, QUICK.replace("leaves >= 0.4", "leaves >= 2")) == 2
    assert not (latest / "keep.csv").exists()
    assert (latest / "keep.changes.jsonl").read_text() == ""
    assert run_command(monkeypatch, tmp_path, QUICK) == 0
    assert (latest / "keep.csv").exists()
    assert (latest / "keep.changes.jsonl").read_text() == ""


def test_a_word_that_is_no_consent_is_named(tmp_path: Path) -> None:
    table = TABLE.with_columns(pl.Series("agreed", ["yes"] + ["personal"] * 599))
    with pytest.raises(DataError, match=r"got 'yes' in row 1 and 1 such values"):
        run(tmp_path, table, consent="agreed")


def test_erased_people_vanish_and_stand_among_the_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    TABLE.write_csv(tmp_path / "customers.csv")
    assert run_command(monkeypatch, tmp_path, QUICK) == 0
    latest = tmp_path / "runs" / "churn" / "latest"
    gone = pl.read_csv(latest / "audiences" / "keep.csv")["user_id"][0]
    (tmp_path / "erased.txt").write_text(f"{gone}\n")
    assert run_command(monkeypatch, tmp_path, QUICK + "erased: erased.txt\n") == 0
    changes = (latest / "audiences" / "keep.changes.jsonl").read_text().splitlines()
    removed = [json.loads(line) for line in changes if '"removed"' in line]
    assert gone in [one["user_id"] for one in removed]
    for path in latest.resolve().rglob("*"):
        if path.is_file() and path.name != "keep.changes.jsonl":
            assert gone.encode() not in path.read_bytes(), path


def test_pseudonyms_leave_no_plain_id_and_stay_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    TABLE.write_csv(tmp_path / "customers.csv")
    assert run_command(monkeypatch, tmp_path, QUICK + "pseudonyms: SHOP_KEY\n") == 2
    assert "SHOP_KEY" in capsys.readouterr().err
    monkeypatch.setenv("SHOP_KEY", "0123456789abcdef")
    for _ in range(2):
        assert run_command(monkeypatch, tmp_path, QUICK + "pseudonyms: SHOP_KEY\n") == 0
    latest = (tmp_path / "runs" / "churn" / "latest").resolve()
    assert (latest / "audiences" / "keep.changes.jsonl").read_text() == ""
    for path in latest.rglob("*"):
        assert not path.is_file() or b"c0000" not in path.read_bytes(), path


@given(st.lists(st.integers(0, 300), min_size=1, max_size=8))
def test_no_hidden_cell_can_be_had_by_subtraction(counts: list[int]) -> None:
    hidden = suppressed(counts)
    under = [count for count, is_hidden in zip(counts, hidden, strict=True) if is_hidden]
    assert all(is_hidden for count, is_hidden in zip(counts, hidden, strict=True) if 0 < count < MIN_CELL)
    # All that can be computed is their sum: of several, unless everything is hidden.
    if under and any(count and not is_hidden for count, is_hidden in zip(counts, hidden, strict=True)):
        assert len(under) > 1
        assert sum(under) >= MIN_CELL


def test_report_shows_no_count_of_few_people_and_no_free_text(tmp_path: Path) -> None:
    table = TABLE.with_columns(
        pl.Series("shirt", ["red"] * 560 + ["blue"] * 40),
        pl.Series("region", ["north", "south"] * 300),
        pl.Series("remark", [f"I, customer {row}, am quite unhappy" for row in range(600)]),
    )
    audiences = {"few": AudienceConfig(where="leaves > 0.82"), "most": AudienceConfig(where="fee > 50")}
    result = run(tmp_path, table, protected=["shirt", "region"], audiences=audiences)
    said = render_page_markdown(customers_page("churn", result))
    assert count_text(result.audiences[0].members.height) == "< 50"
    assert "| few | < 50 |" in said
    assert "quite unhappy" not in said
    assert "| blue | 40 |" not in said
    assert "| blue | suppressed | suppressed | suppressed |" in said
    assert "| red | 560 |" not in said  # or the other would be the rest
    assert "| red | suppressed | suppressed | suppressed |" in said
    assert "most by shirt: not shown: blue (fewer than 50 people), red (the others would tell" in said
    assert "few by" not in said  # below its floor
    n = table.filter((pl.col("fee") > 50) & (pl.col("region") == "north")).height
    assert f"| north | 300 | {n} | {n / 300:.1%} (" in said
    gaps = customers_page("churn", result).facts["audiences"]["most"]["gaps"][1]
    assert gaps["groups"][0]["members"] == n
    assert gaps["largest"]["finding"] == "cannot tell"


def test_members_less_those_spoken_to_tell_no_small_number(tmp_path: Path) -> None:
    audiences = {"all": AudienceConfig(where="months > 0", holdout=0.05)}
    result = run(tmp_path, TABLE, audiences=audiences)
    assert 0 < (result.audiences[0].members["group"] == "holdout").sum() < MIN_CELL
    assert "| all | 600 | suppressed | < 50 |" in render_page_markdown(customers_page("churn", result))


def moved(n_stayed: int, n_moved: int) -> tuple[str, float | None]:
    """Returns sentence and share of the report on segments between which people moved."""
    rows = tuple(SegmentRow(name, 300, 0.5, None, None, (), (0.0, 0.0)) for name in ("a", "b"))
    n = n_stayed + n_moved
    judged = JudgedSegments("rfm", rows, {}, 2, {("a", "b"): n_moved}, n_stayed, n)
    part = segments_part(TraitResult("group", "segment", "", None, judged))
    return part.sections[1].texts[0], part.facts["share_stayed"]


def test_share_that_stayed_tells_no_few_who_moved() -> None:
    assert moved(540, 60) == ("Since the last run 90.0% of those known to both stayed.", 0.9)
    said, stayed = moved(597, 3)
    assert "99.5%" not in said
    assert stayed is None


def test_vectors_of_plain_ids_belong_to_pseudonyms(tmp_path: Path) -> None:
    towards = [[1.0, 0.1 * (row % 3)] if row % 2 else [0.1 * (row % 3), 1.0] for row in range(600)]
    vectors = pl.DataFrame({"user_id": TABLE["customer"], "vector": towards})
    vectors.write_parquet(tmp_path / "vectors.parquet")
    group = {"type": "segment", "by": "clusters", "vectors": "vectors.parquet", "k": 2, "min_size": 20}
    result = run(tmp_path, TABLE, b"0123456789abcdef", traits={"group": group})
    assert result.rows["group"].count() == 600


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_fewer_different_customers_than_clusters_are_grouped_all_the_same(tmp_path: Path) -> None:
    table = TABLE.select("customer", "left", plan=pl.col("plan") == "monthly")
    group = {"type": "segment", "by": "clusters", "columns": ["plan"], "k": 3, "min_size": 20}
    result = run(tmp_path, table, traits={"group": group})
    assert result.rows["group"].n_unique() == 2
