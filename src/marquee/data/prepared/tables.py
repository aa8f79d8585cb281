"""The tables of items and users, which are read whole: validated once, for all tasks that come after."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec

from marquee.core.plain import from_plain
from marquee.core.schema import ITEMS, USERS
from marquee.data.prepared.declared import from_text
from marquee.data.prepared.layout import write_facts, write_frame
from marquee.data.reading.quality import TableQuality
from marquee.data.reading.tables import read_table


def validate_table(out: Path, inputs: Sequence[Path], *, declared: str, root: str, table: str) -> None:
    """Writes a validated table of items or users, and what became of its rows.

    Args:
        out: Folder: `table.arrow`, `quality.json`, and the rejected rows where there are any.
        inputs: The files of the table.
        declared: Declaration of the data set.
        root: Where its paths start.
        table: `items` or `users`.
    """
    assert inputs, f"{table} must have a file"
    schema = {ITEMS.name: ITEMS, USERS.name: USERS}[table]
    out.mkdir()
    rows, quality = read_table(schema, from_text(declared, root), None, out)
    write_frame(out / "table.arrow", rows)
    write_facts(out / "quality.json", msgspec.to_builtins(asdict(quality)))


def read_quality(folder: Path) -> TableQuality:
    """Returns the counts of a table that `validate_table` has written."""
    return from_plain(msgspec.json.decode((folder / "quality.json").read_bytes()), TableQuality)
