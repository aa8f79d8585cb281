"""Bad input: every mistake is named with column, value, count, row, and what to do about it."""

from pathlib import Path
from typing import Any  # a config is plain YAML here

import numpy as np
import polars as pl
import pytest

from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError, DataError, MarqueeError
from marquee.marketing.config import AudienceConfig, CustomersConfig, Kind
from marquee.marketing.reading.customers import Customers, read_customers
from marquee.marketing.reading.transactions import clean_transactions
from marquee.marketing.running import CustomersResult, Previous, run_customers
from tests.support.customers import customer_table
from tests.support.purchases import purchases

TABLE = customer_table(400).drop("chance")
OUTCOME = {"type": "probability", "outcome": "left = 'yes'"}


def config(folder: Path, outcome: str = "left = 'yes'", **more: Any) -> CustomersConfig:
    """Returns the config of a table that stands in `folder`."""
    declared: dict[str, Any] = {
        "users": TableConfig(path="customers.csv", columns={"user_id": "customer"}),
        "traits": {"leaves": {"type": "probability", "outcome": outcome, "model": "logistic"}},
    }
    return CustomersConfig(name="churn", root=str(folder), **(declared | more))


def run(folder: Path, table: pl.DataFrame, outcome: str = "left = 'yes'", **more: Any) -> CustomersResult:
    """Returns a run over a table."""
    table.write_csv(folder / "customers.csv")
    return run_customers(config(folder, outcome, **more), Previous())


def read(folder: Path, text: str, **more: Any) -> Customers:
    """Returns the customers of a text."""
    (folder / "customers.csv").write_text(text, encoding="utf-8")
    return read_customers(config(folder, **more))


def refused(folder: Path, table: pl.DataFrame, outcome: str = "left = 'yes'") -> str:
    """Returns the words with which a table is refused."""
    with pytest.raises(MarqueeError) as caught:
        run(folder, table, outcome)
    return str(caught.value)


def with_value(column: str, row: int, value: str) -> pl.DataFrame:
    """Returns the table with another value in one row, counted from 0."""
    texts = TABLE[column].cast(pl.String).to_list()
    texts[row] = value
    return TABLE.with_columns(pl.Series(column, texts, dtype=pl.String))


def test_a_third_value_of_the_outcome_is_named(tmp_path: Path) -> None:
    said = refused(tmp_path, with_value("left", 4, "perhaps"))
    assert "left, which has 3 values" in said
    assert "'perhaps', stands first in row 5" in said
    assert "left IN" in said


def test_one_class_is_named(tmp_path: Path) -> None:
    said = refused(tmp_path, TABLE.filter(pl.col("left") == "no"))
    assert "is false in all" in said
    assert "both are needed to learn" in said


def test_an_outcome_that_is_empty_everywhere_is_named(tmp_path: Path) -> None:
    table = TABLE.with_columns(pl.lit(None, pl.String).alias("left"))
    assert "is empty in all 400 rows" in refused(tmp_path, table)


def test_thirty_rows_are_too_few(tmp_path: Path) -> None:
    said = refused(tmp_path, TABLE.head(30))
    assert "of 30 rows; 30 rows of each are needed" in said


def test_an_outcome_that_is_empty_is_scored_and_not_learned_from(tmp_path: Path) -> None:
    table = TABLE.with_columns(pl.when(pl.int_range(400) >= 50).then("left").alias("left"))
    result = run(tmp_path, table)
    judged = result.traits[0].judged
    assert (judged.n, judged.n_to_score) == (350, 50)
    assert result.rows["leaves"].null_count() == 0


def test_an_id_that_comes_twice_is_named(tmp_path: Path) -> None:
    said = refused(tmp_path, with_value("customer", 7, "c00002"))
    assert "'c00002' stands in 2 rows, the first are [3, 8]" in said
    assert "users.unique=true" in said


def test_a_text_among_numbers_is_named(tmp_path: Path) -> None:
    said = refused(tmp_path, with_value("fee", 9, "12,5O"))
    assert "column fee holds numbers but for 1 of 400 values, first '12,5O' in row 10" in said
    assert "columns: {fee: category}" in said


def test_blanks_in_numbers_are_missing(tmp_path: Path) -> None:
    result = run(tmp_path, with_value("fee", 9, "  "))
    assert result.customers.rows["fee"].null_count() == 1
    assert result.rows["leaves"].is_finite().all()


def test_decimal_commas_are_read_and_said(tmp_path: Path) -> None:
    fees = pl.Series("fee", [f"1.0{row % 100:02d},{row % 10}" for row in range(400)])
    customers = run(tmp_path, TABLE.with_columns(fees)).customers
    assert customers.rows["fee"][:3].to_list() == [1000.0, 1001.1, 1002.2]
    assert any("decimal commas" in note for note in customers.notes)


