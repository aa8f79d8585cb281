"""The command that makes the key for receipts and verifies them."""

import json
from pathlib import Path

import msgspec
import pytest

from marquee.store.people.erasing.receipts import ErasureReceipt, HoldingRelease, signed
from marquee.store.signing import SigningKey
from serving import receipts
from serving.api.messages.erasures import ReceiptAnswer


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    assert receipts.main(["make_key", f"path={tmp_path / 'keys' / 'receipts'}"]) == 0
    receipt = ErasureReceipt(
        erasure_id="e1",
        handle="5f",
        asked=1_700_000_000,
        due=1_700_086_400,
        events=12,
        events_in_files=30,
        releases=(HoldingRelease("v1", 1_700_600_000),),
    )
    answer = ReceiptAnswer.of(signed(receipt, SigningKey.read(tmp_path / "keys" / "receipts")), "r1")
    path = tmp_path / "receipt.json"
    # As the service sends it, made readable: spaces and order say nothing.
    path.write_text(json.dumps(msgspec.to_builtins(answer), indent=2, sort_keys=True))
    return path


def test_receipt_is_verified_by_the_public_key(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = saved.parent / "keys" / "receipts.pub"
    assert receipts.main(["verify", f"receipt={saved}", f"key={key}"]) == 0
    told = capsys.readouterr().out
    assert "verified, signed by the key " in told
    assert "from the store 12 events and 0 answers, from files 30 events and 0 answers" in told
    assert "asked for 2023-11-14 22:13:20, due 2023-11-15 22:13:20" in told
    assert "release v1 holds what it learned" in told


def test_receipt_that_was_changed_is_refused(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved.write_text(saved.read_text().replace('"events": 12', '"events": 13'))
    assert receipts.main(["verify", f"receipt={saved}", f"key={saved.parent / 'keys' / 'receipts.pub'}"]) == 1
    assert "the signature of the receipt e1 is not that of its content" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["verify", "receipt=x"], ["make_key", "file=x"], ["forge"]])
def test_wrong_arguments_show_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert receipts.main(arguments) == 2
    assert "usage: python -m serving.receipts make_key" in capsys.readouterr().err


def test_key_is_never_overwritten(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert receipts.main(["make_key", f"path={saved.parent / 'keys' / 'receipts'}"]) == 1
    assert "a key is never overwritten" in capsys.readouterr().err
