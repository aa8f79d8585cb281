"""Windows of histories and the grouping behind them."""

import numpy as np
import pytest

from marquee.core.arrays import IndexArray
from marquee.core.histories import OUTSIDE, Interactions, gather, pad_lists, window_positions
from marquee.errors import ShapeError


def column(*values: int) -> IndexArray:
    return np.array(values, dtype=np.int64)


def grouped() -> Interactions:
    """Returns 3 events of user 2, none of user 1, 1 of user 3 and 1 of the unknown user."""
    return Interactions.group(
        user_index=column(2, 3, 2, 0, 2),
        item_index=column(10, 11, 12, 13, 14),
        kind_index=column(1, 1, 2, 2, 1),
        timestamp=column(50, 40, 20, 30, 20),
        weight=np.array([1, 2, 3, 4, 5], dtype=np.float32),
        n_users=3,
    )


def test_events_are_grouped_by_user_oldest_first() -> None:
    events = grouped()
    assert events.offsets.tolist() == [0, 1, 1, 4, 5]
    assert events.item_index.tolist() == [13, 12, 14, 10, 11]  # equal times keep their order
    assert events.timestamp.tolist() == [30, 20, 20, 50, 40]
    assert events.kind_index.tolist() == [2, 2, 1, 1, 1]
    assert events.weight.tolist() == [4, 3, 5, 1, 2]
    assert events.user_index.tolist() == [0, 2, 2, 2, 3]
    assert (len(events), events.n_users) == (5, 3)


def test_window_holds_the_latest_events_padded_on_the_left() -> None:
    events = grouped()
    positions = events.windows(column(2, 1, 3), 2)
    assert gather(events.item_index, positions).tolist() == [[14, 10], [0, 0], [0, 11]]


def test_taking_events_keeps_order_and_users() -> None:
    kept = grouped().take(np.array([True, False, True, True, False]))
    assert kept.offsets.tolist() == [0, 1, 1, 3, 3]
    assert kept.item_index.tolist() == [13, 14, 10]
    assert kept.n_users == 3


def test_no_event_at_all_gives_empty_histories() -> None:
    none = column()
    events = Interactions.group(none, none, none, none, np.zeros(0, dtype=np.float32), n_users=2)
    assert gather(events.item_index, events.windows(column(1, 2), 3)).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert len(events) == 0


def test_window_of_length_zero_is_empty() -> None:
    assert window_positions(column(0, 2), column(2, 5), 0).shape == (2, 0)


def test_gather_gives_zero_outside() -> None:
    flat = np.array([1.5, 2.5], dtype=np.float32)
    assert gather(flat, np.array([[OUTSIDE, 1], [0, OUTSIDE]])).tolist() == [[0, 2.5], [1.5, 0]]


def test_lists_keep_their_last_entries() -> None:
    assert pad_lists([[1, 2, 3], [4], []], 2).tolist() == [[2, 3], [0, 4], [0, 0]]
    assert pad_lists([], 2).shape == (0, 2)


def test_ranges_must_have_one_shape() -> None:
    with pytest.raises(ShapeError, match=r"starts and ends must have one shape, got \(2,\) and \(1,\)"):
        window_positions(column(0, 1), column(2), 3)


def test_columns_must_have_one_length() -> None:
    with pytest.raises(ShapeError, match=r"all columns must have one length, got \[\(1,\), \(2,\)\]"):
        Interactions.group(
            column(1, 1), column(1), column(1, 1), column(1, 1), np.ones(2, np.float32), n_users=1
        )


@pytest.mark.parametrize("user", [-1, 3])
def test_user_beyond_the_last_is_refused(user: int) -> None:
    one = column(1)
    with pytest.raises(ShapeError, match=f"user_index must be between 0 and 2, got {user} to {user}"):
        Interactions.group(column(user), one, one, one, np.ones(1, np.float32), n_users=2)
