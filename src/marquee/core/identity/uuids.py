"""Ids that tell when they were made: UUIDs of version 7, which sort by time."""

import uuid

RANDOM_BYTES = 10
"""How much randomness an id takes."""

_MAX_TIME_MS = 2**48 - 1


def uuid7(time_ms: int, randomness: bytes) -> str:
    """Returns an id that was made at a time.

    Args:
        time_ms: Milliseconds since 1970 UTC.
        randomness: `RANDOM_BYTES` random bytes; six of their bits are not used.

    Example:
        >>> uuid7(1_700_000_000_000, bytes(10))
        '018bcfe5-6800-7000-8000-000000000000'

    Source:
        RFC 9562, section 5.7.
    """
    assert 0 <= time_ms <= _MAX_TIME_MS, f"time_ms must have 48 bits, got {time_ms}"
    assert len(randomness) == RANDOM_BYTES, f"{RANDOM_BYTES} random bytes are needed, got {len(randomness)}"
    rest = int.from_bytes(randomness)
    high = rest >> 68  # 12 bits, beside the version
    low = rest & (2**62 - 1)  # 62 bits, beside the variant
    # The time stands in the highest bits, so that the order of texts is the order of time.
    return str(uuid.UUID(int=time_ms << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low))


def time_ms_of(text: str) -> int | None:
    """Returns when an id was made, milliseconds since 1970 UTC; None if it is no UUID of version 7.

    Example:
        >>> time_ms_of("018bcfe5-6800-7000-8000-000000000000"), time_ms_of("order-17")
        (1700000000000, None)
    """
    try:
        made = uuid.UUID(text)
    except ValueError:
        return None
    # `version` is None for other variants, whose highest bits are no time.
    return made.int >> 80 if made.version == 7 else None
