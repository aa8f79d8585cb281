"""Sessions: events parted where a user pauses, and a user who is asked after the first events of a part."""

import polars as pl

from marquee.core.event_kinds import EventKind

_START = "__start"


def users_of_sessions(events: pl.DataFrame, gap_minutes: float) -> pl.DataFrame:
    """Returns events whose user is the session: a new one begins after a pause.

    Args:
        events: Canonical events in the order of time.
        gap_minutes: A longer pause ends a session.

    Returns:
        The same events; user `u` has become `u/1`, `u/2`, …

    Example:
        >>> events = pl.DataFrame({"user_id": ["u", "u", "u"], "timestamp": [0, 60, 7200]})
        >>> users_of_sessions(events, 30)["user_id"].to_list()
        ['u/1', 'u/1', 'u/2']
    """
    pause = pl.col("timestamp") - pl.col("timestamp").shift()
    # A user's first event has no pause before it, and its session is number 1 anyway.
    starts = (pause.fill_null(0) > gap_minutes * 60).over("user_id")
    number = (pl.col(_START).cast(pl.Int64).cum_sum().over("user_id") + 1).cast(pl.String)
    return (
        events.with_columns(starts.alias(_START))
        .with_columns(pl.concat_str("user_id", pl.lit("/"), number).alias("user_id"))
        .drop(_START)
    )


def rows_of_sessions(users: pl.DataFrame, sessions: pl.Series) -> pl.DataFrame:
    """Returns the users table with a row for each session, which holds what is known of its user."""
    named = pl.DataFrame({"session": sessions.unique(maintain_order=True)}).with_columns(
        # The end alone is the session's: an id may hold slashes of its own.
        pl.col("session").str.replace(r"/\d+$", "").alias("user_id")
    )
    joined = named.join(users, on="user_id", how="inner", maintain_order="left")
    return joined.drop("user_id").rename({"session": "user_id"}).select(users.columns)


def first_of_each_user(part: pl.DataFrame, n: int) -> pl.Series:
    """Returns a mask of the events that are known when their user is asked: the first n, never the last.

    Exposures are not counted and not known: they are what was shown, and stay to be judged.
    """
    is_act = pl.col("kind") != EventKind.exposure.value
    # Ordinal, as events of one second need places of their own.
    place = pl.col("timestamp").rank("ordinal").over("user_id", "kind_is_act").cast(pl.Int64)
    last = pl.len().over("user_id", "kind_is_act").cast(pl.Int64)
    return (
        part.with_columns(is_act.alias("kind_is_act"))
        # Never the last: a user whose events are all known leaves nothing to judge.
        .select(pl.col("kind_is_act") & (place <= n) & (place < last))
        .to_series()
    )
