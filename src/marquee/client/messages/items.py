"""Messages: of the group `items`; written by `make lock`."""

from collections.abc import Mapping, Sequence

import msgspec

from marquee.client.messages.shared import FeatureValue


class ItemMessage(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """An item as it is from now on: what is left out it does not have.

    Attributes:
        item_id: The item.
        kind: Content or ad. Left out: "content". One of `ad`, `content`.
        available_from: First second in which it may be shown, since 1970 UTC; null for always.
        available_until: First second in which it may no longer be shown; null for never.
        attributes: As in the items table, by column.
    """

    item_id: str
    kind: str | None = None
    available_from: int | None = None
    available_until: int | None = None
    attributes: Mapping[str, FeatureValue] = {}


class ItemsRequest(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Items to add, or to say anew; all are taken or none.

    Attributes:
        items: Each once.
        surface: The items of whose bundle are meant.
    """

    items: Sequence[ItemMessage]
    surface: str | None = None


class PlacedItem(msgspec.Struct, kw_only=True, frozen=True):
    """The outcome for an item, and which of its attributes the release ignores or cannot read.

    Attributes:
        item_id: The item.
        state: `live`: it is searched. `in_release`: the release's own copy answers. `changed`: it answers
            with what was changed. `withdrawn`. One of `changed`, `in_release`, `live`, `withdrawn`.
        unknown_attributes: Attributes that the catalog does not have; they say nothing.
        unread_attributes: Attributes whose value is of another type; they count as not given.
        caution: Why it changes no answer although it was taken; null if nothing is in the way.
    """

    item_id: str
    state: str
    unknown_attributes: tuple[str, ...] = ()
    unread_attributes: tuple[str, ...] = ()
    caution: str | None = None


class ItemsAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The outcome of a change of items; it is on disk, and other workers follow within two seconds.

    Attributes:
        request_id: The id under which the service's log speaks of the change.
        version: The release that read the items.
        items: What became of each.
        n_kept: Items that the service keeps, withdrawn ones included.
        max_kept: How many it may keep.
    """

    request_id: str
    version: str
    items: tuple[PlacedItem, ...]
    n_kept: int
    max_kept: int


class RejectedLine(msgspec.Struct, kw_only=True, frozen=True):
    """A line that was not taken.

    Attributes:
        line: Its number, from 1; blank lines count.
        reason: The code with which its item alone would be refused.
        message: What came, what was expected, what to do.
        field: The field at fault, null for the line as a whole.
    """

    line: int
    reason: str
    message: str
    field: str | None = None


class ItemsImportAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The outcome of an import; what was taken is on disk, and other workers follow within two seconds.

    Attributes:
        request_id: The id under which the service's log speaks of the import.
        version: The release that answers.
        taken: Lines that were taken, by state.
        rejected: Lines that were not, by reason.
        rejected_lines: The first 100 of these.
        unknown_attributes: Lines by attribute that the catalog does not have; of 100 attributes.
        unread_attributes: Lines by attribute whose value is of another type; of 100 attributes.
        n_kept: Items that the service keeps, withdrawn ones included.
        max_kept: How many it may keep.
    """

    request_id: str
    version: str
    taken: dict[str, int]
    rejected: dict[str, int]
    rejected_lines: tuple[RejectedLine, ...]
    unknown_attributes: dict[str, int]
    unread_attributes: dict[str, int]
    n_kept: int
    max_kept: int


class ListedItem(msgspec.Struct, kw_only=True, frozen=True):
    """An item as the service has it.

    Attributes:
        item_id: The item.
        state: `live`, `in_release` or `withdrawn`; of the last nothing else is told. One of `changed`,
            `in_release`, `live`, `withdrawn`.
        kind: Content or ad. One of `ad`, `content`.
        available_from: First second in which it may be shown, since 1970 UTC; null for always.
        available_until: First second in which it may no longer be shown; null for never.
        attributes: As in the items table, by column; those without a value are left out.
    """

    item_id: str
    state: str
    kind: str | None = None
    available_from: int | None = None
    available_until: int | None = None
    attributes: dict[str, bool | int | float | str | tuple[bool | int | float | str | None, ...] | None] = {}


class ItemsPage(msgspec.Struct, kw_only=True, frozen=True):
    """Some of the items, and where the next page begins.

    Attributes:
        version: The release that answers.
        items: In an order that stays.
        cursor: For the next page; null behind the last. A page may be short of items.
    """

    version: str
    items: tuple[ListedItem, ...]
    cursor: str | None = None


class ItemChange(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """New values of an item; whatever is left out stays as it is.

    Attributes:
        available_from: First second in which it may be shown, since 1970 UTC; null for always.
        available_until: First second in which it may no longer be shown; null for never.
        attributes: New values by column; null takes one away.
    """

    available_from: int | float | None = None
    available_until: int | float | None = None
    attributes: Mapping[str, FeatureValue] = {}
