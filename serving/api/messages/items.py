"""Requests that add items, and their answers."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from marquee.core.catalog import ItemKind
from serving.api.messages.requests import FeatureValue, Id
from serving.releases.item_listing import ListedItem
from serving.releases.live_items import PlacedItem

MAX_ATTRIBUTES = 200
LATEST_MOMENT = 253_402_300_799
"""The last second of the year 9999: whatever is beyond it was meant in milliseconds."""


_Moment = int | float | None


class ItemMessage(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """An item as it is from now on: what is left out it does not have."""

    item_id: Annotated[Id, Meta(description="The item.")]
    kind: Annotated[ItemKind, Meta(description="Content or ad.")] = ItemKind.content
    available_from: Annotated[
        _Moment, Meta(description="First second in which it may be shown, since 1970 UTC; null for always.")
    ] = None
    available_until: Annotated[
        _Moment, Meta(description="First second in which it may no longer be shown; null for never.")
    ] = None
    attributes: Annotated[
        dict[Id, FeatureValue],
        Meta(max_length=MAX_ATTRIBUTES, description="As in the items table, by column."),
    ] = msgspec.field(default_factory=dict)


class ItemsRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Items to add, or to say anew; all are taken or none."""

    items: Annotated[tuple[ItemMessage, ...], Meta(min_length=1, description="Each once.")]
    surface: Annotated[str | UnsetType, Meta(description="The items of whose bundle are meant.")] = UNSET


class ItemChange(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """New values of an item; whatever is left out stays as it is."""

    available_from: Annotated[
        _Moment | UnsetType,
        Meta(description="First second in which it may be shown, since 1970 UTC; null for always."),
    ] = UNSET
    available_until: Annotated[
        _Moment | UnsetType,
        Meta(description="First second in which it may no longer be shown; null for never."),
    ] = UNSET
    attributes: Annotated[
        dict[Id, FeatureValue],
        Meta(max_length=MAX_ATTRIBUTES, description="New values by column; null takes one away."),
    ] = msgspec.field(default_factory=dict)


class ItemsAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The outcome of a change of items; it is on disk, and other workers follow within two seconds."""

    request_id: Annotated[str, Meta(description="The id under which the service's log speaks of the change.")]
    version: Annotated[str, Meta(description="The release that read the items.")]
    items: Annotated[tuple[PlacedItem, ...], Meta(description="What became of each.")]
    n_kept: Annotated[int, Meta(description="Items that the service keeps, withdrawn ones included.")]
    max_kept: Annotated[int, Meta(description="How many it may keep.")]


class RejectedLine(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A line that was not taken."""

    line: Annotated[int, Meta(description="Its number, from 1; blank lines count.")]
    reason: Annotated[str, Meta(description="The code with which its item alone would be refused.")]
    message: Annotated[str, Meta(description="What came, what was expected, what to do.")]
    field: Annotated[str | None, Meta(description="The field at fault, null for the line as a whole.")] = None


class ItemsImportAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The outcome of an import; what was taken is on disk, and other workers follow within two seconds."""

    request_id: Annotated[str, Meta(description="The id under which the service's log speaks of the import.")]
    version: Annotated[str, Meta(description="The release that answers.")]
    taken: Annotated[dict[str, int], Meta(description="Lines that were taken, by state.")]
    rejected: Annotated[dict[str, int], Meta(description="Lines that were not, by reason.")]
    rejected_lines: Annotated[tuple[RejectedLine, ...], Meta(description="The first 100 of these.")]
    unknown_attributes: Annotated[
        dict[str, int],
        Meta(description="Lines by attribute that the catalog does not have; of 100 attributes."),
    ]
    unread_attributes: Annotated[
        dict[str, int],
        Meta(description="Lines by attribute whose value is of another type; of 100 attributes."),
    ]
    n_kept: Annotated[int, Meta(description="Items that the service keeps, withdrawn ones included.")]
    max_kept: Annotated[int, Meta(description="How many it may keep.")]


class ItemsPage(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Some of the items, and where the next page begins."""

    version: Annotated[str, Meta(description="The release that answers.")]
    items: Annotated[tuple[ListedItem, ...], Meta(description="In an order that stays.")]
    cursor: Annotated[
        str | None,
        Meta(description="For the next page; null behind the last. A page may be short of items."),
    ] = None
