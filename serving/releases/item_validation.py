"""Proves items and changes of them on the release that answers, before they are kept.

A live item is embedded anew, so that all of it may change. Of an item of the release everything may change
that its learned vector does not rest on.
"""

from collections.abc import Mapping, Sequence

from marquee.core.catalog import ALWAYS_FROM, ALWAYS_UNTIL
from marquee.core.ids import PADDING_INDEX
from marquee.core.schema import AVAILABLE_FROM, AVAILABLE_UNTIL
from marquee.decision.item_changes import AVAILABILITY, columns_of_tower
from marquee.decision.new_items import takes_new_items, unused
from marquee.decision.recommender import Recommender
from marquee.errors import UnknownIdError
from marquee.store.live_items import LiveItem
from serving.http.errors import Problem, Refusal


def build_change(
    recommender: Recommender, before: LiveItem | None, item_id: str, values: Mapping[str, object], now: int
) -> LiveItem:
    """Returns the change of an item as it is kept.

    Args:
        recommender: The release that answers.
        before: What was said of the item so far, None for nothing.
        item_id: The item.
        values: New values by column, availability among them; None takes one away.
        now: Seconds since 1970 UTC.

    Raises:
        UnknownIdError: If there is no such item.
        Refusal: If it is withdrawn, there is nothing to change, or a column cannot be changed.
    """
    is_own = item_id in recommender.bundle.catalog.item_ids
    if before is not None and before.is_withdrawn:
        raise _refusal(f"item {item_id[:128]!r} is withdrawn; post it again, then change it", None)
    if not is_own and (before is None or not before.is_posted):
        raise UnknownIdError(
            f"there is no item {item_id[:128]!r}, neither in release {recommender.version} nor live; "
            "correct the id, or post the item"
        )
    if not values:
        raise _refusal("a change must name a moment or an attribute, got none; name what changes", None)
    _validate_columns(recommender, values, is_own=is_own)
    change = LiveItem(
        item_id=item_id,
        is_posted=False,
        changes={column: (value, now) for column, value in values.items()},
    )
    _validate_availability(recommender, change.upon(before), values, is_own=is_own)
    return change


def validate_sizes(items: Sequence[LiveItem], max_bytes: int) -> None:
    """Raises Refusal if an item is larger than allowed."""
    for place, item in enumerate(items):
        validate_size(item, max_bytes, f"items[{place}]")


def validate_size(item: LiveItem, max_bytes: int, field: str | None) -> None:
    """Raises Refusal that names a field if an item is larger than allowed."""
    n_bytes = len(item.to_line())
    if n_bytes > max_bytes:
        raise Refusal(
            Problem.invalid_request,
            f"an item may have {max_bytes} bytes of JSON, got {n_bytes} for {item.item_id[:128]!r}; "
            "shorten its attributes, or raise MARQUEE_MAX_LIVE_ITEM_BYTES",
            field=field,
        )


def validate_embeddings(recommender: Recommender, items: Sequence[LiveItem]) -> None:
    """Raises Refusal unless the release can embed every item that it does not hold."""
    new = {item.item_id: item for item in items if item.item_id not in recommender.bundle.catalog.item_ids}
    if not new:
        return
    if not takes_new_items(recommender.bundle):
        raise Refusal(
            Problem.invalid_request,
            f"release {recommender.version} knows items by their ids alone, got {len(new)} new ones; export "
            "a model with item features, or publish a release that holds them",
            field="items",
        )
    item_pool = recommender.item_pool.with_live_items(new)
    for item_id in new:
        if item_pool.table.index(item_id) == PADDING_INDEX:
            raise Refusal(
                Problem.invalid_request,
                f"item {item_id!r} has no finite embedding in release {recommender.version}; correct its "
                "attributes",
                field="items",
            )


def _validate_columns(recommender: Recommender, values: Mapping[str, object], *, is_own: bool) -> None:
    """Raises Refusal unless the release can take every value."""
    attributes = {column: value for column, value in values.items() if column not in AVAILABILITY}
    bundle = recommender.bundle
    schema = bundle.catalog.attributes.schema
    for column in sorted(attributes.keys() - schema.keys()):
        raise _refusal(
            f"there is no attribute {column[:128]!r} in release {recommender.version}; name one of "
            f"{sorted(schema)}",
            f"attributes.{column}",
        )
    for column in unused(bundle, LiveItem(item_id="", attributes=attributes)).unread:
        raise _refusal(
            f"attribute {column!r} holds {schema[column]}, got {attributes[column]!r:.128}; send that type",
            f"attributes.{column}",
        )
    for column in sorted(values.keys() & columns_of_tower(bundle)) if is_own else ():
        raise _refusal(
            f"the learned vector of the item rests on {column!r}, which cannot change in release "
            f"{recommender.version}; publish a release with the change",
            column if column in AVAILABILITY else f"attributes.{column}",
        )


def _validate_availability(
    recommender: Recommender, after: LiveItem, values: Mapping[str, object], *, is_own: bool
) -> None:
    """Raises Refusal if the item would end before it begins."""
    start, end = after.available_from, after.available_until
    if is_own:
        catalog = recommender.item_pool.table.own.catalog
        index = catalog.item_ids.index(after.item_id)
        own = {AVAILABLE_FROM: catalog.available_from[index], AVAILABLE_UNTIL: catalog.available_until[index]}
        start, end = (values.get(column, own[column]) for column in AVAILABILITY)  # type: ignore[assignment]
    start = ALWAYS_FROM if start is None else int(start)
    end = ALWAYS_UNTIL if end is None else int(end)
    if start > end:
        raise _refusal(
            f"the item would be available from {start} until {end}; swap or correct the two",
            AVAILABLE_UNTIL if AVAILABLE_UNTIL in values else AVAILABLE_FROM,
        )


def _refusal(message: str, field: str | None) -> Refusal:
    """Returns the refusal of a change."""
    return Refusal(Problem.invalid_request, message, field=field)
