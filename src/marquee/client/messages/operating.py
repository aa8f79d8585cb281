"""Messages: of the group `operating`; written by `make lock`."""

import msgspec

from marquee.client.messages.shared import Filter


class WhyRule(msgspec.Struct, kw_only=True, frozen=True):
    """A rule that held and could not have its effect, or not the whole of it.

    Attributes:
        rule_id: The rule.
        why: The reason, in words.
    """

    rule_id: str
    why: str


class WhyRecord(msgspec.Struct, kw_only=True, frozen=True):
    """The record of a decision, as it was written when it was made.

    Attributes:
        time_ms: When, milliseconds since 1970 UTC.
        release: The release that answered.
        source: The signal that the answer rests on.
        surface: Where it was shown; null for the only surface.
        tier: How much of a person it might rest on.
        policy: How its places were drawn.
        parameters: The numbers of that policy.
        rules: Rules that had an effect.
        rules_not_applied: Rules that held and could not have theirs.
        rules_version: Version of the rules; null where none held.
        history: Items of the history that was read, the oldest first.
        timestamp: The time of the request; null where the record does not hold it.
        k: How many items were wanted; null as above.
        kind: The kind of item that was wanted.
        like_item: The item that others were to be like.
        row: The kind of row, of a row of a page.
        features: Attributes of the user that the request stated.
        context: Attributes of the moment that the request stated.
        exclude_seen: Whether what the user had was left out.
    """

    time_ms: int
    release: str
    source: str
    surface: str | None = None
    tier: str | None = None
    policy: str
    parameters: dict[str, float] = {}
    rules: tuple[str, ...] = ()
    rules_not_applied: tuple[WhyRule, ...] = ()
    rules_version: int | None = None
    history: tuple[str, ...] = ()
    timestamp: int | None = None
    k: int | None = None
    kind: str | None = None
    like_item: str | None = None
    row: str | None = None
    features: dict[str, bool | int | float | str | tuple[bool | int | float | str | None, ...] | None] = {}
    context: dict[str, bool | int | float | str | tuple[bool | int | float | str | None, ...] | None] = {}
    exclude_seen: bool = True


class WhyReplay(msgspec.Struct, kw_only=True, frozen=True):
    """The outcome of asking the release again, alone, as it was asked then.

    Attributes:
        outcome: `agrees`: the same items in the same order, scores within 1e-5 of the largest; what stands
            below is then true of the answer. All others: only the record explains. One of `agrees`,
            `differs`, `live_items_changed`, `not_recorded`, `release_gone`, `rules_gone`, `user_unknown`.
        why: The same in words.
        live_items_changed: Whether live items are others than then; null if that is not known.
        largest_difference: Of a score to the recorded one, as a share of the largest; null if not asked.
    """

    outcome: str
    why: str
    live_items_changed: bool | None = None
    largest_difference: float | None = None


class WhyStage(msgspec.Struct, kw_only=True, frozen=True):
    """The items that a stage left, counted by asking again.

    Attributes:
        stage: The stage. One of `answer`, `available`, `candidates`, `exclusions`, `filters`, `items`,
            `kind`, `rules`.
        n_left: How many items it left.
    """

    stage: str
    n_left: int


class WhyFilter(msgspec.Struct, kw_only=True, frozen=True):
    """A filter of request or surface, and the items that it takes away.

    Attributes:
        attribute: The attribute.
        condition: What it asks for.
        n_removed: Items of the wanted kind that were available and that it takes away alone.
    """

    attribute: str
    condition: Filter
    n_removed: int


class WhyItem(msgspec.Struct, kw_only=True, frozen=True):
    """One place of the answer, and its causes.

    Attributes:
        item_id: The item.
        score: As in the answer.
        propensity: How probable the place was, given those above; 1 where nothing was drawn.
        because: One sentence for people, from the largest cause.
        cause: Which cause that is; the word by which sentences are replaced.
        without_events: The score without each event of the record's `history`; null where nothing would be
            left to go by.
        without_features: The score without each attribute that says something, stated or stored.
        without_user: The score without what was learned of the user, if anything was.
        bias: The part of the score that is the item's own, whoever asks.
        average_bias: The same of the average item.
        freshness: Gain for being new, in relevance, which runs from 0 to 1.
        boost: Gain by rules, in relevance.
        pinned: Whether a rule put it at its place.
    """

    item_id: str
    score: float
    propensity: float
    because: str
    cause: str
    without_events: tuple[float | None, ...] = ()
    without_features: dict[str, float | None] = {}
    without_user: float | None = None
    bias: float | None = None
    average_bias: float | None = None
    freshness: float = 0.0
    boost: float = 0.0
    pinned: bool = False


class WhyAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """One decision, explained: its record, what the release says when it is asked again, and each item.

    Attributes:
        request_id: The id under which the log speaks of this request.
        decision_id: The decision.
        record: As it was written then.
        replay: Asked again now; what follows but the items rests on it.
        stages: Items left by each stage; empty unless the replay agrees.
        filters: Each filter; empty as above.
        n_seen: Items that were left out because the user had them; null as above.
        n_excluded: Items that were left out because the request said so; null as above.
        relevance_scale: The score that a gain of 1 in relevance is worth; null unless it was re-ranked.
        items: The places, from the first to the last.
    """

    request_id: str
    decision_id: str
    record: WhyRecord
    replay: WhyReplay
    stages: tuple[WhyStage, ...] = ()
    filters: tuple[WhyFilter, ...] = ()
    n_seen: int | None = None
    n_excluded: int | None = None
    relevance_scale: float | None = None
    items: tuple[WhyItem, ...]


class HealthAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """Whether the service lives, or takes requests.

    Attributes:
        status: `alive` or `ready`.
        behind: Bundles of which another release answers than `CURRENT` names.
    """

    status: str
    behind: tuple[str, ...] = ()
