"""The routes by which items are added, changed and withdrawn while the service runs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

from msgspec import UNSET

from marquee.core.schema import AVAILABLE_FROM, AVAILABLE_UNTIL
from marquee.store.live_items import LiveItem
from serving.api.messages.items import (
    LATEST_MOMENT,
    ItemChange,
    ItemMessage,
    ItemsAnswer,
    ItemsImportAnswer,
    ItemsPage,
    ItemsRequest,
    RejectedLine,
)
from serving.api.messages.reading import reader
from serving.api.messages.requests import LARGEST_NUMBER
from serving.api.route import Chunks
from serving.config import Settings
from serving.http.errors import Problem, Refusal
from serving.http.exchange import Call, ClientLeft, read_number
from serving.http.lines import Line, LineSplitter
from serving.releases.channel import Channel
from serving.releases.item_import import ImportOutcome, ItemImport
from serving.releases.item_listing import ItemPage, list_items
from serving.releases.live_items import Change, ItemState, LiveItems
from serving.releases.surfaces import Surfaces

logger = logging.getLogger(__name__)

GROUP_LINES = 500
"""Most lines of an import that are one change: each waits for the disk once."""

_LISTED = (ItemState.live, ItemState.in_release, ItemState.withdrawn)

_read_line = reader(ItemMessage)


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

    async def import_lines(self, call: Call, chunks: Chunks) -> ItemsImportAnswer:
        """Adds the items of JSON lines, or says them anew, while they come.

        Raises:
            Refusal: If no line can be taken at all, or the body stops; what was taken before stays.
            ClientLeft: If the connection is gone; what was taken before stays.
        """
        channel = self._surfaces.channel(self._surfaces.named(call.query.get("surface", UNSET)))
        most = self._settings.max_body_bytes
        work = ItemImport(self._items, channel, _item_of_line, most)
        try:
            async for group in _groups(chunks, most):
                # Awaited before more is read: a caller that sends faster than the disk is slowed down.
                await asyncio.get_running_loop().run_in_executor(self._executor, work.apply, group)
        except Refusal as refusal:
            done = work.outcome
            message = (
                f"{refusal}; {done.taken.total()} lines were taken before and stay, {done.rejected.total()} "
                f"were rejected; send what follows line {done.last_line}"
            )
            raise Refusal(refusal.problem, message, field=refusal.field, headers=refusal.headers) from refusal
        finally:
            facts = {
                "request_id": call.request_id,
                "key": call.key,
                "items": dict(work.outcome.taken),
                "rejected": dict(work.outcome.rejected),
            }
            logger.info("items imported", extra={"facts": facts})
        return self._imported(call, channel, work.outcome)

    def _imported(self, call: Call, channel: Channel, outcome: ImportOutcome) -> ItemsImportAnswer:
        """Returns the answer that tells an import."""
        recommender, kept = self._items.kept(channel)
        return ItemsImportAnswer(
            request_id=call.request_id,
            version=recommender.version,
            taken=outcome.taken,
            rejected=outcome.rejected,
            rejected_lines=tuple(
                [
                    RejectedLine(
                        line=one.line,
                        reason=one.refusal.problem.name,
                        message=str(one.refusal),
                        field=one.refusal.field,
                    )
                    for one in outcome.rejected_lines
                ]
            ),
            unknown_attributes=outcome.unknown_attributes,
            unread_attributes=outcome.unread_attributes,
            n_kept=len(kept),
            max_kept=self._items.limits.of_file.max_items,
        )

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
        limit = read_number(call.query, "limit", most, most)
        channel = self._surfaces.channel(self._surfaces.named(call.query.get("surface", UNSET)))
        cursor = call.query.get("cursor", "")

        def work() -> ItemPage:
            recommender, kept = self._items.kept(channel)
            return list_items(recommender, kept, ItemState(state), cursor, limit)

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


async def _groups(chunks: Chunks, max_bytes: int) -> AsyncIterator[list[Line]]:
    """Gives lines in groups, none of which holds more than a line beyond `max_bytes`.

    Raises:
        Refusal: If the body stops, after the lines that came whole.
        ClientLeft: If the connection is gone, as well.
    """
    splitter = LineSplitter(max_bytes)
    group: list[Line] = []
    n_bytes = 0
    try:
        async for chunk in chunks:
            for line in splitter.feed(chunk):
                group.append(line)
                n_bytes += len(line.text or b"")
                if len(group) >= GROUP_LINES or n_bytes >= max_bytes:
                    yield group
                    group, n_bytes = [], 0
    except (Refusal, ClientLeft):
        # Lines with an end are as good as those before them; the one without is not whole.
        if group:
            yield group
        raise
    group += splitter.end()
    if group:
        yield group


def _item_of_line(text: bytes) -> LiveItem:
    """Returns the item that a line is; raises Refusal if it is none."""
    return _live_item(_read_line(text), "")


def _live_item(message: ItemMessage, place: str) -> LiveItem:
    """Returns an item in the library's words; raises Refusal for an impossible availability.

    Args:
        message: What came.
        place: Its place in the body; '' where it is the whole.
    """
    prefix = f"{place}." if place else ""
    start = _moment(message.available_from, f"{prefix}available_from")
    end = _moment(message.available_until, f"{prefix}available_until")
    if start is not None and end is not None and start > end:
        raise Refusal(
            Problem.invalid_request,
            f"{place or 'the item'} is available from {start} until {end}; swap or correct the two",
            field=f"{prefix}available_until",
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
