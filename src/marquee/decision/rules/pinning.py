"""Pins of one request: which stand, and why others do not.

A pin never beats a block, the kind, availability, a withdrawal, or what the request filters out or excludes:
its place is then filled by the next best, and the other pins stay where they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from marquee.decision.requests import RuleNotApplied
from marquee.decision.rules.ruling import PinnedItem


@dataclass(frozen=True, slots=True)
class Standing:
    """The pins of one request.

    Attributes:
        pins: Those that may stand, by place, no place and no item twice.
        refused: Why the others do not.
    """

    pins: tuple[PinnedItem, ...] = ()
    refused: tuple[RuleNotApplied, ...] = ()

    def seated(self, items: Sequence[int]) -> tuple[list[str], list[RuleNotApplied]]:
        """Returns the rules whose pins stand in an answer, and those whose pins stand elsewhere.

        Args:
            items: item_index of each place.
        """
        applied, moved = [], []
        for pin in self.pins:
            if pin.place < len(items) and items[pin.place] == pin.item:
                applied.append(pin.rule_id)
            else:
                # Only at the end of a short answer: nothing was left for the places above.
                why = (
                    f"{pin.item_id!r} stands at place {items.index(pin.item) + 1} and not at "
                    f"{pin.place + 1}: nothing else may fill the places between"
                )
                moved.append(RuleNotApplied(pin.rule_id, why))
        return applied, moved


def standing_pins(
    pins: Sequence[PinnedItem], k: int, reason_against: Callable[[int], str | None]
) -> Standing:
    """Returns the pins of one request.

    Args:
        pins: Of the rules that hold, by place.
        k: How many items are wanted.
        reason_against: Says why an item may not be in the answer, None if it may; 0 stands for no item.
    """
    standing: dict[int, PinnedItem] = {}
    holders: dict[int, str] = {}
    refused = []
    for pin in pins:
        if pin.item in standing:
            why = f"{pin.item_id!r} stands at place {standing[pin.item].place + 1} already"
        elif pin.place in holders:
            why = f"place {pin.place + 1} is that of {holders[pin.place]!r}"
        elif pin.place >= k:
            why = f"place {pin.place + 1} is behind the {k} that were asked for"
        elif reason := reason_against(pin.item):
            why = f"{pin.item_id!r} {reason}"
        else:
            standing[pin.item] = pin
            holders[pin.place] = pin.rule_id
            continue
        refused.append(RuleNotApplied(pin.rule_id, why))
    return Standing(tuple(standing.values()), tuple(refused))
