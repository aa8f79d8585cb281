"""Money as whole millionths of the one currency that a service declares; nothing is rounded on the way in.

An auction multiplies and divides; what it books is added up a million times. Whole numbers add up exactly.
"""

from decimal import Decimal, InvalidOperation

from marquee.errors import MoneyError

PER_UNIT = 1_000_000
"""Millionths of one unit of the currency."""

MOST_UNITS = 1_000_000_000
"""Fifteen digits in all: a number of JSON still says each of them exactly."""


def millionths_of(said: float | str, field: str) -> int:
    """Returns an amount as it is said, in units of the currency, as whole millionths.

    Args:
        said: 2.5 or "2.50".
        field: Where it stands, for the message.

    Raises:
        MoneyError: If it is no number, negative, too large or finer than a millionth.

    Example:
        >>> millionths_of(2.5, "bid"), millionths_of("0.000001", "bid")
        (2500000, 1)
    """
    expected = f"{field} must be an amount of 0 to {MOST_UNITS} with at most six decimals"
    try:
        # By its shortest text: 0.1 is what people mean by 0.1, not the nearest fraction of two.
        amount = Decimal(said if isinstance(said, str) else repr(said))
    except InvalidOperation:
        raise MoneyError(f"{expected}, got {said!r:.64}; send a number", field) from None
    if not amount.is_finite() or not 0 <= amount <= MOST_UNITS:
        raise MoneyError(f"{expected}, got {said!r:.64}; correct it", field)
    millionths = amount * PER_UNIT
    if millionths != int(millionths):
        raise MoneyError(f"{expected}, got {said!r:.64}; round it to a millionth", field)
    return int(millionths)


def plain_money(millionths: int) -> float:
    """Returns whole millionths as a number of JSON, in units of the currency; exact up to `MOST_UNITS`.

    Example:
        >>> plain_money(2_500_000), plain_money(3_000_000), plain_money(1)
        (2.5, 3, 1e-06)
    """
    whole, rest = divmod(millionths, PER_UNIT)
    return millionths / PER_UNIT if rest else whole
