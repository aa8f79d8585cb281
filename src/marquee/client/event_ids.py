"""Ids of events that rise with time, so that an index of them grows at one end."""

import secrets

_RANDOM_BITS = 74


def event_id(time_ms: int) -> str:
    """Returns a new UUID of version 7 (RFC 9562, section 5.7).

    Args:
        time_ms: Milliseconds since 1970 UTC.

    Example:
        >>> event_id(1_700_000_000_000)[:15], len(event_id(0))
        ('018bcfe5-6800-7', 36)
    """
    # From the system: after a fork a generator's copies would draw the same ids.
    random = secrets.randbits(_RANDOM_BITS)
    # 48 bits of time, the version, 12 random bits; then the variant and 62 more.
    number = (time_ms & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | (random >> 62) << 64
    number |= 0b10 << 62 | (random & (1 << 62) - 1)
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
