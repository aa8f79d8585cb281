import pytest
from hypothesis import given
from hypothesis import strategies as st

from marquee.ads.openrtb.notices import NoticeKind, NoticeSigner, Settled, charge_of_notice
from marquee.errors import NoticeError

NOW = 1_700_000_000
SETTLED = Settled("d", "1", "shoes", "sku-1", 2_000_500, 1.25, NOW + 3600)
SIGNER = NoticeSigner(b"k" * 32)


def test_notice_is_read_as_it_was_signed() -> None:
    for kind in NoticeKind:
        assert SIGNER.read(kind, SIGNER.token(kind, SETTLED), NOW) == SETTLED


def test_notice_of_another_kind_key_or_byte_is_forged() -> None:
    token = SIGNER.token(NoticeKind.loss, SETTLED)
    others = [
        (NoticeSigner(b"o" * 32), NoticeKind.loss, token),
        (SIGNER, NoticeKind.billing, token),
        (SIGNER, NoticeKind.loss, token[:-3] + ("AAA" if token[-3:] != "AAA" else "BBB")),
        (SIGNER, NoticeKind.loss, ""),
        (SIGNER, NoticeKind.loss, "ä"),
        (SIGNER, NoticeKind.loss, "!!"),
    ]
    for signer, kind, sent in others:
        with pytest.raises(NoticeError) as refused:
            signer.read(kind, sent, NOW)
        assert refused.value.reason == "forged"


def test_notice_lapses() -> None:
    token = SIGNER.token(NoticeKind.billing, SETTLED)
    with pytest.raises(NoticeError, match="got one 5 s late") as refused:
        SIGNER.read(NoticeKind.billing, token, NOW + 3605)
    assert refused.value.reason == "lapsed"


@pytest.mark.parametrize(
    ("price", "charge"),
    [
        ("1.25", 1_000),  # a dollar and a quarter is a euro, a thousandth of it for each
        ("0", 0),
        ("99", 2_001),  # never above the bid, rounded up
        ("${AUCTION_PRICE}", 2_001),
        ("", 2_001),
        ("-1", 2_001),
        ("1e99", 2_001),
    ],
)
def test_price_never_counts_above_the_bid(price: str, charge: int) -> None:
    assert charge_of_notice(SETTLED, price) == charge


@given(st.integers(0, 2_500_000))
def test_charge_of_any_price_is_within_the_bid(millionths: int) -> None:
    charge = charge_of_notice(SETTLED, f"{millionths / 1e6:.6f}")
    assert 0 <= charge <= 2_001
    assert charge * 1000 * 1.25 >= min(millionths, SETTLED.bid * 1.25) - 1e-3
