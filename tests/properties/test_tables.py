"""Whatever a file holds: each row is kept or rejected as a loop over the rows would have it."""

import csv
import math
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marquee.data.reading.tables import DataConfig, TableConfig, Tables, read_tables
from marquee.errors import DataError

NAMES = ["event_id", "user_id", "item_id", "timestamp", "kind", "value", "propensity"]
KINDS = ["exposure", "view", "click", "conversion", "rating", "feedback"]
CELLS = {
    "event_id": st.sampled_from(["a", "b", "c", "d", "e", ""]),
    "user_id": st.sampled_from(["u", "v,w", 'quo"te', "é", ""]),
    "item_id": st.sampled_from(["i", "j", "new\nline", ""]),
    "timestamp": st.sampled_from(["5", "50", "500", "6.0", "soon", "1970-01-01 00:00:30", ""]),
    "kind": st.sampled_from([*KINDS, "VIEW", ""]),
    "value": st.sampled_from(["", "1.5", "-2", "inf", "nan", "much"]),
    "propensity": st.sampled_from(["", "0.5", "1", "0", "1.01", "nan", "x"]),
}
ROWS = st.lists(st.tuples(*CELLS.values()), min_size=1, max_size=25)


def number_of(text: str) -> float | None:
    """Returns the number in a cell, None if it is empty; raises ValueError if it is none."""
    return float(text) if text else None


def time_of(text: str) -> int | None:
    return 30 if text.startswith("1970") else None if not text else math.floor(float(text))


def oracle(row: dict[str, str]) -> str | None:
    """Returns why a row by itself is rejected."""
    try:
        time, value, propensity = (
            time_of(row["timestamp"]),
            number_of(row["value"]),
            number_of(row["propensity"]),
        )
    except ValueError:
        return "wrong_type"
    lost = row["kind"] == "rating" and value is None
    negative = row["kind"] == "conversion" and value is not None and value < 0
    checks = {
        "null_id": "" in (row["event_id"], row["user_id"], row["item_id"]),
        "null_timestamp": time is None,
        "unknown_kind": row["kind"] not in KINDS,
        "timestamp_out_of_range": time is not None and not 6 <= time <= 100,
        "non_finite_value": value is not None and not math.isfinite(value),
        "impossible_value": lost or negative,
        "propensity_out_of_range": propensity is not None and not 0 < propensity <= 1,
    }
    return next((reason for reason, broken in checks.items() if broken), None)


def expected_of(rows: list[dict[str, str]]) -> tuple[list[dict[str, str]], list[tuple[int, str]]]:
    """Returns the rows that are kept, and number and reason of each other row, by a loop."""
    kept: list[dict[str, str]] = []
    seen: set[str] = set()
    rejected: list[tuple[int, str]] = []
    for number, row in enumerate(rows, start=1):
        reason = oracle(row) or ("duplicate_id" if row["event_id"] in seen else None)
        if reason is None:
            kept.append(row)
            seen.add(row["event_id"])
        else:
            rejected.append((number, reason))
    return kept, rejected


def read_rows(folder: Path, rows: list[dict[str, str]]) -> Tables:
    with (folder / "e.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, NAMES)
        writer.writeheader()
        writer.writerows(rows)
    config = DataConfig(
        name="any",
        root=str(folder),
        events=TableConfig(path="e.csv"),
        timestamp_min=6,
        timestamp_max=100,
        max_rejected_fraction=1.0,
    )
    return read_tables(config, folder / "rejects")


@settings(max_examples=80, deadline=None)
@given(cells=ROWS)
def test_every_row_is_kept_or_rejected_as_by_a_loop(cells: list[tuple[str, ...]]) -> None:
    rows = [dict(zip(NAMES, row, strict=True)) for row in cells if any(row)]
    kept, rejected = expected_of(rows)
    with tempfile.TemporaryDirectory() as folder:
        if not kept:
            with pytest.raises(DataError, match="is left"):
                read_rows(Path(folder), rows)
            return
        tables = read_rows(Path(folder), rows)
        file = Path(folder) / "rejects" / "events.csv"
        written = pl.read_csv(file).select("row", "reason").rows() if file.exists() else []
    assert sorted(tables.events.select("user_id", "item_id").iter_rows()) == sorted(
        (row["user_id"], row["item_id"]) for row in kept
    )
    assert written == rejected
    report = tables.quality.events
    assert report.rows_in == len(rows) == report.kept + report.n_rejected
