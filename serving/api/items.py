"""The routes by which items are added, changed and withdrawn while the service runs."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from msgspec import UNSET

from marquee.core.schema import AVAILABLE_FROM, AVAILABLE_UNTIL
from marquee.store.live_items import LiveItem
from serving.api.messages.items import (
    LATEST_MOMENT,
    ItemChange,
    ItemMessage,
    ItemsAnswer,
    ItemsPage,
    ItemsRequest,
)
from serving.api.messages.requests import LARGEST_NUMBER
from serving.config import Settings
from serving.http.errors import Problem, Refusal
from serving.http.exchange import Call
from serving.releases.item_listing import ItemPage, list_items
from serving.releases.live_items import Change, ItemState, LiveItems
from serving.releases.surfaces import Surfaces

logger = logging.getLogger(__name__)

_LISTED = (ItemState.live, ItemState.in_release, ItemState.withdrawn)


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
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="item-routes")

    async def post(self, call: Call, message: ItemsRequest) -> ItemsAnswer:
        """Adds items, or says them anew.

        Raises:
            Refusal: If a limit is exceeded, or the items cannot be taken.
            ItemsFullError: If there is no room.
        """
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
        return await self._changed(lambda: self._items.put(channel, items), call)

    async def listed(self, call: Call) -> ItemsPage:
        """Returns a page of the items in a state.

        Raises:
            Refusal: If the state, the limit or the cursor is none.
        """
        state, most = call.query.get("state", ItemState.live.value), self._settings.max_batch
        if state not in _LISTED:
            raise Refusal(
                Problem.invalid_request,
                f"state must be one of {[one.value for one in _LISTED]}, got {state[:64]!r}; correct it",
                field="state",
            )
        limit = call.query.get("limit", str(most))
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= most:
            raise Refusal(
                Problem.invalid_request,
                f"limit must be an integer from 1 to {most}, got {limit[:64]!r}; correct it",
                field="limit",
            )
        channel = self._surfaces.channel(self._surfaces.named(call.query.get("surface", UNSET)))
        cursor = call.query.get("cursor", "")

        def work() -> ItemPage:
            recommender, kept = self._items.kept(channel)
            return list_items(recommender, kept, ItemState(state), cursor, int(limit))

        page = await asyncio.get_running_loop().run_in_executor(self._executor, work)
        return ItemsPage(version=page.version, items=page.items, cursor=page.cursor)

    async def change(self, call: Call, message: ItemChange) -> ItemsAnswer:
        """Changes the item that the path names.

        Raises:
            UnknownIdError: If there is no such item.
            Refusal: If it cannot be changed so.
            ItemsFullError: If there is no room.
        """
        values: dict[str, object] = {}
        for name in (AVAILABLE_FROM, AVAILABLE_UNTIL):
            moment = getattr(message, name)
            if moment is not UNSET:
                values[name] = _moment(moment, name)
            if name in message.attributes:
                raise Refusal(
                    Problem.invalid_request,
                    f"{name} is no attribute; give it beside attributes",
                    field=f"attributes.{name}",
                )
        values |= message.attributes
        channel = self._surfaces.channel(self._surfaces.named(call.query.get("surface", UNSET)))
        item_id = call.parameters["item_id"]
        return await self._changed(lambda: self._items.change(channel, item_id, values), call)

    async def withdraw(self, call: Call) -> ItemsAnswer:
        """Withdraws the item that the path names.

        Raises:
            UnknownIdError: If there is no such item.
            Refusal: If it cannot be withdrawn.
            ItemsFullError: If there is no room.
        """
        channel = self._surfaces.channel(self._surfaces.named(call.query.get("surface", UNSET)))
        item_id = call.parameters["item_id"]
        return await self._changed(lambda: self._items.withdraw(channel, item_id), call)

    def close(self) -> None:
        """Ends the thread and the following."""
        self._items.close()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _changed(self, work: Callable[[], Change], call: Call) -> ItemsAnswer:
        """Returns the answer that tells a change, which runs beside the requests."""
        change = await asyncio.get_running_loop().run_in_executor(self._executor, work)
        states = [placed.state.value for placed in change.items]
        facts = {
            "request_id": call.request_id,
            "key": call.key,
            "items": {s: states.count(s) for s in set(states)},
        }
        logger.info("items changed", extra={"facts": facts})
        return ItemsAnswer(
            request_id=call.request_id,
            version=change.version,
            items=change.items,
            n_kept=change.n_kept,
            max_kept=self._items.limits.of_file.max_items,
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
    if not abs(moment) <= LARGEST_NUMBER or moment != int(moment):
        raise Refusal(
            Problem.invalid_request,
            f"{place} must be whole seconds since 1970, got {moment}; correct it",
            field=place,
        )
    if abs(moment) > LATEST_MOMENT:  # milliseconds of today would be shown in some 50,000 years
        raise Refusal(
            Problem.invalid_request,
            f"{place} must be seconds since 1970, before the year 10000, got {int(moment)}; divide "
            "milliseconds by 1000, and leave out what is for ever",
            field=place,
        )
    return int(moment)
