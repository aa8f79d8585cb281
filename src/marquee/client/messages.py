"""What is asked of the service and what it answers, as typed messages.

A field of a request that is left out is not sent: then the service's own default counts, which may differ
from surface to surface. Fields of an answer that this client does not know are passed over, so that a
service may be newer than its clients; words such as `source` are plain text for the same reason.
"""

from collections.abc import Mapping, Sequence

import msgspec

FeatureValue = bool | int | float | str | Sequence[bool | int | float | str | None] | None
"""What an attribute may be."""


class HistoryEntry(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Something that the user did.

    Attributes:
        item_id: The item.
        kind: What it was, such as `click`; None for the kind that the bundle names first.
        value: Its value, such as a rating.
    """

    item_id: str
    kind: str | None = None
    value: float | None = None


class Filter(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What one attribute of the items must be; everything given must hold.

    Attributes:
        any_of: The item has at least one of these values.
        all_of: The item has each of these values.
        none_of: The item has none of these values; one without a value passes.
        min: The item's number is this or more; a date or time as text means its seconds since 1970.
        max: The item's number is this or less; a date means the whole day.
    """

    any_of: Sequence[bool | int | float | str] | None = None
    all_of: Sequence[bool | int | float | str] | None = None
    none_of: Sequence[bool | int | float | str] | None = None
    min: int | float | str | None = None
    max: int | float | str | None = None


class RerankingRequest(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """How the best items become the answer; what is left out is off.

    Attributes:
        n_candidates: How many of the best items are considered.
        diversity: `mmr` or `dpp`; None for none.
        diversity_weight: What variety counts beside relevance, from 0 to 1.
        caps: By attribute, most items with the same value.
        spacing: By attribute, of so many places in a row no two hold the same value.
        freshness_weight: What a brand-new item gains; relevance runs from 0 to 1.
        freshness_half_life_days: After so many days it gains half of that.
        freshness_attribute: Where the birth of an item stands.
    """

    n_candidates: int | None = None
    diversity: str | None = None
    diversity_weight: float | None = None
    caps: Mapping[str, int] = {}
    spacing: Mapping[str, int] = {}
    freshness_weight: float | None = None
    freshness_half_life_days: float | None = None
    freshness_attribute: str | None = None


class RecommendRequest(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Who asks and for what; every field may be left out.

    Attributes:
        user_id: An unknown user is served by whatever else is given.
        history: What the user did, oldest first, newer than what the bundle knows; ids or entries.
        features: Attributes of the user, by name.
        context: Attributes of the moment, by name.
        surface: Where the answer is shown: it decides the bundle, defaults and limits.
        k: How many items are wanted.
        kind: `content` or `ad`; None for both.
        filters: By attribute, which items may come back; `bundle()` names the attributes.
        reranking: How the best items become the answer; None for as the surface has it.
        exclude: Items that must not come back.
        exclude_seen: Whether to leave out what the user's history holds.
        timings: Whether the answer tells how long each stage took.
    """

    user_id: str | None = None
    history: Sequence[str | HistoryEntry] | None = None
    features: Mapping[str, FeatureValue] = {}
    context: Mapping[str, FeatureValue] = {}
    surface: str | None = None
    k: int | None = None
    kind: str | None = None
    filters: Mapping[str, Filter] = {}
    reranking: RerankingRequest | None = None
    exclude: Sequence[str] = ()
    exclude_seen: bool | None = None
    timings: bool = False


class SimilarRequest(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Which item, and how many that resemble it.

    Attributes:
        item_id: An item of the catalog; any other is refused with 404.
        surface: As in `RecommendRequest`.
        k: How many are wanted.
        kind: `content` or `ad`; None for both.
        filters: By attribute, which items may come back; `bundle()` names the attributes.
        exclude: Items that must not come back.
        timings: Whether the answer tells how long each stage took.
    """

    item_id: str
    surface: str | None = None
    k: int | None = None
    kind: str | None = None
    filters: Mapping[str, Filter] = {}
    exclude: Sequence[str] = ()
    timings: bool = False


class Recommendation(msgspec.Struct, kw_only=True, frozen=True):
    """One item of an answer.

    Attributes:
        item_id: The item.
        score: What the ranking is sorted by, higher is better.
        kind: `content` or `ad`.
    """

    item_id: str
    score: float
    kind: str


class RecommendAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The items, best first, and what they rest on.

    Attributes:
        request_id: The id under which the service's log speaks of the request.
        version: The release that answered.
        source: `personal`, `history`, `features`, `popular` or `similar`.
        items: Best first.
        requested: How many were wanted.
        returned: How many came.
        reranked: What re-ranking took into account, such as `mmr` or `caps`.
        short_reason: Why fewer came than were wanted.
        popular_in: The context in which a popular answer is popular; None for everywhere.
        fallback_reason: Why the answer is popular although more was given to go by.
        unknown_history: Entries of the given history whose item the release does not know.
        ignored_features: Names in features and context that the release has no feature for.
        unknown_filter_values: Values in filters that no item has, as `attribute=value`.
        took_ms: Milliseconds by stage and in `total`, where the request wanted timings.
    """

    request_id: str
    version: str
    source: str
    items: tuple[Recommendation, ...]
    requested: int
    returned: int
    reranked: tuple[str, ...] = ()
    short_reason: str | None = None
    popular_in: str | None = None
    fallback_reason: str | None = None
    unknown_history: int = 0
    ignored_features: tuple[str, ...] = ()
    unknown_filter_values: tuple[str, ...] = ()
    took_ms: dict[str, float] | None = None


class BundleAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """Which bundle answers, how large it is and how well it did when it was judged.

    Attributes:
        name: Its name.
        version: The release.
        created: Seconds since 1970 UTC.
        n_items: Items of the catalog.
        n_users: Users that it knows.
        dim: Length of its vectors.
        history_length: Entries of a history that are read.
        kinds: Event kinds that a history is read by.
        index: How items are searched.
        index_recall: Share of the truly best items that the search finds.
        filters: Attributes that filters may name, and what each holds.
        metrics: What the model reached when it was judged.
    """

    name: str
    version: str
    created: int
    n_items: int
    n_users: int
    dim: int
    history_length: int
    kinds: tuple[str, ...]
    index: str
    index_recall: float
    filters: Mapping[str, str] = {}
    metrics: dict[str, float]


class ReleaseAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """One release in a folder that the service answers from.

    Attributes:
        version: Its name.
        surfaces: Whom the releases of this folder answer for.
        created: Seconds since 1970 UTC; None if it cannot be read.
        is_current: Whether every worker is to answer from it.
        is_answering: Whether the worker that says this answers from it.
        canary_share: Share of the users whom it answers in that worker, in place of the current one.
        shadow_share: Share of the requests that it is asked in that worker, for comparison only.
        metrics: What the model reached when it was judged.
    """

    version: str
    surfaces: tuple[str, ...] = ()
    created: int | None
    is_current: bool
    is_answering: bool
    canary_share: float = 0.0
    shadow_share: float = 0.0
    metrics: dict[str, float]


class ReleasesAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The releases that there are, newest first."""

    releases: tuple[ReleaseAnswer, ...]


class TrialAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """A candidate and its share."""

    version: str
    share: float


class RolloutAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """What answers from now on.

    Attributes:
        version: The current release.
        canary: Answers a share of the users in its place.
        shadow: Is only compared with it.
    """

    version: str
    canary: TrialAnswer | None = None
    shadow: TrialAnswer | None = None


class ItemMessage(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """An item as it is from now on: what is left out it does not have.

    Attributes:
        item_id: Its name.
        kind: `content` or `ad`.
        available_from: First second in which it may be shown, since 1970 UTC; None for always.
        available_until: First second in which it may no longer be shown; None for never.
        attributes: As in the items table, by column.
    """

    item_id: str
    kind: str = "content"
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
    """What became of one item.

    Attributes:
        item_id: Its name.
        state: `live`, `in_release` or `withdrawn`.
        unknown_attributes: Attributes that the catalog does not have; they say nothing.
        unread_attributes: Attributes whose value is of another type; they say nothing.
    """

    item_id: str
    state: str
    unknown_attributes: tuple[str, ...] = ()
    unread_attributes: tuple[str, ...] = ()


class ItemsAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """What a change of items came to; it is on disk, and other workers follow within two seconds.

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


class ErrorBody(msgspec.Struct, kw_only=True, frozen=True):
    """Why a request was refused, as `RefusedError` tells it."""

    code: str
    message: str
    request_id: str
    field: str | None = None


class ErrorAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The one shape in which the service refuses."""

    error: ErrorBody
