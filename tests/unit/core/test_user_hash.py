"""The hash of user ids: fixed for good, spread evenly, the same whether by column or one by one."""

import numpy as np
import polars as pl
import pytest

from marquee.core.user_hash import buckets_of, hash_column, hash_ids
from marquee.errors import ConfigError

MASK = (1 << 64) - 1


def stirred(state: int) -> int:
    state = (state + 0x9E3779B97F4A7C15) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def plainly(id_: str) -> int:
    """The hash as its docstring has it, one id and one word at a time."""
    text = id_.encode("utf-8", "surrogatepass")
    state = stirred(len(text))
    for first in range(0, len(text), 8):
        state = stirred(state ^ int.from_bytes(text[first : first + 8].ljust(8, b"\0"), "little"))
    return state


def test_hashes_by_column_are_those_of_each_id() -> None:
    ids = ["", "u", "u1", "exactly8", "nine byte", "ü" * 40, "zero\0", "zero", "\ud800", "x" * 1000]

    assert hash_ids(ids).tolist() == [plainly(id_) for id_ in ids]


def test_hashes_never_change_between_releases() -> None:
    assert [hex(one) for one in hash_ids(["u1", "user-1000000"]).tolist()] == [
        "0x450cd4553262daea",
        hex(plainly("user-1000000")),
    ]


def test_hashes_of_a_column_are_those_of_its_texts() -> None:
    ids = ["", "u", "u1", "exactly8", "nine byte", "ü" * 40, "zero\0", "zero", "x" * 1000]

    assert hash_column(pl.Series(ids)).tolist() == hash_ids(ids).tolist()
    assert hash_column(pl.Series([], dtype=pl.String)).tolist() == []


def test_no_ids_have_no_hashes() -> None:
    assert hash_ids([]).tolist() == []


def test_buckets_are_about_equal() -> None:
    sizes = np.bincount(buckets_of(hash_ids(f"user-{number}" for number in range(64_000)), 64))

    # 1000 are expected in each, with a standard deviation of 32.
    assert sizes.min() > 850
    assert sizes.max() < 1150


def test_no_buckets_are_refused() -> None:
    with pytest.raises(ConfigError, match="n_buckets must be 1 or more, got 0"):
        buckets_of(hash_ids(["u"]), 0)
