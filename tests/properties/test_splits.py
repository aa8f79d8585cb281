"""For every table of events and every way to part it: nothing is lost, doubled or crosses."""

from collections import defaultdict

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from marquee.data.splits import Split, SplitConfig, SplitMethod, split_events, validate_no_leakage
from marquee.errors import DataError

USERS = st.sampled_from(["u", "v", "w", "x"])
ROWS = st.lists(st.tuples(USERS, st.integers(0, 12)), min_size=1, max_size=40)
FRACTIONS = st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.4])
BY_USER = [SplitMethod.leave_last, SplitMethod.last_fraction]


def events_of(rows: list[tuple[str, int]]) -> pl.DataFrame:
    rows = sorted(rows, key=lambda row: row[1])
    return pl.DataFrame(
        {
            "event_id": [f"e{i}" for i in range(len(rows))],
            "user_id": [user for user, _ in rows],
            "item_id": [f"i{i}" for i in range(len(rows))],
            "timestamp": [time for _, time in rows],
            "kind": ["view"] * len(rows),
        }
    )


def oracle_by_user(events: pl.DataFrame, config: SplitConfig) -> dict[str, list[str]]:
    """Parts event by event: the first version that one would write."""
    of_user: dict[str, list[str]] = defaultdict(list)
    for event_id, user_id in events.select("event_id", "user_id").iter_rows():
        of_user[user_id].append(event_id)
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for ids in of_user.values():
        n_test = n_validation = config.n
        if config.method is SplitMethod.last_fraction:
            n_test = int(round(config.test_fraction * 100) * len(ids) // 100)
            n_validation = int(round(config.validation_fraction * 100) * len(ids) // 100)
        rest, parts_of_user = list(ids), {"test": n_test, "validation": n_validation}
        for part, n in parts_of_user.items():
            for _ in range(min(n, len(rest) - 1)):
                parts[part].append(rest.pop())
        parts["train"] += rest
    return parts


def parts_of(split: Split) -> dict[str, pl.DataFrame]:
    return {"train": split.train, "validation": split.validation, "test": split.test}


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, method=st.sampled_from(BY_USER), test=FRACTIONS, validation=FRACTIONS, n=st.integers(1, 3))
def test_parts_by_user_are_those_of_a_loop(
    rows: list[tuple[str, int]], method: SplitMethod, test: float, validation: float, n: int
) -> None:
    config = SplitConfig(method=method, test_fraction=test, validation_fraction=validation, n=n)
    events = events_of(rows)
    parts = parts_of(split_events(events, config))
    expected = oracle_by_user(events, config)
    assert {name: set(part["event_id"]) for name, part in parts.items()} == {
        name: set(ids) for name, ids in expected.items()
    }


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, test=FRACTIONS, validation=FRACTIONS)
def test_every_train_time_is_before_every_test_time(
    rows: list[tuple[str, int]], test: float, validation: float
) -> None:
    events = events_of(rows)
    try:
        split = split_events(events, SplitConfig(test_fraction=test, validation_fraction=validation))
    except DataError:
        return  # all events at one moment: nothing could be train
    ordered = [part["timestamp"].to_list() for part in parts_of(split).values()]
    assert all(
        a < b for i, early in enumerate(ordered) for late in ordered[i + 1 :] for a in early for b in late
    )
    assert len(split.test) >= int(test * len(rows) + 1e-9)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, method=st.sampled_from([SplitMethod.time, *BY_USER]), merge=st.booleans())
def test_parts_are_disjoint_and_complete(
    rows: list[tuple[str, int]], method: SplitMethod, merge: bool
) -> None:
    config = SplitConfig(method=method, fit_on_validation=merge)
    events = events_of(rows)
    try:
        split = split_events(events, config)
    except DataError:
        return
    together = pl.concat(parts_of(split).values())
    assert sorted(together["event_id"]) == sorted(events["event_id"])
    validate_no_leakage(split, config)
