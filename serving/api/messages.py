"""What comes in and goes out over HTTP, as typed messages: strict on the way in, exact on the way out.

Reading knows JSON and types; the limits that an operator sets are applied where a message becomes a
job. Of a key that occurs twice the last counts, which RFC 8259 leaves open and most readers do.
"""

import re
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Annotated, TypeVar, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType

from marquee.bundle.bundle import Bundle
from marquee.bundle.releases import Role
from marquee.core.catalog import ItemKind
from marquee.core.event_kinds import EventKind
from marquee.core.filters import MOMENT_PATTERN, AttributeType, Clause, Filters, to_bound
from marquee.decision.requests import Answer, HistoryEvent, Recommendation, Request, Source
from marquee.errors import FilterError
from serving.api.reranking import RerankingRequest, reranking_within
from serving.config import Settings
from serving.http.errors import ErrorAnswer, Problem, Refusal
from serving.releases.channel import Answering, Loaded, Release
from serving.releases.surfaces import DEFAULT, Surface

MAX_ID_LENGTH = 256

LARGEST_NUMBER = 2**63 - 1024
"""The largest number below 2⁶³ that is both an int64 and a float64: what every stage can hold exactly."""

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]
_Integer = Annotated[int, Meta(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)]
_Number = Annotated[float, Meta(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)]
FeatureValue = bool | _Integer | _Number | str | list[bool | _Integer | _Number | str | None] | None

_Surface = Annotated[
    str | UnsetType,
    Meta(description="Where the answer is shown: it decides the bundle, defaults and limits."),
]
_K = Annotated[
    int | float | UnsetType,
    Meta(description="How many items are wanted; fewer rather than any forbidden."),
]
_Kind = Annotated[ItemKind | UnsetType | None, Meta(description="Only items of this kind; null for both.")]
_Text = Annotated[str, Meta(max_length=MAX_ID_LENGTH)]
_Values = Annotated[tuple[bool | _Integer | _Number | _Text, ...], Meta(min_length=1)]
_Moment = Annotated[str, Meta(pattern=MOMENT_PATTERN)]
_Bound = _Integer | _Number | _Moment | None
_Timings = Annotated[bool, Meta(description="Whether the answer tells how long each stage took.")]
_Exclude = Annotated[tuple[Id, ...], Meta(description="Items that must not come back.")]


