"""Text files as Polars scans them: decompressed, in UTF-8, without a byte order mark."""

import codecs
import gzip
import io
from pathlib import Path
from typing import IO

from marquee.data.table_config import TableConfig

ScanSource = Path | bytes

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LONGEST_MARK = 4
_MARK = "\ufeff"


def read_text(path: Path, config: TableConfig, *, keeps_mark: bool = False) -> ScanSource:
    """Returns a source for Polars: the file itself, or its bytes as UTF-8 without mark.

    A byte order mark says how a file is written, whatever the declared encoding is.

    Args:
        path: The file.
        config: Says its encoding.
        keeps_mark: Whether the reader drops the mark of UTF-8 itself, so that the file need not be in memory.
    """
    with open_binary(path) as file:
        head = file.read(_LONGEST_MARK)
        # The mark outweighs the config: what it says is in the file itself.
        encoding = next((name for mark, name in _MARKS if head.startswith(mark)), config.encoding)
        if is_utf8(encoding) or (keeps_mark and encoding == "utf-8-sig"):
            return path
        # utf-16-le and its like, when declared, leave the mark as a character of the text.
        return (head + file.read()).decode(encoding).removeprefix(_MARK).encode()


def is_utf8(encoding: str) -> bool:
    """Returns whether text in an encoding can be scanned as it is."""
    return encoding.lower().replace("-", "").replace("_", "") in ("utf8", "ascii")


def open_binary(source: ScanSource) -> IO[bytes]:
    """Returns the opened file, decompressed if its name ends in .gz."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    return gzip.open(source, "rb") if is_gzip(source) else source.open("rb")  # type: ignore[return-value]  # GzipFile reads as IO


def is_gzip(path: Path) -> bool:
    """Returns whether a file is compressed, as its name says."""
    return path.suffix.lower() == ".gz"
