"""Proofs that no event crosses from one part of a split to another; each failure names an example.

Which of them a split owes is decided in `splits`.
"""

from collections.abc import Mapping
from itertools import combinations

import polars as pl

from marquee.errors import LeakageError

Parts = Mapping[str, pl.DataFrame]


def require_once(parts: Parts, columns: list[str], advice: str = "") -> None:
    """Raises LeakageError, with advice, if two parts hold rows that are equal in `columns`."""
    for earlier, later in combinations(parts, 2):
        # The second frame is the one that is hashed, so the smaller part stands there.
        double = parts[earlier].join(parts[later], on=columns, how="semi", nulls_equal=True)
        if not double.is_empty():
            raise LeakageError(
                f"{double.height} events of {earlier} stand in {later} as well, for example "
                f"{double.select(columns).row(0, named=True)}; every event belongs to one part{advice}"
            )


def require_period(parts: Parts, name: str, start: int | None, end: int | None) -> None:
    """Raises LeakageError unless a part has no event before `start`, and none at or after `end`."""
    time = pl.col("timestamp")
    early = pl.lit(False) if start is None else time < start
    late = pl.lit(False) if end is None else time >= end
    wrong = parts[name].filter(early | late)
    if not wrong.is_empty():
        event_id, timestamp = wrong.select("event_id", "timestamp").row(0)
        raise LeakageError(
            f"{wrong.height} events of {name} cross a cutoff, for example {event_id!r} at {timestamp}; "
            f"expected {name} to lie from {start} to before {end} (None: no bound)"
        )


def require_user_order(parts: Parts) -> None:
    """Raises LeakageError if a user has an event that is later than one of a later part."""
    for earlier, later in combinations(parts, 2):
        last = parts[earlier].group_by("user_id").agg(pl.col("timestamp").max().alias("last"))
        first = parts[later].group_by("user_id").agg(pl.col("timestamp").min().alias("first"))
        # Equal times may stand in both parts: there the order of the table has parted them.
        crossed = last.join(first, on="user_id").filter(pl.col("last") > pl.col("first")).sort("user_id")
        if not crossed.is_empty():
            user_id, last_time, first_time = crossed.row(0)
            raise LeakageError(
                f"{crossed.height} users have {earlier} events after {later} events, for example "
                f"{user_id!r}: {earlier} until {last_time}, {later} from {first_time}; {earlier} must end "
                "first"
            )