class HistoryEntry(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Something that the user did."""

    item_id: Id
    kind: Annotated[
        EventKind | None, Meta(description="What it was; null for the kind that the bundle names first.")
    ] = None
    value: Annotated[_Integer | _Number | None, Meta(description="Its value, such as a rating.")] = None


class Filter(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What one attribute of the items must be; everything given must hold, null means not asked."""

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


_Filters = Annotated[
    dict[Id, Filter] | UnsetType,
    Meta(description="By attribute: which items may come back. /v1/bundle names the attributes."),
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
    features: Annotated[dict[str, FeatureValue], Meta(description="Attributes of the user, by name.")] = (
        msgspec.field(default_factory=dict)
    )
    context: Annotated[dict[str, FeatureValue], Meta(description="Attributes of the moment, by name.")] = (
        msgspec.field(default_factory=dict)
    )
    surface: _Surface = UNSET
    k: _K = UNSET
    kind: _Kind = UNSET
    filters: _Filters = UNSET
    reranking: Annotated[
        RerankingRequest | UnsetType | None,
        Meta(description="How the best items become the answer; null for as the surface has it."),
    ] = UNSET
    exclude: _Exclude = ()
    exclude_seen: Annotated[
        bool | UnsetType, Meta(description="Leave out what the user's history holds, stored or given.")
    ] = UNSET
    timings: _Timings = False


class SimilarRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which item, and how many that resemble it."""

    item_id: Annotated[Id, Meta(description="An item of the catalog; any other is answered with 404.")]
    surface: _Surface = UNSET
    k: _K = UNSET
    kind: _Kind = UNSET
    filters: _Filters = UNSET
    exclude: _Exclude = ()
    timings: _Timings = False


class BatchRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Several requests in one call. Each is read by itself, so that a wrong one fails alone."""

    requests: list[msgspec.Raw]


class RecommendAnswer(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The items, best first, and what they rest on."""

    request_id: str
    version: Annotated[str, Meta(description="Version of the bundle that answered.")]
    source: Annotated[Source, Meta(description="What the answer was made from.")]
    items: tuple[Recommendation, ...]
    requested: int
    returned: int
    reranked: Annotated[
        tuple[str, ...],
        Meta(description="What re-ranking took into account: freshness, mmr or dpp, caps, spacing."),
    ] = ()
    short_reason: Annotated[str | None, Meta(description="Why fewer than requested came back.")] = None
    popular_in: Annotated[
        str | None,
        Meta(description="The context in which a popular answer is popular; absent for everywhere."),
    ] = None
    fallback_reason: Annotated[
        str | None, Meta(description="Why the answer is popular although more was given to go by.")
    ] = None
    unknown_history: Annotated[
        int, Meta(description="Entries of the given history whose item the bundle does not know.")
    ] = 0
    ignored_features: Annotated[
        tuple[str, ...], Meta(description="Names in features and context that the bundle has no feature for.")
    ] = ()
    unknown_filter_values: Annotated[
        tuple[str, ...], Meta(description="Values in filters that no item has, as attribute=value.")
    ] = ()
    took_ms: Annotated[
        dict[str, float] | None,
        Meta(
            description="Milliseconds by stage, and in total, where the request wanted timings. The requests "
            "of a batch in the model end each stage together."
        ),
    ] = None

    @classmethod
    def of(
        cls, answer: Answer, request_id: str, took_ms: dict[str, float] | None = None
    ) -> "RecommendAnswer":
        """Returns the message that tells `answer`."""
        return cls(
            request_id=request_id,
            version=answer.version,
            source=answer.source,
            items=answer.items,
            requested=answer.requested,
            returned=len(answer.items),
            reranked=answer.reranked,
            short_reason=answer.short_reason,
            popular_in=answer.popular_in,
            fallback_reason=answer.fallback_reason,
            unknown_history=answer.unknown_history,
            ignored_features=answer.ignored_features,
            unknown_filter_values=answer.unknown_filter_values,
            took_ms=took_ms,
        )


class BatchAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """One answer or one error per request, in the order of the requests."""

    request_id: str
    answers: list[RecommendAnswer | ErrorAnswer]


class BundleAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """Which bundle answers, how large it is and how well it did when it was judged."""

    name: str
    version: str
    created: Annotated[int, Meta(description="Seconds since 1970 UTC.")]
    n_items: int
    n_users: int
    dim: int
    history_length: int
    kinds: Annotated[list[str], Meta(description="Event kinds that a history is read by.")]
    index: Annotated[str, Meta(description="How items are searched.")]
    index_recall: Annotated[float, Meta(description="Share of the truly best items that the search finds.")]
    filters: Annotated[
        dict[str, AttributeType], Meta(description="Attributes that filters may name, and what each holds.")
    ]
    metrics: Annotated[dict[str, float], Meta(description="What the model reached when it was judged.")]

    @classmethod
    def of(cls, bundle: Bundle) -> "BundleAnswer":
        """Returns the message that tells of `bundle`."""
        manifest = bundle.manifest
        return cls(
            name=manifest.name,
            version=manifest.version,
            created=manifest.created,
            n_items=manifest.n_items,
            n_users=manifest.n_users,
            dim=manifest.dim,
            history_length=manifest.history_length,
            kinds=list(manifest.kinds.configs),
            index=manifest.index.config.kind,
            index_recall=manifest.index.recall,
            filters=dict(bundle.catalog.filterable),
            metrics=dict(manifest.metrics),
        )


class ReleaseAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """One release in a folder that the service answers from."""

    version: str
    surfaces: Annotated[tuple[str, ...], Meta(description="Whom the releases of this folder answer for.")]
    created: Annotated[int | None, Meta(description="Seconds since 1970 UTC; null if it cannot be read.")]
    is_current: Annotated[bool, Meta(description="Whether every worker is to answer from it.")]
    is_answering: Annotated[bool, Meta(description="Whether the worker that says this answers from it.")]
    canary_share: Annotated[
        float,
        Meta(description="Share of the users whom it answers in that worker, in place of the current one."),
    ]
    shadow_share: Annotated[
        float, Meta(description="Share of the requests that it is asked in that worker, for comparison only.")
    ]
    metrics: Annotated[dict[str, float], Meta(description="What the model reached when it was judged.")]

    @classmethod
    def of(cls, release: Release, surfaces: tuple[str, ...]) -> "ReleaseAnswer":
        """Returns the message that tells `release`, which is of the folder of those surfaces."""
        return cls(
            version=release.version,
            surfaces=surfaces,
            created=release.manifest.created if release.manifest else None,
            is_current=release.is_current,
            is_answering=release.is_answering,
            canary_share=release.canary_share,
            shadow_share=release.shadow_share,
            metrics=dict(release.manifest.metrics) if release.manifest else {},
        )


class ReleasesAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The releases that there are, newest first."""

    releases: list[ReleaseAnswer]


class ShareRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How much of the traffic a candidate is to see."""

    share: Annotated[
        float, Meta(gt=0, le=1, description="Of the users (canary) or of the requests (shadow).")
    ]


class TrialAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """A candidate and its share."""

    version: str
    share: float

    @classmethod
    def of(cls, loaded: Loaded | None) -> "TrialAnswer | None":
        """Returns the message that tells of a candidate."""
        if loaded is None:
            return None
        return cls(version=loaded.candidate.version, share=loaded.candidate.share)


class RolloutAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """What answers from now on."""

    version: Annotated[str, Meta(description="The current release.")]
    canary: Annotated[TrialAnswer | None, Meta(description="Answers a share of the users in its place.")]
    shadow: Annotated[TrialAnswer | None, Meta(description="Is only compared with it.")]

    @classmethod
    def of(cls, answering: Answering) -> "RolloutAnswer":
        """Returns the message that tells `answering`."""
        return cls(
            version=answering.current.version,
            canary=TrialAnswer.of(answering.candidates.get(Role.canary)),
            shadow=TrialAnswer.of(answering.candidates.get(Role.shadow)),
        )


class HealthAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """Whether the service lives, or takes requests."""

    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarJob:
    """A `SimilarRequest` that is within the limits, at its time."""

    item_id: str
    k: int
    kind: ItemKind | None
    filters: Filters
    exclude: tuple[str, ...]
    timestamp: int


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
        history=_events(history),
        features=message.features,
        context=message.context,
        surface=None if surface.name == DEFAULT else surface.name,
        kind=_kind_within(message.kind, surface),
        filters=_filters_within(message.filters, surface),
        reranking=reranking_within(message.reranking, surface.reranking),
        exclude=_exclude_within(message.exclude, settings),
        exclude_seen=surface.exclude_seen if message.exclude_seen is UNSET else message.exclude_seen,
    )


def to_similar_job(message: SimilarRequest, surface: Surface, timestamp: int) -> SimilarJob:
    """Returns the job that `message` makes; arguments and errors are those of `to_request`."""
    return SimilarJob(
        item_id=message.item_id,
        k=_k_within(message.k, surface),
        kind=_kind_within(message.kind, surface),
        filters=_filters_within(message.filters, surface),
        exclude=_exclude_within(message.exclude, surface.settings),
        timestamp=timestamp,
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
            f"k must be an integer from 1 to {settings.max_k}, got {_shortened(str(k))}; change it",
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
    place = f"filters.{_shortened(attribute)}"
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


Message = TypeVar("Message")
Reader = Callable[[bytes | msgspec.Raw], Message]

_WHERE = re.compile(r" - at (?:`key` in )?`\$(?P<path>[^`]*)`$")
_UNKNOWN_FIELD = re.compile(r"^Object contains unknown field `(?P<name>.*)`$", re.DOTALL)


def reader(message: type[Message]) -> "Reader[Message]":
    """Returns a function that reads JSON as `message`.

    It raises Refusal 400 for what is no JSON, and 422 that names the field for JSON that is no such
    message.
    """
    decode = msgspec.json.Decoder(message).decode

    def read(json: bytes | msgspec.Raw) -> Message:
        try:
            return decode(json)
        except msgspec.ValidationError as error:
            raise _refusal_of_validation(str(error)) from None
        except RecursionError:
            raise Refusal(
                Problem.malformed_request,
                f"the body nests too deep in its {len(bytes(json))} bytes; flatten it, requests are flat",
            ) from None
        except ValueError as error:  # msgspec.DecodeError and UnicodeDecodeError
            raise Refusal(
                Problem.malformed_request,
                f"the body must be JSON in UTF-8, got {len(bytes(json))} bytes that are not: "
                f"{_shortened(str(error))}; NaN, Infinity and lone surrogates are no JSON",
            ) from None

    return read


def _refusal_of_validation(problem: str) -> Refusal:
    """Returns the refusal for msgspec's words about a value of the wrong type."""
    path = ""
    where = _WHERE.search(problem)
    if where:
        problem, path = problem[: where.start()], where["path"]
    unknown = _UNKNOWN_FIELD.match(problem)
    if unknown:
        problem, path = "there is no such field", f"{path}.{_shortened(unknown['name'])}"
    path = path.removeprefix(".")
    return Refusal(
        Problem.invalid_request,
        f"{path or 'the request'} is not as expected: {_shortened(problem)}; /docs.json has every field",
        field=path or None,
    )


def _shortened(text: str) -> str:
    """Returns at most as much of a caller's text as is worth repeating."""
    return text if len(text) <= 120 else f"{text[:120]}…"
