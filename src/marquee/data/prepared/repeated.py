"""Finds the events whose id an earlier row has: the rule that no file can be judged by alone."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from marquee.data.prepared.layout import SOURCE, read_frame, write_frame
from marquee.data.reading.files.columns import ROW

EVENT_ID = "event_id"


def find_repeated(out: Path, inputs: Sequence[Path], *, sources: Sequence[int]) -> None:
    """Writes which rows of a share of the event ids repeat the id of an earlier row.

    Args:
        out: Table of `SOURCE`, `ROW` and the id, in the order of the files.
        inputs: The ids of the share, file by file.
        sources: Number of the file of each input.
    """
    ids = pl.concat(
        read_frame(path).with_columns(pl.lit(source, pl.UInt32).alias(SOURCE))
        for path, source in zip(inputs, sources, strict=True)
    )
    # The texts themselves, and no digests: two ids may share one.
    write_frame(out, ids.filter(~pl.col(EVENT_ID).is_first_distinct()).select(SOURCE, ROW, EVENT_ID))
