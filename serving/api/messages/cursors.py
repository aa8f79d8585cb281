"""Cursors: the items that were shown already, as text that an app sends back and need not understand.

A cursor holds the release and the items of all answers before it, so that nothing is kept for it here and any
worker can go on. It is not signed: whoever changes one excludes other items, which a request may do anyway.
"""

import base64
import binascii
import zlib
from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec import MsgspecError

from marquee.core.ids import PADDING_INDEX
from marquee.decision.item_pool import ItemPool
from serving.http.errors import Problem, Refusal

MAX_SHOWN = 2000
"""After so many items there is no further cursor: nobody scrolls that far, and each costs bytes."""

MAX_CHARACTERS = 16_384
_MAX_BYTES = 65_536


class Cursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The items that were shown.

    Attributes:
        version: The release.
        own: The items of the bundle, packed.
        live: The live items, by id.
    """

    version: str
    own: bytes
    live: tuple[str, ...]

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """Returns the cursor that a text is; raises Refusal if it is none."""
        try:
            inflating = zlib.decompressobj()
            packed = inflating.decompress(base64.b64decode(text, b"-_", validate=True), _MAX_BYTES)
            checksum, body = packed[:4], packed[4:]
            if not inflating.eof or checksum != _checksum(body):
                raise ValueError(f"the cursor is damaged, got {len(packed)} bytes; send it as it came")
            return msgspec.msgpack.decode(body, type=cls)
        except (binascii.Error, zlib.error, MsgspecError, ValueError) as error:
            raise _no_cursor(text) from error

    def shown(self, item_pool: ItemPool) -> tuple[str, ...]:
        """Returns the ids of the items that were shown; raises Refusal if the items are not of this release.

        Args:
            item_pool: Of the release that the cursor names.
        """
        if len(self.own) % 4:
            raise _no_cursor(self.version)
        items = np.cumsum(np.frombuffer(self.own, dtype="<u4").astype(np.int64))
        if len(items) and not PADDING_INDEX < items[0] <= items[-1] <= item_pool.table.n_own:
            raise _no_cursor(self.version)
        return (*item_pool.table.decode(items), *self.live)


def write_cursor(item_pool: ItemPool, version: str, shown: Sequence[str]) -> str | None:
    """Returns the cursor behind some items; None if that is more than a cursor holds.

    Args:
        item_pool: Of the release.
        version: The release.
        shown: Ids of all items so far; one that is gone meanwhile needs no place.
    """
    if len(shown) > MAX_SHOWN:
        return None
    items = item_pool.table.encode(shown)
    own = np.unique(items[(items != PADDING_INDEX) & (items <= item_pool.table.n_own)])
    live = tuple(
        [id_ for id_, item in zip(shown, items.tolist(), strict=True) if item > item_pool.table.n_own]
    )
    # Differences of sorted numbers are small, which is what makes the text short.
    packed = np.diff(own, prepend=0).astype("<u4").tobytes()
    body = msgspec.msgpack.encode(Cursor(version, packed, live))
    if len(body) + len(_checksum(body)) > _MAX_BYTES:
        return None
    text = base64.urlsafe_b64encode(zlib.compress(_checksum(body) + body)).decode()
    return text if len(text) <= MAX_CHARACTERS else None


def _checksum(body: bytes) -> bytes:
    """Returns four bytes that tell a damaged cursor."""
    return zlib.crc32(body).to_bytes(4, "little")


def _no_cursor(text: str) -> Refusal:
    """Returns the refusal of a text that is no cursor."""
    return Refusal(
        Problem.invalid_request,
        f"cursor must be one that an answer gave, got {text[:32]!r}; leave it out to begin anew",
        field="cursor",
    )
