"""The messages of a page of several rows, and the words for what a row rests on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from marquee.decision.creatives.answers import ItemCreative
from marquee.decision.pages.rows import AnsweredRow, RowKind
from marquee.decision.requests import Answer, Source
from marquee.store.people.consent import Tier
from serving.api.ads.messages import AdMessage
from serving.api.messages.answers import NOT_RECORDING, CreativeMessage, RecordOfAnswer
from serving.api.messages.derived import derived, values_of
from serving.api.messages.requests import (
    ConsentTier,
    CursorText,
    Excluded,
    FeatureValue,
    HistoryEntry,
    Id,
    QueryText,
    SurfaceName,
    WantedFilters,
    WantedK,
    WantedKind,
    WantedReranking,
)


class RowRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One row: the items that it is to hold."""

    row: Annotated[RowKind, Meta(description="What its items are chosen by.")] = RowKind.for_you
    name: Annotated[Id | None, Meta(description="What the app calls it; comes back.")] = None
    surface: SurfaceName = UNSET
    k: WantedK = UNSET
    kind: WantedKind = UNSET
    filters: WantedFilters = UNSET
    reranking: WantedReranking = UNSET
    exclude_seen: Annotated[
        bool | UnsetType, Meta(description="Leave out what the user's history holds, stored or given.")
    ] = UNSET
    query: QueryText = None
    item_id: Annotated[
        Id | None,
        Meta(description="Of a `similar` row: what its items are like; null for the user's latest."),
    ] = None
    items: Annotated[
        tuple[Id, ...], Meta(description="Of a `continued` row: the list that it goes on with, oldest first.")
    ] = ()


class PageRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Who asks, and the rows of the page, from the first to the last."""

    user_id: Annotated[Id | None, Meta(description="An unknown user is served by what else is given.")] = None
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
    surface: SurfaceName = UNSET
    rows: Annotated[tuple[RowRequest, ...], Meta(min_length=1, description="In the order of the page.")]
    exclude: Excluded = ()
    consent: ConsentTier = UNSET
    cursor: CursorText = UNSET


class RowAnswer(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The items of one row, none of which stands in a row above, and what they rest on."""

    row: Annotated[RowKind, Meta(description="As it was asked.")]
    name: Annotated[str | None, Meta(description="As it was asked.")] = None
    because: Annotated[str, Meta(description="What the items rest on, in words that an app can show.")]
    like_item: Annotated[str | None, Meta(description="Of a `similar` row: what its items are like.")] = None
    returned: Annotated[int, Meta(description="How many items came.")]
    decision_id: Annotated[
        str | None,
        Meta(description="Name of the row in the record of decisions; send it with events that come of it."),
    ] = None
    recorded: Annotated[
        bool | None, Meta(description="Whether the row is on record; false where the store refuses.")
    ] = None
    policy: Annotated[str | None, Meta(description="How the places were drawn, of a recorded row.")] = None
    creatives: Annotated[
        tuple[CreativeMessage, ...],
        Meta(description="How each item is said, in their order; empty where the surface has no creatives."),
    ] = ()
    ads: Annotated[
        tuple[AdMessage, ...],
        Meta(description="The ads among the items, each with who is behind it."),
    ] = ()


ROW_ANSWER = derived(RowAnswer, Answer)
"""The whole message: `RowAnswer` with the fields of an answer."""

_make_row: Callable[..., RowAnswer] = ROW_ANSWER
_fields_of_answer = values_of(Answer)


class PageAnswer(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The rows, in the order in which they were asked for; no item stands on the page twice."""

    request_id: Annotated[str, Meta(description="The id under which the log speaks of the request.")]
    version: Annotated[str, Meta(description="The release that made all rows.")]
    tier: Annotated[
        Tier | None,
        Meta(description="How much of the user the rows rest on at most, as of a recommendation."),
    ] = None
    rows: Annotated[tuple[ROW_ANSWER, ...], Meta(description="In the order of the request.")]  # type: ignore[valid-type]  # made at import
    cursor: Annotated[
        str | None,
        Meta(description="For the next request: nothing that stands here, or stood before, comes again."),
    ] = None
    profile: Annotated[
        str | None,
        Meta(description="`unavailable` if the page goes without what the user did since the release."),
    ] = None


_WORDS: Mapping[Source, str] = {
    Source.personal: "Chosen for you",
    Source.history: "Because of what you looked at",
    Source.features: "Chosen for people like you",
    Source.popular: "Popular now",
    Source.similar: "Similar to {like}",
    Source.new: "New",
    Source.query: "Found by your words",
}


def row_answer(
    asked: RowRequest,
    answered: AnsweredRow,
    record: RecordOfAnswer = NOT_RECORDING,
    creatives: Sequence[ItemCreative] = (),
    ads: Sequence[AdMessage] = (),
) -> RowAnswer:
    """Returns the message that tells a row, of its record and of its ads."""
    answer = answered.answer
    return _make_row(
        *_fields_of_answer(answer),
        row=asked.row,
        name=asked.name,
        because=because(asked.row, answered),
        like_item=answered.like_item,
        returned=len(answer.items),
        decision_id=record.decision_id,
        recorded=record.is_recorded,
        policy=record.policy,
        creatives=tuple(map(CreativeMessage.of, creatives)),
        ads=tuple(ads),
    )


def because(kind: RowKind, answered: AnsweredRow) -> str:
    """Returns words for what the items of a row rest on, in words that an app can show."""
    source = answered.answer.source
    if kind is RowKind.continued and source is not Source.popular:
        return "To go on with your list"
    if source is Source.similar and answered.like_item is None:
        return "Similar items"
    return _WORDS[source].format(like=answered.like_title or answered.like_item)
