"""The names of prepared files, and how arrays and tables stand in them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from marquee.core.event_kinds import EventKind

ID = "id"
GROUP = "group"
SOURCE = "__source"

PARTS = "parts"
REPEATED = "repeated"
BUCKETS = "buckets"
SURVEY = "survey.json"
QUALITY = "quality.json"
SPLITS = "splits"
USERS = "users"
ITEMS = "items"
INDICES = "indices"
TABLES = "tables"

KINDS = pl.Enum([kind.value for kind in EventKind])
"""Kinds as numbers: the place of each in `EventKind`."""

TRAINED, LATER, UNCOUNTED = 0, 1, 2
"""Groups of users: those of training, others who did something that counts, and the rest. The index of a name
counts within its group first."""

CATALOG, OUTSIDE = 1, 2
"""Groups of items behind those of training: the rest of the catalog, and what stands in events alone."""


def numbered(folder: str, number: int) -> str:
    """Returns the name of one of many files or folders."""
    return f"{folder}/{number:05d}"


def write_array(folder: Path, name: str, array: npt.NDArray[Any]) -> None:
    """Writes an array into a folder, as a file that can be mapped into memory."""
    np.save(folder / f"{name}.npy", array, allow_pickle=False)


def read_array(folder: Path, name: str) -> npt.NDArray[Any]:
    """Returns an array of a folder, mapped into memory: pages are read when they are asked for."""
    path = folder / f"{name}.npy"
    # NumPy maps no file of no bytes.
    is_empty = path.stat().st_size <= 128
    array: npt.NDArray[Any] = np.load(path, mmap_mode=None if is_empty else "r", allow_pickle=False)
    return array


def has_array(folder: Path, name: str) -> bool:
    """Returns whether a folder holds an array."""
    return (folder / f"{name}.npy").is_file()


def write_frame(path: Path, frame: pl.DataFrame) -> None:
    """Writes a table, uncompressed, so that it can be mapped into memory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # In one piece: what is written in pieces is read in pieces, and each search would look into all.
    frame.rechunk().write_ipc(path, compression="uncompressed", record_batch_size=max(len(frame), 1))


def read_frame(path: Path) -> pl.DataFrame:
    """Returns a table, mapped into memory."""
    return pl.read_ipc(path)


def write_facts(path: Path, facts: Mapping[str, object]) -> None:
    """Writes counts and the like as JSON, the same bytes for the same facts."""
    path.write_text(json.dumps(facts, indent=1, sort_keys=True), encoding="utf-8")


def read_facts(path: Path) -> dict[str, Any]:
    """Returns facts that `write_facts` has written."""
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return facts


def codes(values: pl.Series, names: pl.Series) -> npt.NDArray[np.int64]:
    """Returns the place of each value among distinct names, (n,) int64; -1 where it is none of them."""
    places = names.to_frame(ID).with_row_index("place")
    found = values.to_frame(ID).join(places, on=ID, how="left", maintain_order="left")["place"]
    return found.cast(pl.Int64).fill_null(-1).to_numpy()
