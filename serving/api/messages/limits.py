"""How a message becomes a request of the library, within the limits of operator and surface."""

from collections.abc import Sized
from typing import cast

from msgspec import UNSET, UnsetType

from marquee.core.catalog import ItemKind
from marquee.core.filters import Clause, Filters, to_bound
from marquee.decision.requests import HistoryEvent, Request
from marquee.errors import FilterError
from marquee.store.people.consent import Tier
from serving.api.messages.reading import shortened
from serving.api.messages.requests import BatchRequest, Filter, HistoryEntry, RecommendRequest, SimilarRequest
from serving.api.messages.reranking import reranking_within
from serving.config import Settings
from serving.http.errors import Problem, Refusal
from serving.releases.surfaces import DEFAULT, Surface


def to_request(message: RecommendRequest, surface: Surface, timestamp: int) -> Request:
    """Returns the request that `message` makes at `timestamp`; raises Refusal if it exceeds a limit.

    Args:
        message: What came.
        surface: Which it means; says what holds where it says nothing.
        timestamp: Seconds since 1970 UTC.
    """
    history, settings = message.history or (), surface.settings
    _refuse_longer(history, settings.max_history, "history", "send the latest entries only")
    return Request(
        timestamp=timestamp,
        k=_k_within(message.k, surface),
        user_id=message.user_id,
        query=message.query,
        history_weight=surface.history_weight,
        history=_events(history),
        features=message.features,
        context=message.context,
        surface=None if surface.name == DEFAULT else surface.name,
        kind=_kind_within(message.kind, surface),
        filters=_filters_within(message.filters, surface),
        reranking=reranking_within(message.reranking, surface.reranking),
        exclude=_exclude_within(message.exclude, settings),
        exclude_seen=surface.exclude_seen if message.exclude_seen is UNSET else message.exclude_seen,
        # Of what was said elsewhere the strictest holds: it is asked for beside the model.
        tier=Tier.personal if message.consent is UNSET else message.consent,
    )


def to_similar_request(message: SimilarRequest, surface: Surface, timestamp: int) -> Request:
    """Returns the request that `message` makes; arguments and errors are those of `to_request`."""
    return Request(
        timestamp=timestamp,
        like_item=message.item_id,
        k=_k_within(message.k, surface),
        surface=None if surface.name == DEFAULT else surface.name,
        kind=_kind_within(message.kind, surface),
        filters=_filters_within(message.filters, surface),
        reranking=reranking_within(message.reranking, surface.reranking),
        exclude=_exclude_within(message.exclude, surface.settings),
    )


def validate_batch_size(message: BatchRequest, settings: Settings) -> None:
    """Raises Refusal if a batch is empty or too large."""
    if not message.requests:
        raise Refusal(
            Problem.invalid_request, "requests must hold at least 1 request, got 0; add one", field="requests"
        )
    _refuse_longer(message.requests, settings.max_batch, "requests", "send several batches")


def _events(history: tuple[str | HistoryEntry, ...]) -> tuple[HistoryEvent, ...] | tuple[str, ...]:
    """Returns a history in the library's words: ids alone, as most are, stay what they are."""
    if HistoryEntry in set(map(type, history)):
        return tuple([_event(entry) for entry in history])
    return cast(tuple[str, ...], history)


def _event(entry: str | HistoryEntry) -> HistoryEvent:
    """Returns one history entry in the library's words."""
    if isinstance(entry, str):
        return HistoryEvent(entry)
    return HistoryEvent(entry.item_id, entry.kind or "", entry.value)


def _k_within(k: float | UnsetType, surface: Surface) -> int:
    """Returns k as the integer that JSON meant, within the limit.

    JSON has one type of number, and to JSON Schema 10.0 is an integer; hence the type of the field.
    """
    if k is UNSET:
        return surface.k
    settings = surface.settings
    if not 1 <= k <= settings.max_k or k != int(k):
        raise Refusal(
            Problem.invalid_request,
            f"k must be an integer from 1 to {settings.max_k}, got {shortened(str(k))}; change it",
            field="k",
        )
    return int(k)


def _exclude_within(exclude: tuple[str, ...], settings: Settings) -> tuple[str, ...]:
    """Returns `exclude`; raises Refusal if it is too long."""
    _refuse_longer(exclude, settings.max_exclude, "exclude", "leave out the oldest")
    return exclude


def _kind_within(kind: ItemKind | UnsetType | None, surface: Surface) -> ItemKind | None:
    """Returns the kind of item that is asked for; raises Refusal if the surface shows no such items."""
    return surface.default_kind if kind is UNSET else surface.kind_of(kind)


def _filters_within(filters: dict[str, Filter] | UnsetType, surface: Surface) -> Filters:
    """Returns `filters` and the surface's own in the library's words; raises Refusal for too many."""
    if filters is UNSET:
        return surface.own_filters
    if not filters:
        return surface.filters
    settings = surface.settings
    _refuse_longer(filters, settings.max_filters, "filters", "filter by fewer attributes")
    clauses = tuple([_clause(attribute, filter_, settings) for attribute, filter_ in filters.items()])
    return Filters(clauses) & surface.filters


def _clause(attribute: str, filter_: Filter, settings: Settings) -> Clause:
    """Returns one filter in the library's words."""
    place = f"filters.{shortened(attribute)}"
    for name in ("any_of", "all_of", "none_of"):
        values = getattr(filter_, name) or ()
        _refuse_longer(values, settings.max_filter_values, f"{place}.{name}", "name fewer values")
    try:
        return Clause(
            attribute=attribute,
            any_of=filter_.any_of or (),
            all_of=filter_.all_of or (),
            none_of=filter_.none_of or (),
            min=None if filter_.min is None else to_bound(filter_.min, "min"),
            max=None if filter_.max is None else to_bound(filter_.max, "max"),
        )
    except FilterError as error:
        raise Refusal(Problem.invalid_request, str(error), field=place) from None
    except ValueError as error:
        raise Refusal(Problem.invalid_request, f"{place}: {error}; correct the bound", field=place) from None


def _refuse_longer(values: Sized, limit: int, field: str, remedy: str) -> None:
    """Raises Refusal if there are more values than `limit`."""
    if len(values) > limit:
        raise Refusal(
            Problem.invalid_request,
            f"{field} may hold at most {limit} entries, got {len(values)}; {remedy}",
            field=field,
        )
