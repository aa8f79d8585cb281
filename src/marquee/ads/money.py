"""Money: an integer of millionths of one declared currency.

A float cannot hold a cent, and a sum of floats depends on its order; a ledger must not.
"""

from decimal import Decimal, InvalidOperation

from marquee.errors import DataError

MILLIONTHS = 1_000_000

_MOST = 10**15
"""A thousand million of the currency: sums of thousands of them still fit in 64 bits."""


def parse_money(text: str, what: str) -> int:
    """Returns an amount in millionths.

    Args:
        text: A decimal number such as "12.50", in the currency's own unit.
        what: What it is, for the error.

    Raises:
        DataError: If it is no such number, negative, finer than a millionth or too large.
    """
    try:
        amount = Decimal(text.strip())
    except InvalidOperation:
        raise DataError(f"{what} must be a decimal number such as 12.50, got {text[:32]!r}") from None
    if not amount.is_finite():
        raise DataError(f"{what} must be a finite number, got {text[:32]!r}")
    if amount < 0:
        raise DataError(f"{what} must be 0 or more, got {text[:32]!r}")
    if amount > _MOST // MILLIONTHS:
        raise DataError(f"{what} must be at most {_MOST // MILLIONTHS}, got {text[:32]!r}")
    millionths = amount * MILLIONTHS
    if millionths != millionths.to_integral_value():
        raise DataError(f"{what} must have six decimals at most, got {text[:32]!r}")
    return int(millionths)


def format_money(millionths: int, currency: str) -> str:
    """Returns an amount for people, such as "12.50 EUR": two decimals, more where they are not 0."""
    sign = "-" if millionths < 0 else ""
    whole, rest = divmod(abs(millionths), MILLIONTHS)
    decimals = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{decimals} {currency}"