def test_a_semicolon_is_named(tmp_path: Path) -> None:
    TABLE.write_csv(tmp_path / "customers.csv", separator=";")
    with pytest.raises(DataError, match=r'customers\.users\.separator=";"'):
        read_customers(config(tmp_path, users=TableConfig(path="customers.csv")))


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    text = "\ufeff" + TABLE.write_csv()
    assert read(tmp_path, text).ids[0] == "c00000"


def test_a_workbook_that_is_called_csv_is_named(tmp_path: Path) -> None:
    (tmp_path / "customers.csv").write_bytes(b"PK\x03\x04 whatever follows")
    with pytest.raises(DataError, match="is a workbook or an archive"):
        read_customers(config(tmp_path))


def test_a_table_without_ids_counts_its_rows_and_says_so(tmp_path: Path) -> None:
    TABLE.drop("customer").write_csv(tmp_path / "customers.csv")
    customers = read_customers(config(tmp_path, users=TableConfig(path="customers.csv")))
    assert customers.ids[:2].to_list() == ["1", "2"]
    assert any("the number of the row is one" in note for note in customers.notes)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*customers\.csv"):
        read_customers(config(tmp_path))


def test_columns_that_teach_nothing_are_left_out_and_named(tmp_path: Path) -> None:
    table = TABLE.with_columns(
        pl.int_range(1, 401).alias("number"),
        pl.lit("x").alias("same"),
        pl.Series("remark", [f"customer {row} said it was too dear" for row in range(400)]),
        pl.Series("mail", [f"m{row}@example.org" for row in range(400)]),
        pl.lit("2024-01-01").alias("since"),
    )
    table = table.with_columns(pl.Series("since", ["2024-01-01", "2025-06-30"] * 200))
    left_out = run(tmp_path, table).customers.left_out
    assert left_out["number"].startswith("looks like an id")
    assert left_out["same"].startswith("is constant")
    assert left_out["remark"] == "is free text"
    assert left_out["mail"].startswith("looks like an id or a name")
    assert "needs as_of" in left_out["since"]


def test_dates_are_ages_at_a_day_and_later_ones_are_said(tmp_path: Path) -> None:
    table = TABLE.with_columns(pl.Series("since", ["2025-12-31", "2026-01-05"] * 200))
    customers = run(tmp_path, table, as_of="2026-01-01").customers
    assert customers.rows["since"][:2].to_list() == [1.0, -4.0]
    assert customers.kinds["since"] is Kind.date
    assert any("200 days of since lie behind as_of" in note for note in customers.notes)


def test_a_day_that_is_none_is_named(tmp_path: Path) -> None:
    days = ["2026-01-01"] * 399 + ["2026-13-01"]
    with pytest.raises(DataError, match=r"'2026-13-01' in row 400"):
        run(tmp_path, TABLE.with_columns(pl.Series("since", days)), as_of="2026-02-01")


def test_a_guess_can_be_corrected(tmp_path: Path) -> None:
    customers = run(tmp_path, TABLE, columns={"months": Kind.category, "plan": Kind.ignore}).customers
    assert customers.kinds["months"] is Kind.category
    assert customers.left_out["plan"] == "declared as ignore"
    with pytest.raises(DataError, match=r"columns names \['nothing'\]"):
        run(tmp_path, TABLE, columns={"nothing": Kind.number})


@pytest.mark.parametrize("column", ["known_after", "protected"])
def test_what_must_not_be_used_is_not(tmp_path: Path, column: str) -> None:
    more: dict[str, Any] = {column: ["fee"]}
    result = run(tmp_path, TABLE, **more)
    assert "fee" not in result.traits[0].judged.weights
    assert result.customers.left_out["fee"] in ("known after the outcome", "protected")


def test_protected_columns_slice_the_report_and_are_used_if_said(tmp_path: Path) -> None:
    judged = run(tmp_path, TABLE, protected=["plan"], use_protected=True).traits[0].judged
    assert "plan" in judged.weights
    assert [column.name for column in judged.judged.columns] == ["plan"]


def test_levels_that_are_rare_or_new_share_one_term(tmp_path: Path) -> None:
    towns = pl.Series("town", ["rome"] * 200 + ["oslo"] * 190 + [f"v{row}" for row in range(10)])
    fitted = run(tmp_path, TABLE.with_columns(towns)).traits[0].fitted
    assert fitted is not None
    (column,) = [column for column in fitted.columns if column.name == "town"]
    assert column.labels == ["rome", "oslo", "(other)"]
    row = {"months": 3, "fee": 50.0, "plan": "monthly", "town": "atlantis"}
    assert 0 < fitted.score_rows([row]).probability[0] < 1


