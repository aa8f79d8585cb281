"""Lines of a body that is never held whole."""

from collections.abc import Iterator
from dataclasses import dataclass

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is not blank.

    Attributes:
        number: Its number in the body, from 1; blank lines count.
        text: Its bytes without their end; None if there are more than allowed.
    """

    number: int
    text: bytes | None


class LineSplitter:
    r"""Cuts pieces of a body into lines; holds one line at most, and none that is too long.

    Lines end with `\n` or `\r\n`. A byte order mark at the beginning is passed over.

    Args:
        max_bytes: Longest line, its end left out.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = bytearray()
        self._is_too_long = False
        self._number = 1

    @property
    def n_held(self) -> int:
        """Bytes of the line whose end has not come yet."""
        return len(self._held)

    def feed(self, piece: bytes) -> Iterator[Line]:
        """Gives the lines that end in a piece."""
        start = 0
        # Bytes, not text: a piece may end within a character, but no UTF-8 character holds an end of line.
        while (end := piece.find(b"\n", start)) >= 0:
            self._hold(piece[start:end])
            yield from self._take()
            start = end + 1
        self._hold(piece[start:])

    def end(self) -> Iterator[Line]:
        """Gives the last line if it has no end of its own."""
        yield from self._take()

    def _hold(self, part: bytes) -> None:
        """Adds to the line that is being read, unless it is too long already."""
        # Room for the mark and for `\r`, which are no part of the line.
        if self._is_too_long or len(self._held) + len(part) > self._max_bytes + len(_BOM) + 1:
            self._is_too_long = True
            self._held.clear()
        else:
            self._held += part

    def _take(self) -> Iterator[Line]:
        """Gives the line that is complete, unless it is blank, and begins the next one."""
        text = bytes(self._held).removesuffix(b"\r")
        if self._number == 1:
            text = text.removeprefix(_BOM)
        if self._is_too_long or len(text) > self._max_bytes:
            yield Line(self._number, None)
        elif text and not text.isspace():
            yield Line(self._number, text)
        self._held.clear()
        self._is_too_long = False
        self._number += 1
