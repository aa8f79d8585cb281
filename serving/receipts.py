"""Makes the key by which receipts of erasures are signed, and verifies receipts: the command.

`python -m serving.receipts make_key path=keys/receipts` makes a pair. `python -m serving.receipts verify
receipt=receipt.json key=keys/receipts.pub` reads the answer of the service to an erasure.
"""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from marquee.errors import MarqueeError
from marquee.store.people.erasing.receipts import ErasureReceipt, SignedReceipt
from marquee.store.signing import SigningKey, TrustedKeys, write_key_pair

USAGE = (
    "usage: python -m serving.receipts make_key path=<file>\n"
    "       python -m serving.receipts verify receipt=<file> key=<file of public keys>"
)
_NEEDED = {"make_key": {"path"}, "verify": {"receipt", "key"}}


def main(arguments: Sequence[str]) -> int:
    """Does what the first argument names; returns the exit status."""
    name, *rest = arguments or [""]
    given = dict(argument.partition("=")[::2] for argument in rest)
    if name not in _NEEDED or given.keys() != _NEEDED[name]:
        print(USAGE, file=sys.stderr)
        return 2
    try:
        print(_make_key(given) if name == "make_key" else _verify(given))
    except (MarqueeError, OSError, msgspec.MsgspecError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _make_key(given: Mapping[str, str]) -> str:
    """Makes a pair of keys; returns what each is for."""
    private, public = write_key_pair(Path(given["path"]))
    return (
        f"key {SigningKey.read(private).key_id}\n"
        f"private {private}: for the service alone (MARQUEE_RECEIPT_KEY); bundles are signed by another\n"
        f"public {public}: give it to whoever is to verify receipts"
    )


def _verify(given: Mapping[str, str]) -> str:
    """Verifies a receipt; returns what it says."""
    signed = msgspec.json.decode(Path(given["receipt"]).read_bytes(), type=SignedReceipt)
    signed.verify(TrustedKeys.read(given["key"]))
    assert signed.signature is not None, "a receipt that was verified is signed, got none"
    return f"verified, signed by the key {signed.signature.key_id}\n{_in_words(signed.receipt)}"


def _in_words(receipt: ErasureReceipt) -> str:
    """Returns a receipt in words."""
    state = f"finished {_moment(receipt.finished)}" if receipt.finished else f"due {_moment(receipt.due)}"
    lines = [
        f"asked for {_moment(receipt.asked)}, {state}",
        f"from the store {receipt.events} events and {receipt.decisions} answers, from files "
        f"{receipt.events_in_files} events and {receipt.decisions_in_files} answers",
        *(
            f"release {release.version} holds what it learned, which no answer looks up, until "
            f"{_moment(release.until)}"
            for release in receipt.releases
        ),
    ]
    return "\n".join(lines)


def _moment(seconds: int) -> str:
    """Returns a moment as people write it, UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
