"""The creatives of an answer: each item by its attributes, counted as far as the bundle's log told."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from marquee.bundle.bundle import Bundle
from marquee.core.ids import PADDING_INDEX
from marquee.decision.creatives.choosing import CreativeCounts, CreativeSet
from marquee.decision.item_table import ItemTable


@dataclass(frozen=True, slots=True)
class ItemCreative:
    """How one item of an answer is said.

    Attributes:
        item_id: The item.
        name: Of the creative; empty where none may be shown, as a field is missing or the text is too long.
        text: Escaped for HTML; empty likewise.
        propensity: Probability with which it was chosen among those that may be shown, in (0, 1].
    """

    item_id: str
    name: str = ""
    text: str = ""
    propensity: float = 1.0


def choose_creatives(
    creatives: CreativeSet,
    table: ItemTable,
    item_ids: Sequence[str],
    decision_id: str,
    counts: CreativeCounts,
) -> tuple[ItemCreative, ...]:
    """Returns one creative per item of an answer, in their order.

    Args:
        creatives: Of the surface.
        table: Knows the attributes of the items, live ones too.
        item_ids: Of the answer.
        decision_id: Of the answer: all draws follow from it.
        counts: What came of the creatives before.
    """
    items = table.encode(item_ids)
    # An item that was taken away since it was chosen has no attributes any more.
    is_known = items != PADDING_INDEX
    columns = {name: iter(table.values(name, items[is_known])) for name in creatives.fields}
    said = []
    for item_id, known in zip(item_ids, is_known.tolist(), strict=True):
        fields = {name: next(column) for name, column in columns.items()} if known else {}
        chosen = creatives.choose(fields, decision_id, item_id, counts)
        said.append(
            ItemCreative(item_id)
            if chosen is None
            else ItemCreative(item_id, chosen.name, chosen.text, chosen.propensity)
        )
    return tuple(said)


def creative_counts(bundle: Bundle, surface: str | None) -> CreativeCounts:
    """Returns the counts of the creatives of a surface in the log of a bundle; none where it has none."""
    if bundle.click_counts is None:
        return CreativeCounts()
    told = bundle.click_counts.creatives_on(surface)
    return CreativeCounts(
        {name: shown for name, (_, shown) in told.items()},
        {name: clicked for name, (clicked, _) in told.items()},
    )


def validate_fields(creatives: CreativeSet, table: ItemTable) -> None:
    """Raises DataError if a template names a field that no item can have."""
    for name in creatives.fields:
        table.values(name, np.zeros(0, dtype=np.int64))
