"""Properties of every history, and of every id."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from marquee.core.histories import Interactions, gather, pad_lists
from marquee.core.ids import PADDING_INDEX, IdMap

run = settings(max_examples=60, deadline=None)
N_USERS = 4
Event = tuple[int, int, int]
events = st.lists(st.tuples(st.integers(0, N_USERS), st.integers(1, 9), st.integers(0, 5)), max_size=25)
lengths = st.integers(0, 6)


def group(events: list[Event]) -> Interactions:
    """Returns (user, item, time) rows as interactions; the weight of an event is its row."""
    table = np.array(events, dtype=np.int64).reshape(-1, 3)
    kind = np.ones(len(table), dtype=np.int64)
    weight = np.arange(len(table), dtype=np.float32)
    return Interactions.group(table[:, 0], table[:, 1], kind, table[:, 2], weight, n_users=N_USERS)


def history_by_hand(events: list[Event], user: int, length: int) -> list[int]:
    """Returns the items of a user's latest events by sorting a Python list."""
    own = sorted((event for event in events if event[0] == user), key=lambda event: event[2])
    items = [item for _, item, _ in own][max(len(own) - length, 0) :]
    return [0] * (length - len(items)) + items


@run
@given(events, lengths)
def test_history_is_the_latest_events_in_order(events: list[Event], length: int) -> None:
    interactions = group(events)
    users = np.arange(N_USERS + 1)
    got = gather(interactions.item_index, interactions.windows(users, length))
    assert got.tolist() == [history_by_hand(events, user, length) for user in users.tolist()]


@run
@given(events, lengths)
def test_padding_stands_only_on_the_left(events: list[Event], length: int) -> None:
    interactions = group(events)
    got = gather(interactions.item_index, interactions.windows(np.arange(N_USERS + 1), length))
    is_event = got != PADDING_INDEX
    assert (np.diff(is_event.astype(int), axis=1) >= 0).all()


@run
@given(events)
def test_grouping_loses_no_event(events: list[Event]) -> None:
    interactions = group(events)
    rows = interactions.weight.astype(int)
    assert sorted(rows.tolist()) == list(range(len(events)))
    assert [events[row][0] for row in rows] == interactions.user_index.tolist()
    assert [events[row][1] for row in rows] == interactions.item_index.tolist()


@run
@given(events, st.data())
def test_taking_equals_grouping_what_is_kept(events: list[Event], data: st.DataObject) -> None:
    keep = data.draw(st.lists(st.booleans(), min_size=len(events), max_size=len(events)))
    interactions = group(events)
    kept_rows = np.array(keep, dtype=bool)[interactions.weight.astype(int)]
    taken = interactions.take(kept_rows)
    expected = group([event for event, is_kept in zip(events, keep, strict=True) if is_kept])
    assert taken.offsets.tolist() == expected.offsets.tolist()
    assert taken.item_index.tolist() == expected.item_index.tolist()
    assert taken.timestamp.tolist() == expected.timestamp.tolist()


@run
@given(st.lists(st.lists(st.integers(1, 9), max_size=8), max_size=5), lengths)
def test_padded_lists_end_as_the_lists_do(lists: list[list[int]], length: int) -> None:
    for row, values in zip(pad_lists(lists, length).tolist(), lists, strict=True):
        kept = values[max(len(values) - length, 0) :]
        assert row == [0] * (length - len(kept)) + kept


ids = st.lists(st.text(min_size=1, max_size=4), max_size=12)


@run
@given(ids)
def test_decoding_undoes_encoding(ids: list[str]) -> None:
    id_map = IdMap.fit(ids)
    assert id_map.decode(id_map.encode(ids)) == ids


@run
@given(ids)
def test_indices_are_one_to_n(ids: list[str]) -> None:
    id_map = IdMap.fit(ids)
    assert sorted(id_map.encode(id_map.ids).tolist()) == list(range(1, len(set(ids)) + 1))


@run
@given(ids, ids)
def test_extension_keeps_every_index(ids: list[str], more: list[str]) -> None:
    id_map = IdMap.fit(ids)
    extended = id_map.extend(more)
    assert extended.encode(ids).tolist() == id_map.encode(ids).tolist()
    assert set(extended.ids) == set(ids) | set(more)
    assert [id_ in id_map for id_ in extended.ids] == [i <= len(id_map) for i in range(1, len(extended) + 1)]


@run
@given(ids, ids)
def test_id_that_was_not_fitted_is_padding(ids: list[str], others: list[str]) -> None:
    id_map = IdMap.fit(ids)
    encoded = id_map.encode(others)
    assert (encoded == PADDING_INDEX).tolist() == [other not in set(ids) for other in others]
