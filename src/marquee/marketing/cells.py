"""Which counts of people a report may show: none of a few, and none from which a few could be had."""

from collections.abc import Sequence

MIN_CELL = 50


def suppressed(
    counts: Sequence[int], floor: int = MIN_CELL, also: Sequence[bool] | None = None
) -> tuple[bool, ...]:
    """Returns which cells of a partition must not be shown, so that none can be had by subtraction.

    A cell below the floor is hidden. If those hidden are together below it, or only one, the next smallest is
    hidden with them: the total less the shown ones would tell it.

    Args:
        counts: Of each cell.
        floor: Least count that may be shown.
        also: Cells that are hidden for another reason.

    Example:
        >>> suppressed([400, 30, 70])
        (False, True, True)
        >>> suppressed([400, 0, 70])
        (False, False, False)
    """
    # A cell of nobody tells of nobody.
    hidden = [0 < count < floor or (also is not None and also[place]) for place, count in enumerate(counts)]
    while any(hidden) and not all(
        is_hidden or not count for is_hidden, count in zip(hidden, counts, strict=True)
    ):
        under = [count for count, is_hidden in zip(counts, hidden, strict=True) if is_hidden and count]
        if len(under) > 1 and sum(under) >= floor:
            break
        # Hidden cells of nobody leave nothing to be had.
        if not under:
            break
        shown = [place for place, is_hidden in enumerate(hidden) if not is_hidden and counts[place]]
        hidden[min(shown, key=lambda place: counts[place])] = True
    return tuple(hidden)
