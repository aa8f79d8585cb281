"""From one file, or some rows of it, to its right rows in buckets, with every other row counted.

Rows are mapped and judged as `marquee.data.reading` does for whole tables. Rules between rows follow: on
unknown items here, on repeated ids in `repeated`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl

from marquee.core.arrays import IndexArray
from marquee.core.schema import EVENTS
from marquee.core.user_hash import buckets_of, hash_column
from marquee.data.config import DataConfig, UnknownItems
from marquee.data.prepared.declared import from_text
from marquee.data.prepared.layout import KINDS, SOURCE, read_frame, write_facts, write_frame
from marquee.data.reading.files.columns import ROW
from marquee.data.reading.files.locating import File
from marquee.data.reading.mapping import EXCLUDED, REJECTED, MappedSource, TableMapping
from marquee.data.reading.rejects import Rejects
from marquee.data.reading.sources import open_source
from marquee.data.reading.table_reader import rows_of
from marquee.data.reading.tables import mappings_of
from marquee.data.reading.times import validate_times
from marquee.data.reading.validation import unknown_item_rule
from marquee.data.splits import PART

EVENT_ID = "event_id"


def partition(
    out: Path,
    inputs: Sequence[Path],
    *,
    declared: str,
    origin: Sequence[str],
    rows: Sequence[int],
    n_buckets: int,
    n_shares: int,
) -> None:
    """Writes the right rows of a file into buckets, and what became of the others.

    Args:
        out: Folder: `<bucket>.arrow` with the rows of each, `ids/<share>.arrow` with the ids of events by a
            hash of theirs where the file has any, `part.json` with the counts, `rejects.csv` with the rows
            that are wrong.
        inputs: The file; then the items of the catalog where others are rejected.
        declared: Declaration of the data set, see `declared`.
        origin: Name of the further table of events that the file is of, empty for the first; part of a given
            split that it holds, empty if it is not given; then `name=value` of each column whose value the
            folders above the file say.
        rows: How many rows of the file come before those meant here, and how many are meant; 0 for all that
            follow.
        n_buckets: Buckets of users.
        n_shares: Shares of event ids.
    """
    config = from_text(declared)
    mapping = mappings_of(EVENTS, config)[origin[0]]
    file, found = _rows(inputs[0], mapping, origin[1:], rows)
    validate_times(found, file, mapping)
    rows_in = found.height
    meant = found[EXCLUDED].is_null()
    excluded: Counter[str] = Counter()
    for reason, count in found.filter(~meant)[EXCLUDED].value_counts(sort=True).iter_rows():
        excluded[file.exclusions[reason]] += count
    good = meant & found[REJECTED].is_null()
    rejects = Rejects.none(EVENTS.name, [file.source]).add_broken(
        found.filter(meant & ~good).select(ROW, REJECTED), 0, file
    )
    kept = (found if good.all() else found.filter(good)).drop(EXCLUDED, REJECTED)
    del found  # the largest of all, and its rows are copied below
    kept, rejects = _without_unknown_items(kept, rejects, config, file, inputs[1:])
    out.mkdir()
    counted = rejects.report(out / "rejects.csv")
    write_facts(
        out / "part.json",
        {
            "file": str(inputs[0]),
            "rows_in": rows_in,
            "kept": kept.height,
            "excluded": dict(excluded),
            "rejects": [asdict(count) for count in counted],
            "id_columns": list(file.file_columns.get(EVENT_ID, ())),
        },
    )
    if part := origin[1]:
        kept = kept.with_columns(pl.lit(part).alias(PART))
    _write_buckets(out, kept, n_buckets, n_shares)


def _rows(
    path: Path, mapping: TableMapping, origin: Sequence[str], rows: Sequence[int]
) -> tuple[MappedSource, pl.DataFrame]:
    """Returns the rows of a file that are meant, mapped."""
    (part, *folders), (start, n_rows) = origin, rows
    named = [folder.partition("=") for folder in folders]
    # An empty value stands for none: no folder can be named by it.
    file = File(part, path, {name: value or None for name, _, value in named})
    source = open_source(file, "", mapping.config, EVENTS.name)
    if start or n_rows:
        # Numbered before: a row keeps its number in the file, by which it is named.
        source = replace(source, frame=source.frame.slice(start, n_rows or None))
    has_ids = EVENT_ID in source.columns or EVENT_ID in mapping.config.columns
    # Ids that are made of row numbers tell nothing: they are never made.
    return rows_of(mapping, source, lambda frame, _: frame if has_ids else frame.drop(EVENT_ID))


def _without_unknown_items(
    kept: pl.DataFrame, rejects: Rejects, config: DataConfig, file: MappedSource, catalog: Sequence[Path]
) -> tuple[pl.DataFrame, Rejects]:
    """Returns the rows whose items stand in the catalog, and the rejected rows with the others."""
    if not catalog or config.unknown_items is not UnknownItems.reject:
        return kept, rejects
    rule = unknown_item_rule(read_frame(catalog[0])["item_id"])
    broken = kept.select(rule.condition).to_series()
    if not broken.any():
        return kept, rejects
    wrong = kept.filter(broken).select(pl.lit(0, pl.UInt32).alias(SOURCE), ROW)
    return kept.filter(~broken), rejects.add_by_rule(wrong, rule, [file])


def _write_buckets(out: Path, kept: pl.DataFrame, n_buckets: int, n_shares: int) -> None:
    """Writes rows by the bucket of their user, in the order of the file, and ids of events by share."""
    if EVENT_ID in kept.columns:
        shares = buckets_of(hash_column(kept[EVENT_ID]), n_shares)
        ids = kept.select(EVENT_ID, ROW)
        for share, rows in enumerate(_parted(ids, shares, n_shares)):
            write_frame(out / "ids" / f"{share:05d}.arrow", rows)
        kept = kept.drop(EVENT_ID)
    if kept["value"].null_count() == kept.height:
        kept = kept.drop("value")
    kept = kept.with_columns(pl.col("kind").cast(KINDS).to_physical().cast(pl.UInt8))
    buckets = buckets_of(hash_column(kept["user_id"]), n_buckets)
    for bucket, rows in enumerate(_parted(kept, buckets, n_buckets)):
        write_frame(out / f"{bucket:05d}.arrow", rows)


def _parted(rows: pl.DataFrame, places: IndexArray, n_places: int) -> Iterator[pl.DataFrame]:
    """Yields the rows of each place in their order."""
    # Bytes where they do: NumPy sorts those by counting.
    order = np.argsort(places.astype(np.uint16 if n_places > 256 else np.uint8), kind="stable")
    ends = np.cumsum(np.bincount(places, minlength=n_places))
    together = rows[order]
    for start, end in zip(np.concatenate(([0], ends[:-1])).tolist(), ends.tolist(), strict=True):
        yield together.slice(start, end - start)
