"""The answers to those who ask for items."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from marquee.bundle.bundle import Bundle
from marquee.core.filters import AttributeType
from marquee.decision.creatives.answers import ItemCreative
from marquee.decision.requests import Answer
from marquee.store.people.consent import Tier
from serving.api.ads.messages import AdMessage
from serving.api.messages.derived import derived, values_of
from serving.http.errors import ErrorAnswer


class RecordOfAnswer(NamedTuple):
    """The part of an answer that tells of its record; nothing where the service keeps none.

    Attributes:
        decision_id: Its name there.
        is_recorded: Whether it is there.
        policy: How its places were drawn.
        profile: `PROFILE_UNAVAILABLE`, or None.
    """

    decision_id: str | None = None
    is_recorded: bool | None = None
    policy: str | None = None
    profile: str | None = None


PROFILE_UNAVAILABLE = "unavailable"
NOT_RECORDING = RecordOfAnswer()


class CreativeMessage(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """How one item is said."""

    item_id: Annotated[str, Meta(description="The item.")]
    name: Annotated[
        str, Meta(description="Of the creative; empty if a field is missing or the text is too long.")
    ] = ""
    text: Annotated[str, Meta(description="Escaped for HTML; empty likewise.")] = ""
    propensity: Annotated[
        float,
        Meta(description="How probable it was among those that may be shown; on record with the answer."),
    ] = 1.0

    @classmethod
    def of(cls, creative: ItemCreative) -> "CreativeMessage":
        """Returns the message that tells a creative."""
        return cls(
            item_id=creative.item_id, name=creative.name, text=creative.text, propensity=creative.propensity
        )


class RecommendAnswer(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The items, best first, and what they rest on."""

    # What only the wire has; every field of `Answer` stands beside these in `RECOMMEND_ANSWER`.
    request_id: Annotated[str, Meta(description="The id under which the log speaks of the request.")]
    tier: Annotated[
        Tier | None,
        Meta(
            description="How much of the user it rests on at most: `personal`; `segment` is declared "
            "attributes alone, `none` the moment alone."
        ),
    ] = None  # has a default, for it is younger than its message: a client then reads older services as well
    returned: Annotated[int, Meta(description="How many items came.")]
    took_ms: Annotated[
        dict[str, float] | None,
        Meta(
            description="Milliseconds by stage, and in total, where the request wanted timings. The requests "
            "of a batch in the model end each stage together."
        ),
    ] = None

    cursor: Annotated[
        str | None,
        Meta(description="For the next request, where paging was asked for and more may come."),
    ] = None
    decision_id: Annotated[
        str | None,
        Meta(description="The id to be sent with events that come of it, where the service records."),
    ] = None
    recorded: Annotated[
        bool | None,
        Meta(description="Whether the answer is on record; false where the store refuses."),
    ] = None
    policy: Annotated[str | None, Meta(description="How the places were drawn, of a recorded answer.")] = None
    profile: Annotated[
        str | None,
        Meta(description="`unavailable` if the answer goes without what the user did since the release."),
    ] = None
    creatives: Annotated[
        tuple[CreativeMessage, ...],
        Meta(description="How each item is said, in their order; empty where the surface has no creatives."),
    ] = ()

    ads: Annotated[
        tuple[AdMessage, ...],
        Meta(description="The ads among the items, each with who is behind it."),
    ] = ()

    experiments: Annotated[
        dict[str, str] | None,
        Meta(description="The arm of each experiment that the answer is in; a canary is one."),
    ] = None

    @classmethod
    def of(
        cls,
        answer: Answer,
        request_id: str,
        *,
        took_ms: dict[str, float] | None = None,
        cursor: str | None = None,
        record: RecordOfAnswer = NOT_RECORDING,
        tier: Tier = Tier.personal,
        creatives: Sequence[ItemCreative] = (),
        experiments: Mapping[str, str] | None = None,
    ) -> "RecommendAnswer":
        """Returns the message that tells `answer`."""
        return _make_answer(
            *_fields_of_answer(answer),
            request_id=request_id,
            tier=tier,
            returned=len(answer.items),
            took_ms=took_ms,
            cursor=cursor,
            decision_id=record.decision_id,
            recorded=record.is_recorded,
            policy=record.policy,
            profile=record.profile,
            creatives=tuple(map(CreativeMessage.of, creatives)),
            experiments=experiments or None,
        )


RECOMMEND_ANSWER = derived(RecommendAnswer, Answer)
"""The whole message: what `RecommendAnswer.of` returns, and what the document describes."""

_make_answer: Callable[..., RecommendAnswer] = RECOMMEND_ANSWER
_fields_of_answer = values_of(Answer)


class BatchAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """One answer or one error per request, in the order of the requests."""

    request_id: str
    answers: list[RecommendAnswer | ErrorAnswer]


class BundleAnswer(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Which bundle answers, and what an app can ask it by; for `admin` also how large and good it is."""

    name: Annotated[str, Meta(description="Name of the bundle.")]
    version: Annotated[str, Meta(description="The release that answers.")]
    created: Annotated[int, Meta(description="Seconds since 1970 UTC.")]
    history_length: Annotated[int, Meta(description="Entries of a history that are read.")]
    kinds: Annotated[list[str], Meta(description="Event kinds that a history is read by.")]
    filters: Annotated[
        dict[str, AttributeType], Meta(description="Attributes that filters may name, and what each holds.")
    ] = {}  # has a default, for it is younger than its message: a client then reads older services as well
    features: Annotated[
        tuple[str, ...],
        Meta(description="What `features` and `context` of a request may name to any effect."),
    ] = ()
    n_items: Annotated[int | None, Meta(description="Items of the catalog.")] = None
    n_users: Annotated[int | None, Meta(description="Users that it knows.")] = None
    dim: Annotated[int | None, Meta(description="Length of its vectors.")] = None
    index: Annotated[str | None, Meta(description="How items are searched.")] = None
    index_recall: Annotated[
        float | None, Meta(description="Share of the truly best items that the search finds.")
    ] = None
    metrics: Annotated[
        dict[str, float] | None, Meta(description="What the model reached when it was judged.")
    ] = None

    @classmethod
    def of(cls, bundle: Bundle, *, with_figures: bool) -> "BundleAnswer":
        """Returns the message that tells of `bundle`, its figures only if whoever asks may see them."""
        manifest = bundle.manifest
        told = cls(
            name=manifest.name,
            version=manifest.version,
            created=manifest.created,
            history_length=manifest.history_length,
            kinds=list(manifest.kinds.configs),
            filters=dict(bundle.catalog.filterable),
            features=tuple(sorted(bundle.columns)),
        )
        if not with_figures:
            return told
        return msgspec.structs.replace(
            told,
            n_items=manifest.n_items,
            n_users=manifest.n_users,
            dim=manifest.dim,
            index=manifest.index.config.kind,
            index_recall=manifest.index.recall,
            metrics=dict(manifest.metrics),
        )


class HealthAnswer(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Whether the service lives, or takes requests."""

    status: Annotated[str, Meta(description="`alive` or `ready`.")]
    behind: Annotated[
        tuple[str, ...],
        Meta(description="Bundles of which another release answers than `CURRENT` names."),
    ] = ()
