"""One row: a measure, its reference, and what it must be."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """The measured side of a row.

    Attributes:
        text: For people.
        is_within: Whether it is what it must be.
    """

    text: str
    is_within: bool


@dataclass(frozen=True)
class Row:
    """One claim.

    Attributes:
        name: What it is about.
        reference: What others, or earlier runs, found.
        must: What it must be.
        measure: Measures it now.
    """

    name: str
    reference: str
    must: str
    measure: Callable[[], Measured]
