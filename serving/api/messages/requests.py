"""Requests of those who ask for items, as typed messages."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from marquee.core.catalog import ItemKind
from marquee.core.event_kinds import EventKind
from marquee.core.filters import MOMENT_PATTERN
from marquee.store.people.consent import Tier
from serving.api.messages.cursors import MAX_CHARACTERS
from serving.api.messages.reranking import RerankingRequest

MAX_ID_LENGTH = 256


LARGEST_NUMBER = 2**63 - 1024
"""The largest number below 2⁶³ that is both an int64 and a float64: what every stage can hold exactly."""


Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]


_Integer = Annotated[int, Meta(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)]


_Number = Annotated[float, Meta(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)]


FeatureValue = bool | _Integer | _Number | str | list[bool | _Integer | _Number | str | None] | None


SurfaceName = Annotated[
    str | UnsetType,
    Meta(description="Where the answer is shown: it decides the bundle, defaults and limits."),
]


WantedK = Annotated[
    int | float | UnsetType,
    Meta(description="How many items are wanted; fewer rather than any forbidden."),
]


WantedKind = Annotated[
    ItemKind | UnsetType | None, Meta(description="Only items of this kind; null for both.")
]


ConsentTier = Annotated[
    Tier | UnsetType,
    Meta(description="The most of the user that may be used; what was said for the user may allow less."),
]


_Text = Annotated[str, Meta(max_length=MAX_ID_LENGTH)]


_Values = Annotated[tuple[bool | _Integer | _Number | _Text, ...], Meta(min_length=1)]


_Moment = Annotated[str, Meta(pattern=MOMENT_PATTERN)]


_Bound = _Integer | _Number | _Moment | None


_Timings = Annotated[bool, Meta(description="Whether the answer tells how long each stage took.")]


MAX_QUERY_LENGTH = 256

QueryText = Annotated[
    Annotated[str, Meta(min_length=1, max_length=MAX_QUERY_LENGTH)] | None,
    Meta(
        description="Words: items whose texts hold them, or that are like such items. No record keeps them."
    ),
]


Excluded = Annotated[tuple[Id, ...], Meta(description="Items that must not come back.")]


class HistoryEntry(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Something that the user did."""

    item_id: Annotated[Id, Meta(description="The item.")]
    kind: Annotated[
        EventKind | None, Meta(description="What it was; null for the kind that the bundle names first.")
    ] = None
    value: Annotated[_Integer | _Number | None, Meta(description="Its value, such as a rating.")] = None


class Filter(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A condition on one attribute of the items; everything given must hold, null means not asked."""

    any_of: Annotated[_Values | None, Meta(description="The item has at least one of these values.")] = None
    all_of: Annotated[_Values | None, Meta(description="The item has each of these values.")] = None
    none_of: Annotated[
        _Values | None, Meta(description="The item has none of these values; one without a value passes.")
    ] = None
    min: Annotated[
        _Bound,
        Meta(description="The item's number is this or more; a date or time means its seconds since 1970."),
    ] = None
    max: Annotated[
        _Bound, Meta(description="The item's number is this or less; a date means the whole day.")
    ] = None


WantedFilters = Annotated[
    dict[Id, Filter] | UnsetType,
    Meta(description="By attribute: which items may come back. /v1/bundle names the attributes."),
]


WantedReranking = Annotated[
    RerankingRequest | UnsetType | None,
    Meta(description="How the best items become the answer; null for as the surface has it."),
]


_Paging = Annotated[bool, Meta(description="Whether the answer brings a cursor, by which to ask for more.")]


CursorText = Annotated[
    Annotated[str, Meta(max_length=MAX_CHARACTERS)] | UnsetType,
    Meta(description="Of an answer before: nothing that was shown comes again. The answer brings another."),
]


class RecommendRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Who asks and for what. Every field may be left out: what is not known is not used."""

    user_id: Annotated[
        Id | None, Meta(description="An unknown user is served by whatever else is given.")
    ] = None
    history: Annotated[
        tuple[Id | HistoryEntry, ...] | None,
        Meta(description="What the user did, oldest first, newer than what the bundle knows of the user."),
    ] = None
    query: QueryText = None
    features: Annotated[dict[str, FeatureValue], Meta(description="Attributes of the user, by name.")] = (
        msgspec.field(default_factory=dict)
    )
    context: Annotated[dict[str, FeatureValue], Meta(description="Attributes of the moment, by name.")] = (
        msgspec.field(default_factory=dict)
    )
    surface: SurfaceName = UNSET
    k: WantedK = UNSET
    kind: WantedKind = UNSET
    filters: WantedFilters = UNSET
    reranking: WantedReranking = UNSET
    exclude: Excluded = ()
    exclude_seen: Annotated[
        bool | UnsetType, Meta(description="Leave out what the user's history holds, stored or given.")
    ] = UNSET
    consent: ConsentTier = UNSET
    paging: _Paging = False
    cursor: CursorText = UNSET
    timings: _Timings = False


class SimilarRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which item, and how many that resemble it."""

    item_id: Annotated[Id, Meta(description="An item of the catalog; any other is answered with 404.")]
    surface: SurfaceName = UNSET
    k: WantedK = UNSET
    kind: WantedKind = UNSET
    filters: WantedFilters = UNSET
    reranking: WantedReranking = UNSET
    exclude: Excluded = ()
    timings: _Timings = False


class BatchRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Several requests in one call. Each is read by itself, so that a wrong one fails alone."""

    requests: list[msgspec.Raw]
