"""Notes on what looks odd in the events without being wrong: it is said, and nothing is changed."""

from collections.abc import Iterator, Sequence

import polars as pl

from marquee.core.moments import day_text
from marquee.core.schema import TimeMeaning
from marquee.data.reading.odd_times import FIRST_PLAUSIBLE, LAST_PLAUSIBLE

SAME_EVENT = ("user_id", "item_id", "timestamp", "kind")
_MANY_REPEATED = 0.01
_DOMINANT = 0.1
_TIMES_THE_AVERAGE = 10


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
    if last >= LAST_PLAUSIBLE:
        n_late = (timestamps >= LAST_PLAUSIBLE).sum()
        yield (
            f"{n_late:,} of {len(timestamps):,} timestamps are after the year 2200, the latest is {last}: "
            "are these milliseconds or microseconds? Set timestamp_unit, or reject them with timestamp_max"
        )
    if first == last:
        yield f"all timestamps are {first}: if they say nothing, set data.time=none"
    elif last < FIRST_PLAUSIBLE:
        yield (
            f"all timestamps are before 1990, the latest is {day_text(last)}: if they are no seconds since "
            "1970, set timestamp_unit or timestamp_format; if they only order events, set data.time=order"
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
    least = max(_DOMINANT * len(ids), _TIMES_THE_AVERAGE * len(ids) / counts.height)
    for name, count in counts.filter(pl.col("count") > least).iter_rows():
        yield (
            f"{who} {name!r} has {count / len(ids):.0%} of all events: if it stands for nobody in particular "
            "(a guest, an unknown one, a robot), exclude it under data.events.exclude"
        )
