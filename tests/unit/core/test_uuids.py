"""Ids that tell their time."""

import uuid

import pytest

from marquee.core.identity.uuids import RANDOM_BYTES, time_ms_of, uuid7


@pytest.mark.parametrize("time_ms", [0, 1, 1_700_000_000_123, 2**48 - 1])
@pytest.mark.parametrize("byte", [0, 0x5A, 0xFF])
def test_id_is_a_uuid_of_version_seven_that_tells_its_time(time_ms: int, byte: int) -> None:
    made = uuid7(time_ms, bytes([byte]) * RANDOM_BYTES)
    assert (uuid.UUID(made).version, uuid.UUID(made).variant) == (7, uuid.RFC_4122)
    assert time_ms_of(made) == time_ms


def test_ids_sort_by_time() -> None:
    ids = [uuid7(time_ms, bytes([255 - time_ms % 256]) * RANDOM_BYTES) for time_ms in range(1000)]
    assert ids == sorted(ids)


def test_every_bit_of_randomness_but_six_tells_ids_apart() -> None:
    ids = {uuid7(5, (1 << bit).to_bytes(RANDOM_BYTES)) for bit in range(80)}
    assert len(ids) == 75  # 74 bits, and the one id for the six that are not used


@pytest.mark.parametrize(
    "text", ["", "order-17", str(uuid.UUID(int=5)), str(uuid.uuid5(uuid.NAMESPACE_URL, "a"))]
)
def test_other_ids_tell_no_time(text: str) -> None:
    assert time_ms_of(text) is None


def test_time_beyond_the_format_is_refused() -> None:
    with pytest.raises(AssertionError, match="48 bits, got -1"):
        uuid7(-1, bytes(RANDOM_BYTES))
