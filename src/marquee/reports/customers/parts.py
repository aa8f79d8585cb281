"""The part of a trait in the report, and how small cells are kept out of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any  # of JSON

from marquee.marketing.traits import TraitResult
from marquee.reports.evidence.page import Finding, Section

MIN_CELL = 50
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


def suppressed(counts: Sequence[int], floor: int = MIN_CELL) -> tuple[bool, ...]:
    """Returns which cells of a partition must not be shown, so that none can be had by subtraction.

    A cell below the floor is hidden. If those hidden are together below it, or only one, the next smallest is
    hidden with them: the total less the shown ones would tell it.

    Example:
        >>> suppressed([400, 30, 70])
        (False, True, True)
        >>> suppressed([400, 0, 70])
        (False, False, False)
    """
    # A cell of nobody tells of nobody.
    hidden = [0 < count < floor for count in counts]
    while any(hidden) and not all(
        is_hidden or not count for is_hidden, count in zip(hidden, counts, strict=True)
    ):
        under = [count for count, is_hidden in zip(counts, hidden, strict=True) if is_hidden]
        if len(under) > 1 and sum(under) >= floor:
            break
        shown = [place for place, is_hidden in enumerate(hidden) if not is_hidden and counts[place]]
        hidden[min(shown, key=lambda place: counts[place])] = True
    return tuple(hidden)


def count_text(count: int) -> str:
    """Returns a count of people; below the floor only that it is below it.

    Example:
        >>> count_text(49), count_text(1234)
        ('< 50', '1,234')
    """
    return f"< {MIN_CELL}" if 0 < count < MIN_CELL else f"{count:,}"
