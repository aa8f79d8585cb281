"""Messages: of the group `users`; written by `make lock`."""

import msgspec

from marquee.client.messages.shared import Filter


class ConsentRequest(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """How much a user lets be used.

    Attributes:
        tier: `personal`: all that is known; `segment`: the attributes that requests declare; `none`: the
            moment alone. One of `none`, `personal`, `segment`.
    """

    tier: str


class ConsentAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The tier that holds from now on, for the next answer of every worker.

    Attributes:
        request_id: The id under which the log speaks of the request.
        tier: What was said. One of `none`, `personal`, `segment`.
        changed: Since when it holds, seconds since 1970 UTC.
    """

    request_id: str
    tier: str
    changed: int


class ConsentMessage(msgspec.Struct, kw_only=True, frozen=True):
    """One statement of how much may be used.

    Attributes:
        time: When, seconds since 1970 UTC.
        tier: What was said. One of `none`, `personal`, `segment`.
    """

    time: int
    tier: str


class ReleaseMessage(msgspec.Struct, kw_only=True, frozen=True):
    """A release that still knows an erased user by a name that leads to nobody.

    Attributes:
        version: Its name.
        until: When it should have been replaced, seconds since 1970 UTC.
    """

    version: str
    until: int


class ReceiptMessage(msgspec.Struct, kw_only=True, frozen=True):
    """The counts of an erasure. Signed is this object as JSON with sorted names, without spaces.

    Attributes:
        erasure_id: Its name.
        handle: Whose it is, as only the service's key makes it of an id.
        asked: When it was asked for, seconds since 1970 UTC.
        due: By when it is finished, seconds since 1970 UTC.
        finished: When nothing was left, seconds since 1970 UTC; null until then.
        events: Events that were deleted from the store.
        decisions: Answers that were deleted from the store.
        events_in_files: Events that were deleted from files of closed days.
        decisions_in_files: Answers that were deleted from such files.
        releases: Releases that still hold what they learned.
    """

    erasure_id: str
    handle: str
    asked: int
    due: int
    finished: int | None = None
    events: int
    decisions: int
    events_in_files: int
    decisions_in_files: int
    releases: tuple[ReleaseMessage, ...]


class HeldEvent(msgspec.Struct, kw_only=True, frozen=True):
    """An event that the log holds.

    Attributes:
        event_id: Its name.
        kind: What was done.
        item_id: To what.
        timestamp: When, seconds since 1970 UTC.
        received: When it came, seconds since 1970 UTC.
        decision_id: In which answer it was shown.
        value: A rating, or what a conversion is worth.
        text: What was said.
    """

    event_id: str
    kind: str
    item_id: str
    timestamp: int
    received: int
    decision_id: str | None = None
    value: float | None = None
    text: str | None = None


class TraitsMessage(msgspec.Struct, kw_only=True, frozen=True):
    """The traits of a customer.

    Attributes:
        run: The run that computed them.
        version: Of the run: equal tables and settings have equal ones.
        as_of: Moment up to which things were known, seconds since 1970 UTC; null where none was said.
        values: By name, with what belongs to each, such as reasons.
    """

    run: str
    version: str
    as_of: float | None = None
    values: dict[str, bool | int | float | str | tuple[bool | int | float | str | None, ...] | None]


class ShownMessage(msgspec.Struct, kw_only=True, frozen=True):
    """One count of an ad that a user was shown, for the caps of campaigns.

    Attributes:
        per: What is counted: `campaign`, `advertiser` or `ad`.
        of: Which one; an ad by its campaign and its item.
        time_ms: When, milliseconds since 1970 UTC.
    """

    per: str
    of: tuple[str, ...]
    time_ms: int


class ChargeMessage(msgspec.Struct, kw_only=True, frozen=True):
    """An ad in an answer to a user, and what became of its price.

    Attributes:
        decision_id: The answer.
        item_id: The ad.
        campaign_id: Who pays for it.
        bid_type: For which event: `cpm`, `cpc` or `cpa`.
        price: What that event costs, millionths of the currency.
        state: `open`: still waited for; `charged`; else `unbilled`, `released` or `fenced`.
    """

    decision_id: str
    item_id: str
    campaign_id: str
    bid_type: str
    price: int
    state: str


class AdsMessage(msgspec.Struct, kw_only=True, frozen=True):
    """The part of what is held that campaigns need.

    Attributes:
        shown: On the first page alone; oldest first.
        charges: Of the answers of this page.
    """

    shown: tuple[ShownMessage, ...]
    charges: tuple[ChargeMessage, ...]


class UserAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """A page of what is held of a user.

    Attributes:
        request_id: The id under which the log speaks of the request.
        tier: How much may be used; null if nothing was said. One of `none`, `personal`, `segment`.
        changed: Since when, seconds since 1970 UTC.
        erased: When they were last erased, seconds since 1970 UTC.
        consents: What was said, oldest first.
        receipts: Of erasures, the latest first.
        events: Of this page.
        decisions: Answers of this page, with all that is on record of each.
        traits: Of the run of customers that is served; null where it knows nobody of that id.
        ads: What campaigns count and pay; null from earlier services.
        cursor: For the next page, which may be empty; null where this is the last.
    """

    request_id: str
    tier: str | None = None
    changed: int | None = None
    erased: int | None = None
    consents: tuple[ConsentMessage, ...]
    receipts: tuple[ReceiptMessage, ...]
    events: tuple[HeldEvent, ...]
    decisions: tuple[dict[str, object], ...]
    traits: TraitsMessage | None = None
    ads: AdsMessage | None = None
    cursor: str | None = None


class SignatureMessage(msgspec.Struct, kw_only=True, frozen=True):
    """Who vouches for a receipt.

    Attributes:
        algorithm: Always `ed25519`.
        key_id: Names the public key.
        signature: In base64.
    """

    algorithm: str
    key_id: str
    signature: str


class ReceiptAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The receipt of an erasure.

    Attributes:
        request_id: The id under which the log speaks of the request.
        receipt: What was deleted.
        signature: Null where the service has no key for receipts.
    """

    request_id: str
    receipt: ReceiptMessage
    signature: SignatureMessage | None = None


class WhyRule(msgspec.Struct, kw_only=True, frozen=True):
    """A rule that held and could not have its effect, or not the whole of it.

    Attributes:
        rule_id: The rule.
        why: The reason, in words.
    """

    rule_id: str
    why: str


class WhyArm(msgspec.Struct, kw_only=True, frozen=True):
    """An arm of an experiment that the decision was in.

    Attributes:
        experiment: The experiment.
        arm: The arm.
    """

    experiment: str
    arm: str


class WhyUserRule(msgspec.Struct, kw_only=True, frozen=True):
    """A rule that held by traits, audiences or arms of experiments, and not for everybody.

    Attributes:
        rule_id: The rule.
        where: Its condition on traits; empty also where the rules are not kept any more.
        audiences: The user was a contact of one of these, by the run of then.
        arms: The decision was in one of these arms of experiments.
        except_arms: It was in none of these.
    """

    rule_id: str
    where: str = ""
    audiences: tuple[str, ...] = ()
    arms: tuple[WhyArm, ...] = ()
    except_arms: tuple[WhyArm, ...] = ()


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
        rules_for_users: Rules that held by the user's traits and audiences, or by arms.
        rules_version: Version of the rules; null where none held.
        experiments: The arms that it was in.
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
    rules_for_users: tuple[WhyUserRule, ...] = ()
    rules_version: int | None = None
    experiments: tuple[WhyArm, ...] = ()
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


class WhyAd(msgspec.Struct, kw_only=True, frozen=True):
    """An ad, and how it came to its place: the auction, held again from the record. Money is millionths.

    Attributes:
        campaign_id: The campaign.
        on_behalf_of: Who is advertised.
        paid_by: Who pays, as it was told beside the ad.
        priority: Its tier. One of `auction`, `guaranteed`, `house`.
        bid_type: What is paid for. One of `cpa`, `cpc`, `cpm`.
        charge: What that costs, if it comes; for `cpm` one impression, not a thousand.
        bid: The most that it may cost, a thousand impressions for `cpm`.
        probability: How likely an impression leads to it; null for a house ad.
        multiplier: Share of its bid that its plan let it offer; null as above.
        value: What a thousand impressions were worth to it: its offer.
        price: What a thousand impressions cost.
        reserve: The least that was asked for them: the floor, or by the content displaced.
        next_value: The offer that it kept from the place; null if there was none.
        next_campaign_id: Whose offer that was; null as above.
        main_parameters: What its choice rests on, as it was told beside the ad.
    """

    campaign_id: str
    on_behalf_of: str
    paid_by: str
    priority: str
    bid_type: str
    charge: int
    bid: int = 0
    probability: float | None = None
    multiplier: float | None = None
    value: int
    price: int
    reserve: int
    next_value: int | None = None
    next_campaign_id: str | None = None
    main_parameters: tuple[str, ...] = ()


class WhyItem(msgspec.Struct, kw_only=True, frozen=True):
    """One place of the answer, and its causes.

    Attributes:
        item_id: The item.
        score: As in the answer.
        propensity: How probable the place was, given those above; 1 where nothing was drawn.
        creative: How the item was said, by name; null where it had no creative.
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
        ad: How the place was sold; null for content. It has no other causes.
    """

    item_id: str
    score: float
    propensity: float
    creative: str | None = None
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
    ad: WhyAd | None = None


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
        lost: Ads that were found and not shown, by reason; of sold slots alone.
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
    lost: dict[str, int] = {}
