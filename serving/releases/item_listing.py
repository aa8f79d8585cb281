"""Lists the items of a channel in pages: live ones, withdrawn ones, those of the release.

A page begins behind the item that its cursor names, in an order that does not change while it is read: by id
among what is kept, as in the catalog among the items of a release.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import msgspec

from marquee.core.catalog import ALWAYS_FROM, ALWAYS_UNTIL, Catalog, ItemKind
from marquee.core.ids import PADDING_INDEX
from marquee.decision.recommender import Recommender
from marquee.store.live_items import LiveItem
from serving.http.errors import Problem, Refusal
from serving.releases.live_items import ItemState

Value = bool | int | float | str | list[bool | int | float | str | None] | None
"""A value of an items table."""


class ListedItem(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """An item as the service has it.

    Attributes:
        item_id: The item.
        state: `live`, `in_release` or `withdrawn`; of the last nothing else is told.
        kind: Content or ad.
        available_from: First second in which it may be shown, since 1970 UTC; null for always.
        available_until: First second in which it may no longer be shown; null for never.
        attributes: As in the items table, by column; those without a value are left out.
    """

    item_id: str
    state: ItemState
    kind: ItemKind | None = None
    available_from: int | None = None
    available_until: int | None = None
    attributes: dict[str, Value] = {}


@dataclass(frozen=True, slots=True)
class ItemPage:
    """Some items of a channel.

    Attributes:
        version: The release that answers.
        items: In the order of the list.
        cursor: The item behind which the next page begins; None if there is none.
    """

    version: str
    items: tuple[ListedItem, ...]
    cursor: str | None


def list_items(
    recommender: Recommender, kept: Mapping[str, LiveItem], state: ItemState, after: str, limit: int
) -> ItemPage:
    """Returns a page of the items in a state.

    Args:
        recommender: The release that answers.
        kept: The live items of its channel, withdrawn ones included.
        state: The state.
        after: The cursor of the page before; '' for the first page.
        limit: Most items of the page.

    Raises:
        Refusal: If the release has no such item as the cursor names.
    """
    catalog = recommender.item_pool.table.own.catalog  # the bundle's, with what was changed of it
    if state is ItemState.in_release:
        items, cursor = _of_release(catalog, kept, after, limit, recommender.version)
    else:
        ids = sorted(id_ for id_, item in kept.items() if _state(item, catalog) is state)
        # Finds the place also where the item of the cursor is gone by now.
        first = bisect_right(ids, after)
        items = [_of_live(kept[id_], state) for id_ in ids[first : first + limit]]
        cursor = ids[first + limit - 1] if first + limit < len(ids) else None
    return ItemPage(recommender.version, tuple(items), cursor)


def _state(item: LiveItem, catalog: Catalog) -> ItemState | None:
    """Returns the state of an item that is kept; None for a change of what this release does not hold."""
    if item.is_withdrawn:
        return ItemState.withdrawn
    if not item.is_posted and item.item_id not in catalog.item_ids:
        return None
    return ItemState.in_release if item.item_id in catalog.item_ids else ItemState.live


def _of_live(item: LiveItem, state: ItemState) -> ListedItem:
    """Returns an item that is kept, of a withdrawn one the id alone."""
    if item.is_withdrawn:
        return ListedItem(item_id=item.item_id, state=state)
    return ListedItem(
        item_id=item.item_id,
        state=state,
        kind=item.kind,
        available_from=item.available_from,
        available_until=item.available_until,
        attributes=cast(
            dict[str, Value], {name: one for name, one in item.attributes.items() if one is not None}
        ),
    )


def _of_release(
    catalog: Catalog, kept: Mapping[str, LiveItem], after: str, limit: int, version: str
) -> tuple[Sequence[ListedItem], str | None]:
    """Returns items of a release that are not withdrawn, and the cursor behind them."""
    start = catalog.item_ids.index(after) if after else PADDING_INDEX
    if after and start == PADDING_INDEX:
        raise Refusal(
            Problem.invalid_request,
            f"cursor must be one that a page of release {version} gave, got {after[:128]!r}; begin anew, "
            "without it",
            field="cursor",
        )
    end = min(start + limit, catalog.n_items)
    ids = catalog.item_ids.ids[start:end]
    # A catalog without attributes has no rows at all.
    rows = catalog.attributes.slice(start, end - start).to_dicts() or [{} for _ in ids]
    items = [
        ListedItem(
            item_id=item_id,
            state=ItemState.in_release,
            kind=ItemKind.ad if catalog.is_ad[item] else ItemKind.content,
            available_from=_moment(catalog.available_from[item], ALWAYS_FROM),
            available_until=_moment(catalog.available_until[item], ALWAYS_UNTIL),
            attributes={name: value for name, value in row.items() if value is not None},
        )
        for item, (item_id, row) in enumerate(zip(ids, rows, strict=True), start + 1)
        if not (item_id in kept and kept[item_id].is_withdrawn)
    ]
    # By the catalog and not by the page: withdrawn items make a page shorter, not the last one.
    return items, ids[-1] if end < catalog.n_items else None


def _moment(moment: int, missing: int) -> int | None:
    """Returns a moment of the catalog, None for the one that stands for a missing one."""
    return None if moment == missing else int(moment)
