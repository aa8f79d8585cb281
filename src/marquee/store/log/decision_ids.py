"""Ids of decisions: UUIDs of version 7, which rise with time, so that an index of them grows at one end."""

import re

_TIME_BITS = 48
_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
_VERSION_7 = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def decision_id(time_ms: int, random: bytes) -> str:
    """Returns a UUID of version 7 (RFC 9562, section 5.7).

    Args:
        time_ms: Milliseconds since 1970 UTC.
        random: 10 random bytes; 6 bits of them give way to version and variant.

    Example:
        >>> decision_id(1_700_000_000_000, bytes(10))
        '018bcfe5-6800-7000-8000-000000000000'
    """
    time, digits = f"{time_ms % 2**_TIME_BITS:012x}", random.hex()
    # The first digit gives way to the version, two bits of the fifth to the variant: fixed by the RFC.
    return f"{time[:8]}-{time[8:]}-7{digits[1:4]}-{_VARIANT[digits[4]]}{digits[5:8]}-{digits[8:]}"


def made_ms(decision_id: str) -> int | None:
    """Returns when a decision got its id, milliseconds since 1970 UTC; None for an id of another form.

    Example:
        >>> made_ms("018bcfe5-6800-7000-8000-000000000000")
        1700000000000
    """
    digits = _VERSION_7.fullmatch(decision_id)
    return int(digits[1] + digits[2], 16) if digits else None
