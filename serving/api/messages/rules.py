"""Requests and answers of those who decide what is pinned, blocked and boosted."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from marquee.core.filters import Filters
from marquee.core.targeting.condition import MAX_LENGTH
from marquee.core.targeting.targeting import Targeting
from marquee.decision.trials.trying import ItemShift, Trial
from marquee.errors import DataError, FilterError, RuleError
from marquee.store.rules.rule import Boost, Pin, Rule, RuleSet, Target, plain_rule
from marquee.store.rules.rule_arms import ArmCondition, RuleArm
from marquee.store.rules.rule_store import RuleChange
from serving.api.messages.items import LATEST_MOMENT
from serving.api.messages.requests import Filter, Id
from serving.http.errors import ErrorAnswer

MAX_RULES = 500
MAX_ITEMS = 1000
"""Items of one rule, and pins."""

MAX_SAMPLE = 1000
DEFAULT_SAMPLE = 200

_Moment = Annotated[int, Meta(ge=0, le=LATEST_MOMENT)]
_Filters = Annotated[dict[Id, Filter], Meta(max_length=20)]


class PinMessage(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """An item and the place where it stands."""

    item_id: Annotated[Id, Meta(description="The item; live items too.")]
    place: Annotated[int, Meta(ge=1, le=1000, description="From 1.")]


class TargetMessage(
    msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True
):
    """The items that a rule is about: those that are named, or those that pass filters."""

    items: Annotated[
        tuple[Id, ...], Meta(max_length=MAX_ITEMS, description="Items; no filters beside them.")
    ] = ()
    filters: Annotated[_Filters, Meta(description="What the items' attributes must be, as in a request.")] = (
        msgspec.field(default_factory=dict)
    )

    def target(self, place: str) -> Target:
        """Returns the target that the message is; raises RuleError that names the field at fault."""
        try:
            plain = {name: _conditions(one) for name, one in self.filters.items()}
            return Target(items=self.items, filters=Filters.of(plain))
        except FilterError as error:
            raise RuleError(str(error), f"{place}.{error.field}") from None


class BoostMessage(TargetMessage, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The items whose relevance is raised or lowered, and by how much."""

    weight: Annotated[
        float,
        Meta(
            ge=-1, le=1, description="Added to relevance, which runs from 0 to 1 among the items considered."
        ),
    ]


class RuleUsersMessage(
    msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True
):
    """The users that a rule holds for, by traits and audiences; both must hold if both are given."""

    where: Annotated[
        Annotated[str, Meta(max_length=MAX_LENGTH)],
        Meta(description="Condition on traits, as `leaves >= 0.5 AND segment = 'loyal'`."),
    ] = ""
    audiences: Annotated[
        tuple[Id, ...],
        Meta(max_length=20, description="Contacts of one of these; whoever is held back is no contact."),
    ] = ()

    def targeting(self, place: str) -> Targeting:
        """Returns the targeting that the message is; raises RuleError that names the field at fault."""
        try:
            return Targeting(self.where, self.audiences)
        except DataError as error:
            raise RuleError(f"{place}.where: {error}", f"{place}.where") from None


