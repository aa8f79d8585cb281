import pytest
from hypothesis import given
from hypothesis import strategies as st

from marquee.ads.money import format_money, parse_money
from marquee.errors import DataError


@pytest.mark.parametrize(
    ("text", "millionths"),
    [("0", 0), ("12.50", 12_500_000), (" 1e2 ", 100_000_000), ("0.000001", 1), ("1000000000", 10**15)],
)
def test_amount_is_read(text: str, millionths: int) -> None:
    assert parse_money(text, "bid") == millionths


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("-1", "0 or more"),
        ("NaN", "finite"),
        ("Infinity", "finite"),
        ("0.0000001", "six decimals"),
        ("1,50", "such as 12.50"),
        ("", "such as 12.50"),
        ("1000000000.01", "at most"),
    ],
)
def test_wrong_amount_is_refused_with_its_name_and_value(text: str, said: str) -> None:
    with pytest.raises(DataError, match=f"bid .*{said}"):
        parse_money(text, "bid")


@given(st.integers(0, 10**15))
def test_what_is_said_is_read_back(millionths: int) -> None:
    assert parse_money(format_money(millionths, "EUR").removesuffix(" EUR"), "bid") == millionths


def test_amounts_for_people() -> None:
    assert format_money(12_500_000, "EUR") == "12.50 EUR"
    assert format_money(-1, "EUR") == "-0.000001 EUR"
