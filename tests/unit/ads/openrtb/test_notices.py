import pytest

from marquee.ads.openrtb.notices import PRICE_MACRO, NoticeKind, NoticeSigner, Settled, settled_price
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


# Two units of ours for a thousand at most and one at least; a unit buys 1.25 of theirs.
PRICED = Settled("d", "1", "shoes", "sku-1", 2_000_000, 1.25, NOW + 3600, floor=1_000_000)


@pytest.mark.parametrize(
    ("said", "price"),
    [("2.5", 2_000), ("1.25", 1_000), ("2", 1_600), ("1.500001", 1_201), ("", None), (PRICE_MACRO, None)],
)
def test_price_of_an_impression_is_in_our_money_and_rounded_up(said: str, price: int | None) -> None:
    assert settled_price(PRICED, said) == price


@pytest.mark.parametrize("said", ["2.51", "1.24", "0", "-1", "nan", "inf", "free", "1e400", "2,5"])
def test_price_that_cannot_be_is_refused(said: str) -> None:
    with pytest.raises(NoticeError, match="from the floor to the bid") as refused:
        settled_price(PRICED, said)
    assert refused.value.reason == "impossible_price"
