"""Receipts of erasures: what was deleted where, and until when a release still holds what it learned.

A receipt is kept when the erasure begins, and again when nothing is left; the second is final. It names the
person by their handle, which only the operator can make of an id. It is signed with a key of its own, so that
whoever has the public half can verify it without asking anybody.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from marquee.errors import SignatureError
from marquee.store.signing import RECEIPT_PURPOSE, Signature, SigningKey, TrustedKeys

_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class HoldingRelease:
    """A release that was made before the erasure and holds what it learned of the person.

    It holds a pseudonym that stands for nobody any more, and answers never look it up.

    Attributes:
        version: Its name.
        until: When it should have been replaced, seconds since 1970 UTC.
    """

    version: str
    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureReceipt:
    """The counts of an erasure, by where the rows were.

    Attributes:
        erasure_id: Its name.
        handle: Of whom, in hexadecimal digits.
        asked: When it was asked for, seconds since 1970 UTC. From then on nothing leads to the rows.
        due: By when it must be finished.
        finished: When nothing was left, None until then.
        events: Events deleted from the store.
        decisions: Decisions deleted from the store.
        events_in_files: Events deleted from files of closed days.
        decisions_in_files: Decisions deleted from files of closed days.
        releases: Releases that still hold what they learned.
    """

    erasure_id: str
    handle: str
    asked: int
    due: int
    finished: int | None = None
    events: int = 0
    decisions: int = 0
    events_in_files: int = 0
    decisions_in_files: int = 0
    releases: tuple[HoldingRelease, ...] = ()

    def content(self) -> bytes:
        """Returns the bytes that are signed: JSON with sorted names, so that a copy can be verified."""
        return msgspec.json.encode(self, order="sorted")


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """A receipt and who vouches for it.

    Attributes:
        receipt: What is said.
        signature: By the key for receipts, None where the service has none.
    """

    receipt: ErasureReceipt
    signature: Signature | None

    def verify(self, keys: TrustedKeys) -> None:
        """Raises SignatureError unless one of the keys has signed this very receipt."""
        if self.signature is None:
            raise SignatureError(
                f"the receipt {self.receipt.erasure_id} is not signed, expected a signature; start the "
                "service with MARQUEE_RECEIPT_KEY"
            )
        name = f"the receipt {self.receipt.erasure_id}"
        keys.verify_content(self.receipt.content(), self.signature, RECEIPT_PURPOSE, name)


def signed(receipt: ErasureReceipt, key: SigningKey | None) -> SignedReceipt:
    """Returns a receipt with the signature of a key, without one if there is no key."""
    return SignedReceipt(receipt, key.signature(receipt.content(), RECEIPT_PURPOSE) if key else None)


def stays(body: str, new: SignedReceipt) -> SignedReceipt | None:
    """Returns a receipt that is kept, from its JSON, if it is final and the new one is not; else None."""
    before = msgspec.json.decode(body, type=SignedReceipt)
    return before if before.receipt.finished is not None and new.receipt.finished is None else None


def erasure_id_of(handle: bytes, asked: int) -> str:
    """Returns the name of an erasure: the same for the same person and second, so that a retry finds it."""
    return hashlib.blake2b(handle + asked.to_bytes(8), digest_size=_ID_BYTES).hexdigest()


class Receipts(Protocol):
    """The receipts of a service. Every method may be called from several threads at once.

    All raise EventLogError where the store cannot be used. What a method changes is forced to disk when it
    returns.
    """

    def keep(self, signed: SignedReceipt) -> SignedReceipt:
        """Keeps a receipt in the place of an earlier one of the same erasure, and returns the one kept.

        One that is final gives way to no other that is not.
        """

    def find(self, handle: bytes) -> list[SignedReceipt]:
        """Returns the receipts of a person, the latest erasure first."""

    def held(self) -> Mapping[str, int]:
        """Returns how many erased users each release holds, by version."""

    def drop(self, before: int) -> int:
        """Deletes the receipts of erasures that were asked for before a second, and returns how many."""

    def begin_pass(self) -> None:
        """Notes that a pass has begun: until its end is noted, none has ended."""

    def note_pass(self, now: int) -> None:
        """Notes when the last pass ended."""

    def last_pass(self) -> int | None:
        """Returns when the last pass ended, seconds since 1970 UTC; None if there was none or one is on."""

    def wipe(self) -> bool:
        """Overwrites what deleted rows have left in the store; False where readers were in the way."""

    def close(self) -> None:
        """Gives up all connections."""
