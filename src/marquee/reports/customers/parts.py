"""The part of a trait in the report."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any  # of JSON

from marquee.marketing.cells import MIN_CELL
from marquee.marketing.traits import TraitResult
from marquee.reports.evidence.page import Finding, Section

SUPPRESSED = "suppressed"


@dataclass(frozen=True)
class Part:
    """The sections of one trait.

    Attributes:
        finding: The upshot.
        sections: In the order in which they should be read.
        facts: Everything as numbers, ready for JSON.
    """

    finding: Finding
    sections: tuple[Section, ...]
    facts: Mapping[str, Any]


View = Callable[[TraitResult], Part]


def count_text(count: int) -> str:
    """Returns a count of people; below the floor only that it is below it.

    Example:
        >>> count_text(49), count_text(1234)
        ('< 50', '1,234')
    """
    return f"< {MIN_CELL}" if 0 < count < MIN_CELL else f"{count:,}"
