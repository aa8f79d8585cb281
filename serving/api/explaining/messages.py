"""The answer that explains one decision."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from marquee.decision.explaining.asked import rules_for_users_of
from marquee.decision.explaining.auctions import AdReasons
from marquee.decision.explaining.counting import Counts, Step
from marquee.decision.explaining.explanation import Explanation, Outcome
from marquee.decision.explaining.reasons import ItemReasons, ScoreWithout
from marquee.store.campaigns.campaign import BidType, Priority
from marquee.store.log.event_log import Decision
from marquee.store.rules.rule import NO_RULES, ActiveRules, Rule
from serving.api.messages.requests import FeatureValue, Filter


class WhyRule(msgspec.Struct, kw_only=True, frozen=True):
    """A rule that held and could not have its effect, or not the whole of it."""

    rule_id: Annotated[str, Meta(description="The rule.")]
    why: Annotated[str, Meta(description="The reason, in words.")]


class WhyArm(msgspec.Struct, kw_only=True, frozen=True):
    """An arm of an experiment that the decision was in."""

    experiment: Annotated[str, Meta(description="The experiment.")]
    arm: Annotated[str, Meta(description="The arm.")]


class WhyUserRule(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A rule that held by traits, audiences or arms of experiments, and not for everybody."""

    rule_id: Annotated[str, Meta(description="The rule.")]
    where: Annotated[
        str, Meta(description="Its condition on traits; empty also where the rules are not kept any more.")
    ] = ""
    audiences: Annotated[
        tuple[str, ...], Meta(description="The user was a contact of one of these, by the run of then.")
    ] = ()
    arms: Annotated[
        tuple[WhyArm, ...], Meta(description="The decision was in one of these arms of experiments.")
    ] = ()
    except_arms: Annotated[tuple[WhyArm, ...], Meta(description="It was in none of these.")] = ()


