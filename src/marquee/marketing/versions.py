"""Versions: equal tables, settings and seeds have equal ones."""

import hashlib
import json
from dataclasses import asdict, is_dataclass

import polars as pl

_LENGTH = 12


def version_of(*parts: object) -> str:
    """Returns a short digest of tables, configs and plain values.

    Example:
        >>> version_of("a", 1) == version_of("a", 1), version_of("a") == version_of("b")
        (True, False)
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(_bytes(part))
        digest.update(b"\0")
    return digest.hexdigest()[:_LENGTH]


def _bytes(part: object) -> bytes:
    """Returns a part as bytes."""
    if isinstance(part, pl.DataFrame):
        # As text, which is the same for every release of the library that reads it.
        return part.write_csv().encode()
    if is_dataclass(part) and not isinstance(part, type):
        part = asdict(part)
    return json.dumps(part, sort_keys=True, default=str).encode()
