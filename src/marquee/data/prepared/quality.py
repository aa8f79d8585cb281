"""The counts of rows: made by each task alone, added up here as one table has them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import polars as pl

from marquee.core.plain import from_plain
from marquee.core.reasons import Reason
from marquee.core.schema import EVENTS
from marquee.data.config import DataConfig
from marquee.data.prepared.layout import (
    ID,
    ITEMS,
    QUALITY,
    SOURCE,
    TABLES,
    USERS,
    read_facts,
    read_frame,
    write_facts,
)
from marquee.data.prepared.manifest import Manifest
from marquee.data.prepared.tables import read_quality
from marquee.data.reading.advice import advice_for
from marquee.data.reading.files.columns import ROW
from marquee.data.reading.quality import ColumnQuality, QualityReport, RejectCount, TableQuality
from marquee.data.table_config import DUPLICATE_ROW

_EXAMPLES = 80


def count_rows(
    parts: Sequence[Path],
    repeated: Sequence[Path],
    buckets: Sequence[Path] = (),
    n_names: tuple[int, int] = (0, 0),
) -> TableQuality:
    """Returns the counts of the events.

    Args:
        parts: Folders that `partition` has written, in the order of the files.
        repeated: Tables that `find_repeated` has written.
        buckets: Folders that `sort_bucket` has written; none where that is still to be done.
        n_names: Users and items of the events, where they are known.
    """
    facts = [read_facts(part / "part.json") for part in parts]
    excluded: Counter[str] = Counter()
    for fact in facts:
        excluded.update(fact["excluded"])
    n_duplicates = sum(read_facts(bucket / "bucket.json")["n_duplicates"] for bucket in buckets)
    if n_duplicates:
        excluded[DUPLICATE_ROW] += n_duplicates
    rejects = _added_up(RejectCount(**count) for fact in facts for count in fact["rejects"])
    rejects += _repeated(repeated, facts)
    rows_in = sum(fact["rows_in"] for fact in facts)
    n_out = sum(reject.count for reject in rejects) + excluded.total()
    return TableQuality(
        name=EVENTS.name,
        files=tuple(dict.fromkeys(fact["file"] for fact in facts)),
        rows_in=rows_in,
        kept=rows_in - n_out,
        excluded=dict(excluded),
        rejects=tuple(rejects),
        columns=tuple(
            ColumnQuality(name, str(pl.String()), 0, n)
            for name, n in zip(("user_id", "item_id"), n_names, strict=True)
            if n
        ),
        rejects_file=str(parts[0].parent) if rejects else None,
    )


def report_quality(
    folder: Path, config: DataConfig, events: TableQuality, manifest: Manifest
) -> QualityReport:
    """Returns the report of prepared data.

    Args:
        folder: Where it lies; the names of users and items are read.
        config: The data set.
        events: Counts of the events.
        manifest: Counts of all that was made.
    """
    tables = {name: folder / TABLES / name for name in ("items", "users")}
    qualities = {name: read_quality(path) for name, path in tables.items() if path.is_dir()}
    users_without_row = None
    if "users" in qualities:
        known = read_frame(tables["users"] / "table.arrow").select(pl.col("user_id").alias(ID))
        ranges = sorted((folder / USERS).glob("*/*.arrow"))
        users_without_row = sum(read_frame(path).join(known, on=ID, how="anti").height for path in ranges)
    facts = [read_facts(path) for path in sorted((folder / ITEMS).glob("*/counts.json"))]
    without_event, without_row = (sum(of[name] for of in facts) for name in ("without_event", "without_row"))
    kinds = sorted(manifest.kinds.items(), key=lambda kind: -kind[1])
    return QualityReport(
        name=config.name,
        events=events,
        items=qualities.get("items"),
        users=qualities.get("users"),
        time=config.time,
        kinds={kind: n for kind, n in kinds if n},
        n_users=sum(manifest.n_users),
        n_items=sum(manifest.n_items) - without_event,
        first_timestamp=manifest.period[0],
        last_timestamp=manifest.period[1],
        users_without_row=users_without_row,
        items_without_row=without_row if "items" in qualities else None,
        items_without_event=without_event if "items" in qualities else None,
        notes=tuple(note for quality in (events, *qualities.values()) for note in quality.notes),
    )


def write_quality(folder: Path, report: QualityReport) -> None:
    """Writes the report into a folder of prepared data."""
    write_facts(folder / QUALITY, msgspec.to_builtins(report))


def read_report(folder: Path) -> QualityReport:
    """Returns the report of a folder of prepared data."""
    return from_plain(msgspec.json.decode((folder / QUALITY).read_bytes()), QualityReport)


def _added_up(counts: Iterable[RejectCount]) -> list[RejectCount]:
    """Returns counts of one reason and column as one, with the first example, in the order of reasons."""
    found: dict[tuple[str, str], RejectCount] = {}
    for count in counts:
        of_kind = (count.reason, count.column)
        earlier = found.get(of_kind)
        found[of_kind] = count if earlier is None else replace(earlier, count=earlier.count + count.count)
    order = [reason.value for reason in Reason]
    return sorted(found.values(), key=lambda count: order.index(count.reason))


def _repeated(tables: Sequence[Path], facts: Sequence[dict[str, object]]) -> list[RejectCount]:
    """Returns the count of events whose id an earlier one has, if there are any."""
    if not tables:
        return []
    rows = pl.concat(read_frame(path) for path in tables).sort(SOURCE, ROW)
    if rows.is_empty():
        return []
    source, row, id_ = rows.row(0)
    columns = facts[source]["id_columns"]
    assert isinstance(columns, list), f"columns of ids must be a list, got {columns!r}"
    column = ", ".join(columns)
    return [
        RejectCount(
            reason=Reason.duplicate_id.value,
            column=column,
            count=rows.height,
            example_file=str(facts[source]["file"]),
            example_row=row,
            example=f"{column}={id_!r}"[:_EXAMPLES],
            advice=advice_for(Reason.duplicate_id, EVENTS.key, EVENTS),
        )
    ]
