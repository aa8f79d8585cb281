"""Messages: of the group `asking`; written by `make lock`."""

from collections.abc import Mapping, Sequence

import msgspec

from marquee.client.messages.shared import FeatureValue, Filter


class HistoryEntry(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Something that the user did.

    Attributes:
        item_id: The item.
        kind: What it was; null for the kind that the bundle names first. One of `click`, `conversion`,
            `exposure`, `feedback`, `rating`, `view`.
        value: Its value, such as a rating.
    """

    item_id: str
    kind: str | None = None
    value: int | float | None = None


class RerankingRequest(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """How the best items become the answer; what is left out is off. Scores stay what they are.

    Attributes:
        n_candidates: How many of the best items are considered; at least k are. Left out: 200.
        diversity: How variety is measured: by the most alike item above, or by all of them. One of `dpp`,
            `mmr`.
        diversity_weight: What variety counts beside relevance. Left out: 0.3.
        caps: By attribute: most items with the same value; `kind` is one too.
        spacing: By attribute: of so many places in a row no two hold the same value.
        freshness_weight: What a brand-new item gains; relevance is 0 to 1. Left out: 0.0.
        freshness_half_life_days: After so many days it gains half of that. Left out: 7.0.
        freshness_attribute: Where the birth of an item stands. Left out: "available_from".
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
    """Who asks and for what. Every field may be left out: what is not known is not used.

    Attributes:
        user_id: An unknown user is served by whatever else is given.
        history: What the user did, oldest first, newer than what the bundle knows of the user.
        query: Words: items whose texts hold them, or that are like such items. No record keeps them.
        features: Attributes of the user, by name.
        context: Attributes of the moment, by name.
        surface: Where the answer is shown: it decides the bundle, defaults and limits.
        k: How many items are wanted; fewer rather than any forbidden. Left out: what the surface says, 10
            where it says nothing. A surface may allow fewer.
        kind: Only items of this kind; null for both. One of `ad`, `content`.
        filters: By attribute: which items may come back. /v1/bundle names the attributes.
        reranking: How the best items become the answer; null for as the surface has it.
        exclude: Items that must not come back.
        exclude_seen: Leave out what the user's history holds, stored or given.
        consent: The most of the user that may be used; what was said for the user may allow less. One of
            `none`, `personal`, `segment`.
        paging: Whether the answer brings a cursor, by which to ask for more. Left out: false.
        cursor: Of an answer before: nothing that was shown comes again. The answer brings another.
        timings: Whether the answer tells how long each stage took. Left out: false.
    """

    user_id: str | None = None
    history: Sequence[str | HistoryEntry] | None = None
    query: str | None = None
    features: Mapping[str, FeatureValue] = {}
    context: Mapping[str, FeatureValue] = {}
    surface: str | None = None
    k: int | None = None
    kind: str | None = None
    filters: Mapping[str, Filter] = {}
    reranking: RerankingRequest | None = None
    exclude: Sequence[str] = ()
    exclude_seen: bool | None = None
    consent: str | None = None
    paging: bool | None = None
    cursor: str | None = None
    timings: bool | None = None


class Recommendation(msgspec.Struct, kw_only=True, frozen=True):
    """One item of an answer.

    Attributes:
        item_id: The item.
        score: What the answer is sorted by, higher is better: the inner product of query and item, for
            `Source.popular` the item's share of all interactions, or of those in the context that
            `popular_in` names, for `Source.similar` a cosine, for `Source.new` days since 1970, for
            `Source.query` a cosine of texts and a share of what the embeddings say.
        kind: Content or ad. One of `ad`, `content`.
    """

    item_id: str
    score: float
    kind: str


class RuleNotApplied(msgspec.Struct, kw_only=True, frozen=True):
    """A rule that holds and had no effect, or not the whole of it.

    Attributes:
        rule_id: The rule.
        why: In words.
    """

    rule_id: str
    why: str


class CreativeMessage(msgspec.Struct, kw_only=True, frozen=True):
    """How one item is said.

    Attributes:
        item_id: The item.
        name: Of the creative; empty if a field is missing or the text is too long.
        text: Escaped for HTML; empty likewise.
        propensity: How probable it was among those that may be shown; on record with the answer.
    """

    item_id: str
    name: str = ""
    text: str = ""
    propensity: float = 1.0


class AdMessage(msgspec.Struct, kw_only=True, frozen=True):
    """An ad among the items, with all that must stand beside it (Regulation (EU) 2022/2065, article 26).

    Attributes:
        place: Its place among the items, from 0.
        item_id: The item.
        is_ad: Always true: show it as an ad.
        campaign_id: The campaign that pays for it.
        on_behalf_of: Who is advertised.
        paid_by: Who pays.
        main_parameters: What its choice rests on: `surface`, `time`, `attributes`, `segment`, `geography`,
            `device`, `audience` and `history`, as far as it does.
        how_to_change: How whoever sees it changes what it may rest on.
    """

    place: int
    item_id: str
    is_ad: bool = True
    campaign_id: str
    on_behalf_of: str
    paid_by: str
    main_parameters: tuple[str, ...] = ()
    how_to_change: str = "PUT /v1/users/{user_id}/consent"


class RecommendAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The items, best first, and what they rest on.

    Attributes:
        items: Best first, equal scores in the order of the catalog; or in the order of the re-ranking.
        source: What the answer was made from. One of `features`, `history`, `new`, `personal`, `popular`,
            `query`, `similar`.
        version: The bundle that made it.
        requested: How many items were asked for.
        reranked: What re-ranking took into account, such as "mmr" or "caps"; empty if there was none.
        short_reason: Why there are fewer than requested; None if there are not.
        popular_in: The context in which the items of `Source.popular` are popular, such as "surface=home";
            None for everywhere.
        fallback_reason: Why the answer rests on less than the request had to go by; else None.
        unknown_user: Whether a user was named whom the bundle does not know.
        unknown_history: Events of the given history whose item the bundle does not know.
        ignored_features: Names in `features` and `context` that the bundle has no feature for, sorted.
        unknown_filter_values: Values named in `filters` that no item has, as `attribute=value`.
        rules: Ids of the rules that had an effect, in the order of their set.
        rules_not_applied: Rules that hold and could not have theirs, with the reason.
        request_id: The id under which the log speaks of the request.
        tier: How much of the user it rests on at most: `personal`; `segment` is declared attributes alone,
            `none` the moment alone. One of `none`, `personal`, `segment`.
        returned: How many items came.
        took_ms: Milliseconds by stage, and in total, where the request wanted timings. The requests of a
            batch in the model end each stage together.
        cursor: For the next request, where paging was asked for and more may come.
        decision_id: The id to be sent with events that come of it, where the service records.
        recorded: Whether the answer is on record; false where the store refuses.
        policy: How the places were drawn, of a recorded answer.
        profile: `unavailable` if the answer goes without what the user did since the release.
        creatives: How each item is said, in their order; empty where the surface has no creatives.
        ads: The ads among the items, each with who is behind it.
        experiments: The arm of each experiment that the answer is in; a canary is one.
    """

    items: tuple[Recommendation, ...]
    source: str
    version: str
    requested: int
    reranked: tuple[str, ...] = ()
    short_reason: str | None = None
    popular_in: str | None = None
    fallback_reason: str | None = None
    unknown_user: bool = False
    unknown_history: int = 0
    ignored_features: tuple[str, ...] = ()
    unknown_filter_values: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    rules_not_applied: tuple[RuleNotApplied, ...] = ()
    request_id: str
    tier: str | None = None
    returned: int
    took_ms: dict[str, float] | None = None
    cursor: str | None = None
    decision_id: str | None = None
    recorded: bool | None = None
    policy: str | None = None
    profile: str | None = None
    creatives: tuple[CreativeMessage, ...] = ()
    ads: tuple[AdMessage, ...] = ()
    experiments: dict[str, str] | None = None


class BatchRequest(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Several requests in one call. Each is read by itself, so that a wrong one fails alone.

    Attributes:
        requests: One that is no such request gets an error in its place in the answers.
    """

    requests: Sequence[RecommendRequest]


class SimilarRequest(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Which item, and how many that resemble it.

    Attributes:
        item_id: An item of the catalog; any other is answered with 404.
        surface: Where the answer is shown: it decides the bundle, defaults and limits.
        k: How many items are wanted; fewer rather than any forbidden. Left out: what the surface says, 10
            where it says nothing. A surface may allow fewer.
        kind: Only items of this kind; null for both. One of `ad`, `content`.
        filters: By attribute: which items may come back. /v1/bundle names the attributes.
        reranking: How the best items become the answer; null for as the surface has it.
        exclude: Items that must not come back.
        timings: Whether the answer tells how long each stage took. Left out: false.
    """

    item_id: str
    surface: str | None = None
    k: int | None = None
    kind: str | None = None
    filters: Mapping[str, Filter] = {}
    reranking: RerankingRequest | None = None
    exclude: Sequence[str] = ()
    timings: bool | None = None


class RowRequest(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One row: the items that it is to hold.

    Attributes:
        row: What its items are chosen by. Left out: "for_you". One of `continued`, `for_you`, `new`,
            `popular`, `similar`.
        name: What the app calls it; comes back.
        surface: Where the answer is shown: it decides the bundle, defaults and limits.
        k: How many items are wanted; fewer rather than any forbidden. Left out: what the surface says, 10
            where it says nothing. A surface may allow fewer.
        kind: Only items of this kind; null for both. One of `ad`, `content`.
        filters: By attribute: which items may come back. /v1/bundle names the attributes.
        reranking: How the best items become the answer; null for as the surface has it.
        exclude_seen: Leave out what the user's history holds, stored or given.
        query: Words: items whose texts hold them, or that are like such items. No record keeps them.
        item_id: Of a `similar` row: what its items are like; null for the user's latest.
        items: Of a `continued` row: the list that it goes on with, oldest first.
    """

    row: str | None = None
    name: str | None = None
    surface: str | None = None
    k: int | None = None
    kind: str | None = None
    filters: Mapping[str, Filter] = {}
    reranking: RerankingRequest | None = None
    exclude_seen: bool | None = None
    query: str | None = None
    item_id: str | None = None
    items: Sequence[str] = ()


class PageRequest(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Who asks, and the rows of the page, from the first to the last.

    Attributes:
        user_id: An unknown user is served by what else is given.
        history: What the user did, oldest first, newer than what the bundle knows of the user.
        features: Attributes of the user, by name.
        context: Attributes of the moment, by name.
        surface: Where the answer is shown: it decides the bundle, defaults and limits.
        rows: In the order of the page.
        exclude: Items that must not come back.
        consent: The most of the user that may be used; what was said for the user may allow less. One of
            `none`, `personal`, `segment`.
        cursor: Of an answer before: nothing that was shown comes again. The answer brings another.
    """

    user_id: str | None = None
    history: Sequence[str | HistoryEntry] | None = None
    features: Mapping[str, FeatureValue] = {}
    context: Mapping[str, FeatureValue] = {}
    surface: str | None = None
    rows: Sequence[RowRequest]
    exclude: Sequence[str] = ()
    consent: str | None = None
    cursor: str | None = None


class RowAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The items of one row, none of which stands in a row above, and what they rest on.

    Attributes:
        items: Best first, equal scores in the order of the catalog; or in the order of the re-ranking.
        source: What the answer was made from. One of `features`, `history`, `new`, `personal`, `popular`,
            `query`, `similar`.
        version: The bundle that made it.
        requested: How many items were asked for.
        reranked: What re-ranking took into account, such as "mmr" or "caps"; empty if there was none.
        short_reason: Why there are fewer than requested; None if there are not.
        popular_in: The context in which the items of `Source.popular` are popular, such as "surface=home";
            None for everywhere.
        fallback_reason: Why the answer rests on less than the request had to go by; else None.
        unknown_user: Whether a user was named whom the bundle does not know.
        unknown_history: Events of the given history whose item the bundle does not know.
        ignored_features: Names in `features` and `context` that the bundle has no feature for, sorted.
        unknown_filter_values: Values named in `filters` that no item has, as `attribute=value`.
        rules: Ids of the rules that had an effect, in the order of their set.
        rules_not_applied: Rules that hold and could not have theirs, with the reason.
        row: As it was asked. One of `continued`, `for_you`, `new`, `popular`, `similar`.
        name: As it was asked.
        because: What the items rest on, in words that an app can show.
        like_item: Of a `similar` row: what its items are like.
        returned: How many items came.
        decision_id: Name of the row in the record of decisions; send it with events that come of it.
        recorded: Whether the row is on record; false where the store refuses.
        policy: How the places were drawn, of a recorded row.
        creatives: How each item is said, in their order; empty where the surface has no creatives.
        ads: The ads among the items, each with who is behind it.
    """

    items: tuple[Recommendation, ...]
    source: str
    version: str
    requested: int
    reranked: tuple[str, ...] = ()
    short_reason: str | None = None
    popular_in: str | None = None
    fallback_reason: str | None = None
    unknown_user: bool = False
    unknown_history: int = 0
    ignored_features: tuple[str, ...] = ()
    unknown_filter_values: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    rules_not_applied: tuple[RuleNotApplied, ...] = ()
    row: str
    name: str | None = None
    because: str
    like_item: str | None = None
    returned: int
    decision_id: str | None = None
    recorded: bool | None = None
    policy: str | None = None
    creatives: tuple[CreativeMessage, ...] = ()
    ads: tuple[AdMessage, ...] = ()


class PageAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The rows, in the order in which they were asked for; no item stands on the page twice.

    Attributes:
        request_id: The id under which the log speaks of the request.
        version: The release that made all rows.
        tier: How much of the user the rows rest on at most, as of a recommendation. One of `none`,
            `personal`, `segment`.
        rows: In the order of the request.
        cursor: For the next request: nothing that stands here, or stood before, comes again.
        profile: `unavailable` if the page goes without what the user did since the release.
    """

    request_id: str
    version: str
    tier: str | None = None
    rows: tuple[RowAnswer, ...]
    cursor: str | None = None
    profile: str | None = None


class BundleAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """Which bundle answers, and what an app can ask it by; for `admin` also how large and good it is.

    Attributes:
        name: Name of the bundle.
        version: The release that answers.
        created: Seconds since 1970 UTC.
        history_length: Entries of a history that are read.
        kinds: Event kinds that a history is read by.
        filters: Attributes that filters may name, and what each holds. One of `flag`, `number`, `numbers`,
            `text`, `texts`.
        features: What `features` and `context` of a request may name to any effect.
        n_items: Items of the catalog.
        n_users: Users that it knows.
        dim: Length of its vectors.
        index: How items are searched.
        index_recall: Share of the truly best items that the search finds.
        metrics: What the model reached when it was judged.
    """

    name: str
    version: str
    created: int
    history_length: int
    kinds: tuple[str, ...]
    filters: dict[str, str] = {}
    features: tuple[str, ...] = ()
    n_items: int | None = None
    n_users: int | None = None
    dim: int | None = None
    index: str | None = None
    index_recall: float | None = None
    metrics: dict[str, float] | None = None
