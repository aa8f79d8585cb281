"""The routes by which items are added, changed and withdrawn while the service runs."""

import asyncio
import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from marquee.core.catalog import ItemKind
from marquee.store.live_items import LiveItem
from serving.api import messages as wire
from serving.config import Settings
from serving.http.errors import Problem, Refusal
from serving.releases.live_items import Change, ItemState, LiveItems, Placed
from serving.releases.surfaces import Surfaces
from serving.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

ITEMS = "/v1/items"
ITEM = "/v1/items/{item_id}"
MAX_ATTRIBUTES = 200

_ITEM = re.compile(r"(?:/v1)?/items/(.+)", re.DOTALL)
_Moment = int | float | None


class ItemMessage(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """An item as it is from now on: what is left out it does not have."""

    item_id: wire.Id
    kind: ItemKind = ItemKind.content
    available_from: Annotated[
        _Moment, Meta(description="First second in which it may be shown, since 1970 UTC; null for always.")
    ] = None
    available_until: Annotated[
        _Moment, Meta(description="First second in which it may no longer be shown; null for never.")
    ] = None
    attributes: Annotated[
        dict[wire.Id, wire.FeatureValue],
        Meta(max_length=MAX_ATTRIBUTES, description="As in the items table, by column."),
    ] = msgspec.field(default_factory=dict)


class ItemsRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Items to add, or to say anew; all are taken or none."""

    items: Annotated[tuple[ItemMessage, ...], Meta(min_length=1)]
    surface: Annotated[str | UnsetType, Meta(description="The items of whose bundle are meant.")] = UNSET


class PlacedItem(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What became of one item."""

    item_id: str
    state: Annotated[
        ItemState,
        Meta(description="live: it is searched. in_release: the release's own copy answers. withdrawn."),
    ]
    unknown_attributes: Annotated[
        tuple[str, ...], Meta(description="Attributes that the catalog does not have; they say nothing.")
    ] = ()
    unread_attributes: Annotated[
        tuple[str, ...], Meta(description="Attributes whose value is of another type; they say nothing.")
    ] = ()

    @classmethod
    def of(cls, placed: Placed) -> "PlacedItem":
        """Returns the message that tells `placed`."""
        return cls(
            item_id=placed.item_id,
            state=placed.state,
            unknown_attributes=placed.unknown_attributes,
            unread_attributes=placed.unread_attributes,
        )


class ItemsAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """What a change of items came to; it is on disk, and other workers follow within two seconds."""

    request_id: str
    version: Annotated[str, Meta(description="The release that read the items.")]
    items: tuple[PlacedItem, ...]
    n_kept: Annotated[int, Meta(description="Items that the service keeps, withdrawn ones included.")]
    max_kept: Annotated[int, Meta(description="How many it may keep.")]


def item_route(path: str) -> str | None:
    """Returns the route of an item that a path belongs to, None if to none."""
    return ITEM if _ITEM.fullmatch(path) else None


class ItemRoutes:
    """Answers for the live items of one process, in a thread of its own: disks may be slow.

    Args:
        surfaces: Whose items.
        items: What keeps them.
        settings: The operator's limits.
    """

    def __init__(self, surfaces: Surfaces, items: LiveItems, settings: Settings) -> None:
        self._surfaces = surfaces
        self._items = items
        self._settings = settings
        self._read = wire.reader(ItemsRequest)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="item-routes")

    @classmethod
    def of_none(cls, surfaces: Surfaces, settings: Settings) -> "ItemRoutes":
        """Returns the routes of a service that keeps no live items: they say so."""
        return cls(surfaces, LiveItems(surfaces.channels, None, settings.max_live_items, Metrics()), settings)

    async def post(self, body: bytes, key_name: str, request_id: str) -> ItemsAnswer:
        """Adds the items of a body, or says them anew.

        Raises:
            Refusal: If the body is none, a limit is exceeded, or the items cannot be taken.
            ItemsFullError: If there is no room.
        """
        message = self._read(body)
        limit = self._settings.max_batch
        if len(message.items) > limit:
            raise Refusal(
                Problem.invalid_request,
                f"items may hold at most {limit} items, got {len(message.items)}; send several requests",
                field="items",
            )
        items = [_live_item(one, f"items[{place}]") for place, one in enumerate(message.items)]
        ids = [item.item_id for item in items]
        if len(set(ids)) != len(ids):
            double = next(id_ for id_ in ids if ids.count(id_) > 1)
            raise Refusal(
                Problem.invalid_request,
                f"items must be distinct, got {double!r} twice; send it once",
                field="items",
            )
        channel = self._surfaces.channel(self._surfaces.named(message.surface))
        return await self._changed(lambda: self._items.put(channel, items), key_name, request_id)

    async def withdraw(self, path: str, query: bytes, key_name: str, request_id: str) -> ItemsAnswer:
        """Withdraws the item that a path names.

        Raises:
            UnknownIdError: If there is no such item.
            Refusal: If it cannot be withdrawn.
            ItemsFullError: If there is no room.
        """
        match = _ITEM.fullmatch(path)
        assert match, f"{path} is no path of {ITEM}"
        channel, item_id = self._surfaces.channel(self._surfaces.in_query(query)), match[1]
        return await self._changed(lambda: self._items.withdraw(channel, item_id), key_name, request_id)

    def close(self) -> None:
        """Ends the thread and the following."""
        self._items.close()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _changed(self, work: Callable[[], Change], key_name: str, request_id: str) -> ItemsAnswer:
        """Returns the answer that tells a change, which runs beside the requests."""
        change = await asyncio.get_running_loop().run_in_executor(self._executor, work)
        states = [placed.state.value for placed in change.items]
        facts = {
            "request_id": request_id,
            "key": key_name,
            "items": {s: states.count(s) for s in set(states)},
        }
        logger.info("items changed", extra={"facts": facts})
        return ItemsAnswer(
            request_id=request_id,
            version=change.version,
            items=tuple([PlacedItem.of(placed) for placed in change.items]),
            n_kept=change.n_kept,
            max_kept=self._items.max_items,
        )


def _live_item(message: ItemMessage, place: str) -> LiveItem:
    """Returns an item in the library's words; raises Refusal for an impossible availability."""
    start = _moment(message.available_from, f"{place}.available_from")
    end = _moment(message.available_until, f"{place}.available_until")
    if start is not None and end is not None and start > end:
        raise Refusal(
            Problem.invalid_request,
            f"{place} is available from {start} until {end}; swap or correct the two",
            field=f"{place}.available_until",
        )
    return LiveItem(
        item_id=message.item_id,
        kind=message.kind,
        available_from=start,
        available_until=end,
        attributes=message.attributes,
    )


def _moment(moment: float | None, place: str) -> int | None:
    """Returns a moment as the integer that JSON meant; raises Refusal if it is none."""
    if moment is None:
        return None
    if not abs(moment) <= wire.LARGEST_NUMBER or moment != int(moment):
        raise Refusal(
            Problem.invalid_request,
            f"{place} must be whole seconds since 1970, got {moment}; correct it",
            field=place,
        )
    return int(moment)