@pytest.mark.parametrize(
    ("trait", "said"),
    [
        ({"type": "magic"}, "type must be one of"),
        ({"type": "probability", "outcom": "a"}, "did you mean 'outcome'"),
        ({"type": "probability"}, "outcome"),
        ({"type": "probability", "outcome": "left = 'yes'", "periods": "many"}, "periods"),
        ({"type": "probability", "outcome": "nothing within 60d"}, "no table of them"),
        ({"type": "probability", "outcome": "gone = 1"}, "no column or trait 'gone'"),
        ({"type": "probability", "outcome": "left = 'yes'", "margin": "plan"}, "must be a number"),
        ("probability", "type must be one of"),
    ],
)
def test_wrong_traits_are_named(tmp_path: Path, trait: object, said: str) -> None:
    with pytest.raises(MarqueeError, match=said):
        run(tmp_path, TABLE, traits={"leaves": trait})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"traits": {"a b": OUTCOME}}, "needs a name of letters"),
        ({"audiences": {"leaves": AudienceConfig()}}, "name a trait and an audience"),
        ({"as_of": "soon"}, "as_of must be a day"),
        ({"users": None}, "customers need a table"),
        ({"traits": {}}, "nothing to compute"),
    ],
)
def test_wrong_configs_are_named(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(tmp_path, **more)


def shop(folder: Path, table: pl.DataFrame, **more: Any) -> Customers:
    """Returns the customers of purchases."""
    table.write_csv(folder / "purchases.csv")
    declared = CustomersConfig(
        name="shop",
        root=str(folder),
        transactions=TableConfig(path="purchases.csv"),
        traits={"group": {"type": "segment"}},
        **more,
    )
    return read_customers(declared)


def test_returns_future_days_and_repeats_are_counted(tmp_path: Path) -> None:
    table = pl.concat(
        [
            purchases(90),
            pl.DataFrame(
                {
                    "user_id": ["u0000", "u0001", "u0002"],
                    "timestamp": ["2026-05-01", "2026-05-01", "2027-01-01"],
                    "value": [-5.0, 0.0, 9.0],
                }
            ),
            purchases(90).head(2),
        ]
    )
    found = shop(tmp_path, table, as_of="2026-12-01").transactions
    assert found is not None
    assert [(n, reason.split(";")[0]) for reason, n in found.left_out.items()] == [
        (1, "value is below 0: a return is no purchase"),
        (1, "timestamp lies behind as_of"),
    ]
    assert all("(the first: " in reason for reason in found.left_out)
    assert any("2 of" in note and "same day" in note for note in found.notes)


def test_a_year_that_is_typed_wrongly_is_said_where_it_moves_the_present() -> None:
    days = [20_000 + row for row in range(100)] + [30_000]
    rows = pl.DataFrame({"user_id": ["a"] * 101, "timestamp": [day * 86_400 for day in days]})
    (note,) = [one for one in clean_transactions(rows, None).notes if "behind all others" in one]
    assert note.startswith(
        "1 of 101 transactions lie more than 365 days behind all others, from 2052-02-20 on"
    )
    assert not any("behind all others" in one for one in clean_transactions(rows.head(100), None).notes)


def test_a_shop_of_one_time_buyers_is_said_to_be_one(tmp_path: Path) -> None:
    table = purchases(600).filter(
        (pl.col("user_id").str.slice(1).cast(pl.Int64) % 3 == 2) | pl.col("user_id").is_in(["u0000", "u0003"])
    )
    notes = shop(tmp_path, table).notes
    assert any("bought on one day alone" in note for note in notes)


def test_a_rule_learns_from_before_the_cutoff_alone(tmp_path: Path) -> None:
    table = purchases(600)
    table.write_csv(tmp_path / "purchases.csv")
    declared = CustomersConfig(
        name="shop",
        root=str(tmp_path),
        transactions=TableConfig(path="purchases.csv"),
        traits={
            "buys": {"type": "probability", "outcome": "conversion within 60d", "model": "logistic"},
            "gone": {"type": "probability", "outcome": "nothing within 60d", "model": "logistic"},
        },
    )
    buys, gone = run_customers(declared, Previous()).traits
    assert buys.judged.n == gone.judged.n
    assert buys.judged.n_true + gone.judged.n_true == buys.judged.n
    # Whoever comes every week comes again; who stopped half a year ago does not.
    assert buys.values is not None
    said = dict(buys.values.select("user_id", "buys").iter_rows())
    assert said["u0000"] > 0.9
    assert said["u0001"] < 0.3
    assert np.isfinite(list(said.values())).all()
