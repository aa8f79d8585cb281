"""Notes on what looks odd in the events without being wrong: it is said, and nothing is changed."""

from collections.abc import Iterator, Sequence

import polars as pl

from marquee.core.moments import day_text
from marquee.core.schema import TimeMeaning
from marquee.data.reading.mapping import MappedSource
from marquee.data.reading.odd_times import FIRST_PLAUSIBLE
from marquee.data.reading.sources import collect

SAME_EVENT = ("user_id", "item_id", "timestamp", "kind")
_MANY_REPEATED = 0.01
_FEW_EARLY = 0.01
_DOMINANT = 0.1
_TIMES_THE_AVERAGE = 10
_FEWEST_ROWS = 4  # three rows stand in order by chance in one case of six, either way in one of three
_MOST = 0.5
_USER = "__user"


def event_notes(events: pl.DataFrame, time: TimeMeaning) -> Iterator[str]:
    """Yields notes on the events.

    Args:
        events: The kept events.
        time: What timestamps say.
    """
    if time is TimeMeaning.absolute:
        yield from _time_notes(events["timestamp"])
    yield from _repeated_notes(events, time)
    for column in ("user_id", "item_id"):
        yield from _dominant_notes(events[column], column.removesuffix("_id"))


def order_notes(sorted_by: Sequence[str]) -> Iterator[str]:
    """Yields a caution where the order of the rows stands for time and is an order of values."""
    for found in dict.fromkeys(sorted_by):
        yield (
            f"{found}: the file is sorted by it, and without time the last row of a user is taken for the "
            "latest. Split at random (split.method=random), or map a column of times"
        )


def _time_notes(timestamps: pl.Series) -> Iterator[str]:
    """Yields what looks odd about the time range."""
    first, last = timestamps.min(), timestamps.max()
    assert isinstance(first, int), f"an events table is never empty, got {len(timestamps)} rows"
    assert isinstance(last, int), f"an events table is never empty, got {len(timestamps)} rows"
    if first == last:
        yield f"all timestamps are {first}: if they say nothing, set data.time=none"
    elif last < FIRST_PLAUSIBLE:
        yield (
            f"all timestamps are before 1990, the latest is {day_text(last)}: if they are no seconds since "
            "1970, set timestamp_unit or timestamp_format; if they only order events, set data.time=order"
        )
    elif first < FIRST_PLAUSIBLE:
        n_early = (timestamps < FIRST_PLAUSIBLE).sum()
        if n_early <= _FEW_EARLY * len(timestamps):
            yield (
                f"{n_early:,} of {len(timestamps):,} timestamps are before 1990, the earliest is "
                f"{day_text(first)}: if they stand for no time, reject them with data.timestamp_min"
            )


def _repeated_notes(events: pl.DataFrame, time: TimeMeaning) -> Iterator[str]:
    """Yields how many events stand more than once."""
    # Counting hashes takes no memory to speak of, and 64 bits tell a billion events apart.
    n_repeated = events.height - events.select(SAME_EVENT).hash_rows().n_unique()
    if n_repeated <= _MANY_REPEATED * events.height:
        return
    same = "user, item and kind" if time is TimeMeaning.none else "user, item, time and kind"
    yield (
        f"{n_repeated:,} of {events.height:,} events repeat another ({same}), and each counts: if they are "
        "copies, set data.events.deduplicate=true"
    )


def _dominant_notes(ids: pl.Series, who: str) -> Iterator[str]:
    """Yields the ids that have a large share of all events, and far more than others have."""
    counts = ids.value_counts(sort=True)
    # Both bounds: among five users, one has a fifth of all events without being odd.
    least = max(_DOMINANT * len(ids), _TIMES_THE_AVERAGE * len(ids) / counts.height)
    for name, count in counts.filter(pl.col("count") > least).iter_rows():
        yield (
            f"{who} {name!r} has {count / len(ids):.0%} of all events: if it stands for nobody in particular "
            "(a guest, an unknown one, a robot), exclude it under data.events.exclude"
        )


def sorted_columns(file: MappedSource, table: str) -> Iterator[str]:
    """Yields what most users' rows are sorted by, in words.

    Of the users with some rows, more than half must ascend, or descend, in a column whose values they do not
    share.

    Args:
        file: A file of events, mapped.
        table: Name of the table, for messages.
    """
    columns = [name for name, dtype in file.source.columns.items() if not dtype.is_nested()]
    users = file.file_columns["user_id"]
    # What a user is read from is equal in all rows of the user.
    asked = [name for name in columns if users != (name,)]
    frame = pl.concat(
        [file.raw("user_id").rename({"user_id": _USER}), file.source.frame.select(asked)],
        how="horizontal",
    )
    rows = collect(frame, file.source.path, table)
    for name in asked:
        for values in _readings(rows[name]):
            direction = _direction(rows[_USER], values)
            if direction:
                yield f"most users' rows {direction} in {name}"
                break


def _readings(column: pl.Series) -> Iterator[pl.Series]:
    """Yields a column as numbers if it is some, then as texts."""
    numbers = column.cast(pl.Float64, strict=False)
    # No value was lost, so all are numbers: as texts, 10 would stand before 9.
    if numbers.null_count() == column.null_count():
        yield numbers
    elif column.dtype == pl.String:
        yield column


def _direction(users: pl.Series, values: pl.Series) -> str | None:
    """Returns whether most users' values ascend or descend, None if neither."""
    step = (pl.col("value") > pl.col("value").shift()).over("user")
    back = (pl.col("value") < pl.col("value").shift()).over("user")
    found = (
        pl.DataFrame({"user": users, "value": values})
        .drop_nulls()
        .with_columns(up=step, down=back)
        .group_by("user")
        .agg(pl.len().alias("n"), pl.col("up").sum(), pl.col("down").sum())
        # Users whose values are all equal are in order either way, and prove nothing.
        .filter((pl.col("n") >= _FEWEST_ROWS) & (pl.col("up") + pl.col("down") > 0))
    )
    if found.is_empty():
        return None
    if found.filter(pl.col("down") == 0).height > _MOST * found.height:
        return "ascend"
    if found.filter(pl.col("up") == 0).height > _MOST * found.height:
        return "descend"
    return None
