"""A hash of user ids of our own: the same in every release, in every process, on every machine.

Who is in which bucket of a prepared table or of a folder of scores follows from it: were it to change, a
person who is to be erased would be looked for in the wrong file. It is no secret and protects nothing.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import polars as pl

from marquee.core.arrays import IndexArray
from marquee.errors import ConfigError

HashArray = npt.NDArray[np.uint64]

_WORD = 8
_SEED = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_BITS = np.uint64(8)


def hash_ids(ids: Iterable[str]) -> HashArray:
    """Returns 64 bits of each id, (n,) uint64.

    Example:
        >>> [hex(int(one)) for one in hash_ids(["u1", ""])]
        ['0x450cd4553262daea', '0xe220a8397b1dcdaf']
    """
    # surrogatepass: a name that came over HTTP may hold half a surrogate pair.
    texts = [id_.encode("utf-8", "surrogatepass") for id_ in ids]
    sizes = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    return hash_texts(np.frombuffer(b"".join(texts), dtype=np.uint8), offsets)


def hash_texts(text: npt.NDArray[np.uint8], offsets: IndexArray) -> HashArray:
    """Returns 64 bits of each id of a column, (n,) uint64.

    Each id is read as words of 8 bytes, the last filled up with zeros, and each word is stirred in; its
    length comes before them, so that the zeros count.

    Args:
        text: The ids behind each other in UTF-8, (n_bytes,).
        offsets: Where each begins, and the end of the last, (n + 1,).

    Source:
        Steele, Lea and Flood 2014, OOPSLA, "Fast Splittable Pseudorandom Number Generators", the mixing
        function of section 5 with the constants of variant 13. Differs from the paper: the state takes in a
        word at each step, not a constant alone.
    """
    starts = np.asarray(offsets[:-1], dtype=np.int64)
    sizes = np.diff(offsets).astype(np.int64)
    hashes = _stirred(sizes.astype(np.uint64))
    # Whole words beyond the last byte, so that one read fits every id.
    padded = np.concatenate((text, np.zeros(_WORD, dtype=np.uint8)))
    rows = np.flatnonzero(sizes)
    first = 0
    # One turn for each word of the longest id, over those that reach so far: no Python for each id.
    while rows.size:
        hashes[rows] = _stirred(hashes[rows] ^ _words(padded, starts[rows] + first, sizes[rows] - first))
        first += _WORD
        rows = rows[sizes[rows] > first]
    return hashes


def hash_column(ids: pl.Series) -> HashArray:
    """Returns 64 bits of each id of a column of texts, (n,) uint64: those of `hash_texts`, and quicker.

    Example:
        >>> [hex(int(one)) for one in hash_column(pl.Series(["u1", ""]))]
        ['0x450cd4553262daea', '0xe220a8397b1dcdaf']
    """
    sizes = ids.str.len_bytes().to_numpy()
    hashes = _stirred(sizes.astype(np.uint64))
    n_words = -(-int(sizes.max(initial=0)) // _WORD)
    zeros = pl.lit("\0" * (_WORD * n_words))
    padded = ids.to_frame("id").select(pl.concat_str("id", zeros).cast(pl.Binary)).to_series()
    for number in range(n_words):
        words = padded.bin.slice(_WORD * number, _WORD).bin.reinterpret(dtype=pl.UInt64).to_numpy()
        rows = sizes > _WORD * number
        # Only those that reach so far: a shorter id has been stirred to its end.
        hashes = np.where(rows, _stirred(hashes ^ words), hashes)
    return hashes


def buckets_of(hashes: HashArray, n_buckets: int) -> IndexArray:
    """Returns the bucket of each hash, (n,) int64 in 0 … n_buckets - 1.

    Raises:
        ConfigError: If there are no buckets.
    """
    if n_buckets < 1:
        raise ConfigError(f"n_buckets must be 1 or more, got {n_buckets}")
    return (hashes % np.uint64(n_buckets)).astype(np.int64)


def _words(padded: npt.NDArray[np.uint8], starts: IndexArray, left: IndexArray) -> HashArray:
    """Returns the 8 bytes at each start as a number, the first the lowest; those beyond the id are 0."""
    word = np.zeros(len(starts), dtype=np.uint64)
    for place in range(_WORD):
        byte = padded[starts + place].astype(np.uint64)
        byte[left <= place] = 0
        word |= byte << (_BITS * np.uint64(place))
    return word


def _stirred(state: HashArray) -> HashArray:
    """Returns numbers whose every bit depends on every bit of the state."""
    state = state + _SEED  # wraps around, as is meant
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))
