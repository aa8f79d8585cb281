import pytest

from marquee.ads.openrtb.notices import NoticeKind, NoticeSigner, Settled
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