class WhyRecord(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The record of a decision, as it was written when it was made."""

    time_ms: Annotated[int, Meta(description="When, milliseconds since 1970 UTC.")]
    release: Annotated[str, Meta(description="The release that answered.")]
    source: Annotated[str, Meta(description="The signal that the answer rests on.")]
    surface: Annotated[str | None, Meta(description="Where it was shown; null for the only surface.")] = None
    tier: Annotated[str | None, Meta(description="How much of a person it might rest on.")] = None
    policy: Annotated[str, Meta(description="How its places were drawn.")]
    parameters: Annotated[dict[str, float], Meta(description="The numbers of that policy.")] = {}
    rules: Annotated[tuple[str, ...], Meta(description="Rules that had an effect.")] = ()
    rules_not_applied: Annotated[
        tuple[WhyRule, ...], Meta(description="Rules that held and could not have theirs.")
    ] = ()
    rules_for_users: Annotated[
        tuple[WhyUserRule, ...],
        Meta(description="Rules that held by the user's traits and audiences, or by arms."),
    ] = ()
    rules_version: Annotated[int | None, Meta(description="Version of the rules; null where none held.")] = (
        None
    )
    experiments: Annotated[tuple[WhyArm, ...], Meta(description="The arms that it was in.")] = ()
    history: Annotated[
        tuple[str, ...], Meta(description="Items of the history that was read, the oldest first.")
    ] = ()
    timestamp: Annotated[
        int | None, Meta(description="The time of the request; null where the record does not hold it.")
    ] = None
    k: Annotated[int | None, Meta(description="How many items were wanted; null as above.")] = None
    kind: Annotated[str | None, Meta(description="The kind of item that was wanted.")] = None
    like_item: Annotated[str | None, Meta(description="The item that others were to be like.")] = None
    row: Annotated[str | None, Meta(description="The kind of row, of a row of a page.")] = None
    features: Annotated[
        dict[str, FeatureValue], Meta(description="Attributes of the user that the request stated.")
    ] = {}
    context: Annotated[
        dict[str, FeatureValue], Meta(description="Attributes of the moment that the request stated.")
    ] = {}
    exclude_seen: Annotated[bool, Meta(description="Whether what the user had was left out.")] = True

    @classmethod
    def of(cls, decision: Decision, rules: ActiveRules | None) -> "WhyRecord":
        """Returns the message that tells a record, with the rules that held if they are kept."""
        asked = decision.asked
        return cls(
            time_ms=decision.time_ms,
            release=decision.release,
            source=decision.source,
            surface=decision.surface,
            tier=decision.tier or None,
            policy=decision.policy,
            parameters=dict(decision.parameters),
            rules=decision.rules,
            rules_not_applied=tuple(
                [WhyRule(rule_id=rule_id, why=why) for rule_id, why in decision.rules_not_applied]
            ),
            rules_for_users=_for_users(decision, rules or NO_RULES),
            rules_version=decision.rules_version or None,
            experiments=tuple(
                [WhyArm(experiment=name, arm=arm) for name, _phase, arm in decision.experiments]
            ),
            history=decision.history,
            timestamp=asked.get("timestamp"),
            k=asked.get("k"),
            kind=asked.get("kind"),
            like_item=asked.get("like_item"),
            row=asked["row"][0] if "row" in asked else None,
            features=dict(asked.get("features", {})),
            context=dict(asked.get("context", {})),
            exclude_seen=asked.get("exclude_seen", True),
        )


class WhyReplay(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The outcome of asking the release again, alone, as it was asked then."""

    outcome: Annotated[
        Outcome,
        Meta(
            description="`agrees`: the same items in the same order, scores within 1e-5 of the largest; what "
            "stands below is then true of the answer. All others: only the record explains."
        ),
    ]
    why: Annotated[str, Meta(description="The same in words.")]
    live_items_changed: Annotated[
        bool | None, Meta(description="Whether live items are others than then; null if that is not known.")
    ] = None
    largest_difference: Annotated[
        float | None,
        Meta(description="Of a score to the recorded one, as a share of the largest; null if not asked."),
    ] = None


class WhyStage(msgspec.Struct, kw_only=True, frozen=True):
    """The items that a stage left, counted by asking again."""

    stage: Annotated[Step, Meta(description="The stage.")]
    n_left: Annotated[int, Meta(description="How many items it left.")]


class WhyFilter(msgspec.Struct, kw_only=True, frozen=True):
    """A filter of request or surface, and the items that it takes away."""

    attribute: Annotated[str, Meta(description="The attribute.")]
    condition: Annotated[Filter, Meta(description="What it asks for.")]
    n_removed: Annotated[
        int, Meta(description="Items of the wanted kind that were available and that it takes away alone.")
    ]


class WhyAd(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """An ad, and how it came to its place: the auction, held again from the record. Money is millionths."""

    campaign_id: Annotated[str, Meta(description="The campaign.")]
    on_behalf_of: Annotated[str, Meta(description="Who is advertised.")]
    paid_by: Annotated[str, Meta(description="Who pays, as it was told beside the ad.")]
    priority: Annotated[Priority, Meta(description="Its tier.")]
    bid_type: Annotated[BidType, Meta(description="What is paid for.")]
    charge: Annotated[
        int, Meta(description="What that costs, if it comes; for `cpm` one impression, not a thousand.")
    ]
    bid: Annotated[int, Meta(description="The most that it may cost, a thousand impressions for `cpm`.")] = 0
    probability: Annotated[
        float | None, Meta(description="How likely an impression leads to it; null for a house ad.")
    ] = None
    multiplier: Annotated[
        float | None, Meta(description="Share of its bid that its plan let it offer; null as above.")
    ] = None
    value: Annotated[int, Meta(description="What a thousand impressions were worth to it: its offer.")]
    price: Annotated[int, Meta(description="What a thousand impressions cost.")]
    reserve: Annotated[
        int, Meta(description="The least that was asked for them: the floor, or by the content displaced.")
    ]
    next_value: Annotated[
        int | None, Meta(description="The offer that it kept from the place; null if there was none.")
    ] = None
    next_campaign_id: Annotated[str | None, Meta(description="Whose offer that was; null as above.")] = None
    main_parameters: Annotated[
        tuple[str, ...], Meta(description="What its choice rests on, as it was told beside the ad.")
    ] = ()

    @classmethod
    def of(cls, ad: AdReasons) -> "WhyAd":
        """Returns the message that tells the causes of an ad."""
        filled, entry = ad.filled, ad.filled.entry
        offer, rival = entry.offer, filled.rival
        return cls(
            campaign_id=entry.campaign_id,
            on_behalf_of=entry.advertiser,
            paid_by=ad.paid_by,
            priority=entry.priority,
            bid_type=BidType(ad.sale.bid_type),
            charge=ad.sale.price,
            bid=0 if offer is None else offer.bid,
            probability=None if offer is None else offer.probability,
            multiplier=None if offer is None else offer.multiplier,
            value=entry.value,
            price=filled.price,
            reserve=filled.reserve,
            next_value=None if rival is None else rival.value,
            next_campaign_id=None if rival is None else rival.campaign_id,
            main_parameters=ad.parameters,
        )


class WhyItem(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One place of the answer, and its causes."""

    item_id: Annotated[str, Meta(description="The item.")]
    score: Annotated[float, Meta(description="As in the answer.")]
    propensity: Annotated[
        float, Meta(description="How probable the place was, given those above; 1 where nothing was drawn.")
    ]
    creative: Annotated[
        str | None, Meta(description="How the item was said, by name; null where it had no creative.")
    ] = None
    because: Annotated[str, Meta(description="One sentence for people, from the largest cause.")]
    cause: Annotated[str, Meta(description="Which cause that is; the word by which sentences are replaced.")]
    without_events: Annotated[
        tuple[float | None, ...],
        Meta(
            description="The score without each event of the record's `history`; null where nothing would be "
            "left to go by."
        ),
    ] = ()
    without_features: Annotated[
        dict[str, float | None],
        Meta(description="The score without each attribute that says something, stated or stored."),
    ] = {}
    without_user: Annotated[
        float | None, Meta(description="The score without what was learned of the user, if anything was.")
    ] = None
    bias: Annotated[
        float | None, Meta(description="The part of the score that is the item's own, whoever asks.")
    ] = None
    average_bias: Annotated[float | None, Meta(description="The same of the average item.")] = None
    freshness: Annotated[
        float, Meta(description="Gain for being new, in relevance, which runs from 0 to 1.")
    ] = 0.0
    boost: Annotated[float, Meta(description="Gain by rules, in relevance.")] = 0.0
    pinned: Annotated[bool, Meta(description="Whether a rule put it at its place.")] = False
    ad: Annotated[
        WhyAd | None, Meta(description="How the place was sold; null for content. It has no other causes.")
    ] = None


class WhyAnswer(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One decision, explained: its record, what the release says when it is asked again, and each item."""

    request_id: Annotated[str, Meta(description="The id under which the log speaks of this request.")]
    decision_id: Annotated[str, Meta(description="The decision.")]
    record: Annotated[WhyRecord, Meta(description="As it was written then.")]
    replay: Annotated[WhyReplay, Meta(description="Asked again now; what follows but the items rests on it.")]
    stages: Annotated[
        tuple[WhyStage, ...], Meta(description="Items left by each stage; empty unless the replay agrees.")
    ] = ()
    filters: Annotated[tuple[WhyFilter, ...], Meta(description="Each filter; empty as above.")] = ()
    n_seen: Annotated[
        int | None, Meta(description="Items that were left out because the user had them; null as above.")
    ] = None
    n_excluded: Annotated[
        int | None, Meta(description="Items that were left out because the request said so; null as above.")
    ] = None
    relevance_scale: Annotated[
        float | None,
        Meta(description="The score that a gain of 1 in relevance is worth; null unless it was re-ranked."),
    ] = None
    items: Annotated[tuple[WhyItem, ...], Meta(description="The places, from the first to the last.")]
    lost: Annotated[
        dict[str, int], Meta(description="Ads that were found and not shown, by reason; of sold slots alone.")
    ] = {}

    @classmethod
    def of(cls, explanation: Explanation, rules: ActiveRules | None, request_id: str) -> "WhyAnswer":
        """Returns the message that tells an explanation, with the rules that held if they are kept."""
        counts, reasons = explanation.counts, explanation.reasons
        return cls(
            request_id=request_id,
            decision_id=explanation.decision.decision_id,
            record=WhyRecord.of(explanation.decision, rules),
            replay=WhyReplay(
                outcome=explanation.outcome,
                why=explanation.why,
                live_items_changed=explanation.live_items_changed,
                largest_difference=explanation.largest_difference,
            ),
            stages=tuple([WhyStage(stage=one.stage, n_left=one.n_left) for one in counts.stages])
            if counts
            else (),
            filters=_filters(counts) if counts else (),
            n_seen=counts.n_seen if counts else None,
            n_excluded=counts.n_excluded if counts else None,
            relevance_scale=(reasons.relevance_scale or None) if reasons else None,
            items=_items(explanation),
            lost=dict(explanation.auction.lost),
        )


def _for_users(decision: Decision, rules: ActiveRules) -> tuple[WhyUserRule, ...]:
    """Returns the rules that held for a decision and not for everybody, with their conditions."""
    kept = {rule.rule_id: rule for rule in rules.rules}
    return tuple([_why_held(rule_id, kept.get(rule_id)) for rule_id in rules_for_users_of(decision)])


def _why_held(rule_id: str, rule: Rule | None) -> WhyUserRule:
    """Returns one of these rules, without conditions where its set is not kept any more."""
    if rule is None:
        return WhyUserRule(rule_id=rule_id)
    among, without = (
        tuple([WhyArm(experiment=one.experiment, arm=one.arm) for one in arms])
        for arms in (rule.arms.among, rule.arms.without)
    )
    return WhyUserRule(
        rule_id=rule_id,
        where=rule.users.where if rule.users else "",
        audiences=rule.users.audiences if rule.users else (),
        arms=among,
        except_arms=without,
    )


def _filters(counts: Counts) -> tuple[WhyFilter, ...]:
    """Returns the filters of a decision."""
    return tuple(
        [
            WhyFilter(
                attribute=one.clause.attribute,
                condition=Filter(
                    any_of=one.clause.any_of or None,
                    all_of=one.clause.all_of or None,
                    none_of=one.clause.none_of or None,
                    min=one.clause.min,
                    max=one.clause.max,
                ),
                n_removed=one.n_removed,
            )
            for one in counts.filters
        ]
    )


def _items(explanation: Explanation) -> tuple[WhyItem, ...]:
    """Returns the places of a decision: as recorded, with their causes where these are known."""
    creatives = explanation.decision.creatives or ("",) * len(explanation.decision.places)
    return tuple(
        [
            WhyItem(
                item_id=place.item_id,
                score=place.score,
                propensity=place.propensity,
                creative=creative or None,
                because=sentence.text,
                cause=sentence.cause,
                ad=None if ad is None else WhyAd.of(ad),
                **_causes(item),
            )
            for place, creative, sentence, item, ad in zip(
                explanation.decision.places,
                creatives,
                explanation.sentences,
                explanation.causes,
                explanation.ads,
                strict=True,
            )
        ]
    )


def _causes(item: ItemReasons | None) -> dict[str, Any]:  # Any: fields of `WhyItem`
    """Returns the causes of an item by the names that the message has for them."""
    if item is None:
        return {}
    without: ScoreWithout = item.without
    return {
        "without_events": without.events,
        "without_features": dict(without.features),
        "without_user": without.user,
        "bias": item.bias.value if item.bias else None,
        "average_bias": item.bias.average if item.bias else None,
        "freshness": item.freshness,
        "boost": item.boost,
        "pinned": item.is_pinned,
    }
