"""Messages: of the group `rules`; written by `make lock`."""

from collections.abc import Mapping, Sequence

import msgspec

from marquee.client.messages.shared import ErrorBody, Filter


class RuleUsersMessage(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The users that a rule holds for, by traits and audiences; both must hold if both are given.

    Attributes:
        where: Condition on traits, as `leaves >= 0.5 AND segment = 'loyal'`. Left out: "".
        audiences: Contacts of one of these; whoever is held back is no contact.
    """

    where: str | None = None
    audiences: Sequence[str] = ()


class RuleArmMessage(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """An arm of an experiment of the service.

    Attributes:
        experiment: The experiment; also `holdout` and `canary`.
        arm: The arm.
    """

    experiment: str
    arm: str


class PinMessage(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """An item and the place where it stands.

    Attributes:
        item_id: The item; live items too.
        place: From 1.
    """

    item_id: str
    place: int


class TargetMessage(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The items that a rule is about: those that are named, or those that pass filters.

    Attributes:
        items: Items; no filters beside them.
        filters: What the items' attributes must be, as in a request.
    """

    items: Sequence[str] = ()
    filters: Mapping[str, Filter] = {}


class BoostMessage(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The items whose relevance is raised or lowered, and by how much.

    Attributes:
        items: Items; no filters beside them.
        filters: What the items' attributes must be, as in a request.
        weight: Added to relevance, which runs from 0 to 1 among the items considered.
    """

    items: Sequence[str] = ()
    filters: Mapping[str, Filter] = {}
    weight: float


class RuleMessage(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One rule: who decided what, why, where and for how long; one of `pin`, `block` and `boost`.

    Attributes:
        id: Its name within the set; answers name it.
        author: Who decided; the key's name if left out. Left out: "".
        note: Why. Left out: "".
        from_: First second in which it holds, since 1970 UTC; left out: ever since.
        until: First second in which it no longer holds; left out: until it is taken out.
        surfaces: Where it holds; left out: everywhere.
        users: For whom it holds, by traits and audiences; left out: for everybody.
        arms: It holds for answers in one of these arms alone; left out: for all.
        except_arms: It does not hold for answers in these arms.
        pin: Items that stand at places.
        block: Items that are in no answer.
        boost: Items that stand higher or lower.
    """

    id: str
    author: str | None = None
    note: str | None = None
    from_: int | None = msgspec.field(default=None, name="from")
    until: int | None = None
    surfaces: Sequence[str] = ()
    users: RuleUsersMessage | None = None
    arms: Sequence[RuleArmMessage] = ()
    except_arms: Sequence[RuleArmMessage] = ()
    pin: Sequence[PinMessage] = ()
    block: TargetMessage | None = None
    boost: BoostMessage | None = None


class RulesAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The rules, and the version by which a change names what it replaces.

    Attributes:
        version: One more for each set that was put; 0 before the first.
        rules: All of them, also those that do not hold now.
        changed: When it was put, seconds since 1970 UTC; 0 before the first.
        changed_by: Name of the key that put it.
    """

    version: int
    rules: tuple[RuleMessage, ...]
    changed: int
    changed_by: str


class RulesRequest(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The whole set: what is not in it does not hold any more.

    Attributes:
        rules: All rules.
    """

    rules: Sequence[RuleMessage]


class RulesChangedAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The refusal of a set that was to replace another version, with the set that holds.

    Attributes:
        error: Why.
        current: The set that holds; make the change anew upon it.
    """

    error: ErrorBody
    current: RulesAnswer


class RuleChangeAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """One change of the rules: the set that held from then on.

    Attributes:
        version: One more for each set that was put; 0 before the first.
        rules: All of them, also those that do not hold now.
        changed: When it was put, seconds since 1970 UTC; 0 before the first.
        changed_by: Name of the key that put it.
        added: Ids of rules that were not there before.
        edited: Ids of rules that say something else than before.
        removed: Ids of rules that were there before.
    """

    version: int
    rules: tuple[RuleMessage, ...]
    changed: int
    changed_by: str
    added: tuple[str, ...]
    edited: tuple[str, ...]
    removed: tuple[str, ...]


class RuleHistoryAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """Who changed the rules when, the latest first. Nothing that the service takes can change it.

    Attributes:
        changes: The latest first.
    """

    changes: tuple[RuleChangeAnswer, ...]


class DryRunRequest(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A set that is tried and not put.

    Attributes:
        rules: All rules.
        sample: Decisions of the log that are asked again. Left out: 200.
        timestamp: When they are asked, which decides the rules that hold; left out: now.
    """

    rules: Sequence[RuleMessage]
    sample: int | None = None
    timestamp: int | None = None


class ItemShiftAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """An item, and in how many of the answers it stands.

    Attributes:
        item_id: The item.
        before: Answers that hold it with the rules that hold.
        after: Answers that hold it with the rules that are tried.
    """

    item_id: str
    before: int
    after: int


class ClicksAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """Clicks that are to be expected of the sample: by place and item, from the clicks of the same log.

    Attributes:
        before: With the rules that hold.
        after: With the rules that are tried.
        clicks: Clicks in the log that the prediction rests on.
    """

    before: float
    after: float
    clicks: int


class DryRunAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The difference that a set would make to decisions of the log, asked again with and without it.

    Attributes:
        version: Version of the rules that hold, with which it is compared.
        asked: Decisions that were asked again.
        left_out: Decisions that could not be: of similar items, by words, of surfaces that are gone, or
            filtered by what the release of now does not have.
        changed: Answers that differ in an item or in a place.
        gaining: Items in more answers, most first.
        losing: Items in fewer answers, most first.
        applied: By rule that is tried: answers in which it is named.
        users_untold: Decisions asked without the rules for users: the run of customers knows their users
            under pseudonyms that are not those of the log.
        requests_unknown: Decisions whose record holds no request, as those of earlier versions of the
            service: asked by what their surface says now, without filters and exclusions of their own.
        predicted_clicks: Null where the log holds no click to predict from.
    """

    version: int
    asked: int
    left_out: int
    changed: int
    gaining: tuple[ItemShiftAnswer, ...]
    losing: tuple[ItemShiftAnswer, ...]
    applied: dict[str, int]
    users_untold: int = 0
    requests_unknown: int = 0
    predicted_clicks: ClicksAnswer | None = None