class RuleArmMessage(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """An arm of an experiment of the service."""

    experiment: Annotated[Id, Meta(description="The experiment; also `holdout` and `canary`.")]
    arm: Annotated[Id, Meta(description="The arm.")]


_Arms = Annotated[tuple[RuleArmMessage, ...], Meta(max_length=20)]


class RuleMessage(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One rule: who decided what, why, where and for how long; one of `pin`, `block` and `boost`."""

    id: Annotated[Id, Meta(description="Its name within the set; answers name it.")]
    author: Annotated[
        Annotated[str, Meta(max_length=128)], Meta(description="Who decided; the key's name if left out.")
    ] = ""
    note: Annotated[Annotated[str, Meta(max_length=1000)], Meta(description="Why.")] = ""
    from_: Annotated[
        _Moment | None,
        Meta(description="First second in which it holds, since 1970 UTC; left out: ever since."),
    ] = msgspec.field(default=None, name="from")
    until: Annotated[
        _Moment | None,
        Meta(description="First second in which it no longer holds; left out: until it is taken out."),
    ] = None
    surfaces: Annotated[tuple[Id, ...], Meta(description="Where it holds; left out: everywhere.")] = ()
    users: Annotated[
        RuleUsersMessage | None,
        Meta(description="For whom it holds, by traits and audiences; left out: for everybody."),
    ] = None
    arms: Annotated[
        _Arms, Meta(description="It holds for answers in one of these arms alone; left out: for all.")
    ] = ()
    except_arms: Annotated[_Arms, Meta(description="It does not hold for answers in these arms.")] = ()
    pin: Annotated[
        tuple[PinMessage, ...], Meta(max_length=MAX_ITEMS, description="Items that stand at places.")
    ] = ()
    block: Annotated[TargetMessage | None, Meta(description="Items that are in no answer.")] = None
    boost: Annotated[BoostMessage | None, Meta(description="Items that stand higher or lower.")] = None

    @classmethod
    def of(cls, rule: Rule) -> "RuleMessage":
        """Returns the message that tells a rule."""
        return msgspec.convert(plain_rule(rule), cls)


class RulesRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The whole set: what is not in it does not hold any more."""

    rules: Annotated[tuple[RuleMessage, ...], Meta(max_length=MAX_RULES, description="All rules.")]


class DryRunRequest(RulesRequest, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A set that is tried and not put."""

    sample: Annotated[
        int, Meta(ge=1, le=MAX_SAMPLE, description="Decisions of the log that are asked again.")
    ] = DEFAULT_SAMPLE
    timestamp: Annotated[
        _Moment | None,
        Meta(description="When they are asked, which decides the rules that hold; left out: now."),
    ] = None


class RulesAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The rules, and the version by which a change names what it replaces."""

    version: Annotated[int, Meta(description="One more for each set that was put; 0 before the first.")]
    rules: Annotated[
        tuple[RuleMessage, ...], Meta(description="All of them, also those that do not hold now.")
    ]
    changed: Annotated[int, Meta(description="When it was put, seconds since 1970 UTC; 0 before the first.")]
    changed_by: Annotated[str, Meta(description="Name of the key that put it.")]

    @classmethod
    def of(cls, rules: RuleSet) -> "RulesAnswer":
        """Returns the message that tells a set."""
        return cls(
            version=rules.version,
            rules=tuple([RuleMessage.of(rule) for rule in rules.rules]),
            changed=rules.time_ms // 1000,
            changed_by=rules.changed_by,
        )


class RulesChangedAnswer(ErrorAnswer, kw_only=True, frozen=True):
    """The refusal of a set that was to replace another version, with the set that holds.

    Attributes:
        error: Why.
        current: The set that holds; make the change anew upon it.
    """

    current: RulesAnswer


class RuleChangeAnswer(RulesAnswer, kw_only=True, frozen=True):
    """One change of the rules: the set that held from then on."""

    added: Annotated[tuple[str, ...], Meta(description="Ids of rules that were not there before.")]
    edited: Annotated[tuple[str, ...], Meta(description="Ids of rules that say something else than before.")]
    removed: Annotated[tuple[str, ...], Meta(description="Ids of rules that were there before.")]

    @classmethod
    def of_change(cls, change: RuleChange) -> "RuleChangeAnswer":
        """Returns the message that tells a change."""
        held = RulesAnswer.of(change.rule_set)
        return cls(
            version=held.version,
            rules=held.rules,
            changed=held.changed,
            changed_by=held.changed_by,
            added=tuple(change.changes.get("added", ())),
            edited=tuple(change.changes.get("edited", ())),
            removed=tuple(change.changes.get("removed", ())),
        )


class RuleHistoryAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """Who changed the rules when, the latest first. Nothing that the service takes can change it."""

    changes: Annotated[tuple[RuleChangeAnswer, ...], Meta(description="The latest first.")]


class ItemShiftAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """An item, and in how many of the answers it stands."""

    item_id: Annotated[str, Meta(description="The item.")]
    before: Annotated[int, Meta(description="Answers that hold it with the rules that hold.")]
    after: Annotated[int, Meta(description="Answers that hold it with the rules that are tried.")]

    @classmethod
    def of(cls, shift: ItemShift) -> "ItemShiftAnswer":
        """Returns the message that tells a shift."""
        return cls(item_id=shift.item_id, before=shift.before, after=shift.after)


class ClicksAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """Clicks that are to be expected of the sample: by place and item, from the clicks of the same log."""

    before: Annotated[float, Meta(description="With the rules that hold.")]
    after: Annotated[float, Meta(description="With the rules that are tried.")]
    clicks: Annotated[int, Meta(description="Clicks in the log that the prediction rests on.")]


class DryRunAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The difference that a set would make to decisions of the log, asked again with and without it."""

    version: Annotated[int, Meta(description="Version of the rules that hold, with which it is compared.")]
    asked: Annotated[int, Meta(description="Decisions that were asked again.")]
    left_out: Annotated[
        int,
        Meta(
            description="Decisions that could not be: of similar items, by words, of surfaces that are gone, "
            "or filtered by what the release of now does not have."
        ),
    ]
    changed: Annotated[int, Meta(description="Answers that differ in an item or in a place.")]
    gaining: Annotated[tuple[ItemShiftAnswer, ...], Meta(description="Items in more answers, most first.")]
    losing: Annotated[tuple[ItemShiftAnswer, ...], Meta(description="Items in fewer answers, most first.")]
    applied: Annotated[
        dict[str, int], Meta(description="By rule that is tried: answers in which it is named.")
    ]
    users_untold: Annotated[
        int,
        Meta(
            description="Decisions asked without the rules for users: the run of customers knows their users "
            "under pseudonyms that are not those of the log."
        ),
    ] = 0
    requests_unknown: Annotated[
        int,
        Meta(
            description="Decisions whose record holds no request, as those of earlier versions of the "
            "service: asked by what their surface says now, without filters and exclusions of their own."
        ),
    ] = 0
    predicted_clicks: Annotated[
        ClicksAnswer | None, Meta(description="Null where the log holds no click to predict from.")
    ] = None

    @classmethod
    def of(cls, trial: Trial, version: int) -> "DryRunAnswer":
        """Returns the message that tells a trial."""
        clicks = trial.clicks
        return cls(
            version=version,
            asked=trial.n_asked,
            left_out=trial.n_left_out,
            changed=trial.n_changed,
            gaining=tuple(map(ItemShiftAnswer.of, trial.gaining)),
            losing=tuple(map(ItemShiftAnswer.of, trial.losing)),
            applied=dict(trial.applied),
            users_untold=trial.n_untold,
            requests_unknown=trial.n_unrecorded,
            predicted_clicks=None
            if clicks is None
            else ClicksAnswer(before=clicks.before, after=clicks.after, clicks=clicks.n_clicks),
        )


def to_rules(message: RulesRequest, author: str) -> list[Rule]:
    """Returns the rules of a message, in the library's words.

    Args:
        message: What came.
        author: Of the rules that name none.

    Raises:
        RuleError: If a filter or a condition is none.
    """
    return [_to_rule(one, f"rules[{number}]", author) for number, one in enumerate(message.rules)]


def _to_rule(message: RuleMessage, place: str, author: str) -> Rule:
    """Returns one rule in the library's words."""
    block, boost = message.block, message.boost
    return Rule(
        rule_id=message.id,
        author=message.author or author,
        note=message.note,
        from_time=message.from_,
        until=message.until,
        surfaces=message.surfaces,
        users=None if message.users is None else message.users.targeting(f"{place}.users"),
        arms=ArmCondition(_arms(message.arms), _arms(message.except_arms)),
        pins=tuple([Pin(pin.item_id, pin.place) for pin in message.pin]),
        block=None if block is None else block.target(f"{place}.block"),
        boost=None if boost is None else Boost(weight=boost.weight, target=boost.target(f"{place}.boost")),
    )


def _arms(said: Sequence[RuleArmMessage]) -> tuple[RuleArm, ...]:
    """Returns arms in the library's words."""
    return tuple([RuleArm(one.experiment, one.arm) for one in said])


def _conditions(condition: Filter) -> dict[str, object]:
    """Returns the conditions of a filter that are given."""
    return {name: value for name, value in msgspec.structs.asdict(condition).items() if value is not None}


def changes_of(changes: Sequence[RuleChange]) -> RuleHistoryAnswer:
    """Returns the message that tells changes."""
    return RuleHistoryAnswer(changes=tuple([RuleChangeAnswer.of_change(one) for one in changes]))
