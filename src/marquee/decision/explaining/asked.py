"""A request as the record of its decision keeps it, and back: all that the same answer follows from.

```
of the decision itself   user, surface, policy and its parameters, tier, version of the rules
asked                    time, k, history as it was given, attributes, kind, filters, re-ranking, exclusions
```

Of the attributes only those are kept that the release reads: no other can have changed the answer, and what
an app sends along is not ours to keep. What is at its default is left out.
"""

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

import msgspec

from marquee.core.catalog import ItemKind
from marquee.core.filters import Clause, Filters
from marquee.decision.experiments.assignment import HELD_OUT, HOLDOUT
from marquee.decision.policies.config import Exploration, PolicyName
from marquee.decision.requests import HistoryEvent, Request
from marquee.decision.reranking import NO_RERANKING, Reranking
from marquee.errors import DataError, MarqueeError
from marquee.store.log.event_log import Decision
from marquee.store.people.consent import Tier

KNOWN_USER = "known_user"
"""Whether the release knew the user: one that is known by another name now cannot be looked up again."""

BY_WORDS = "by_words"
"""Whether the request held words: they are not on record, and the decision cannot be asked again."""

_ROW = "row"
_RULES_FOR_USERS = "rules_for_users"

_RERANKING = tuple((one.name, getattr(NO_RERANKING, one.name)) for one in fields(Reranking))
_CONDITIONS = tuple(one.name for one in fields(Clause))


class AskedRow(NamedTuple):
    """The part of a row of a page that a request of its own does not say.

    Attributes:
        kind: One of `RowKind`.
        item_id: As in `Row`.
        items: As in `Row`.
        shown: Items of the rows above, before ads took the place of some.
        surface: Of the page.
    """

    kind: str
    item_id: str | None = None
    items: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    surface: str | None = None


def asked_of(
    request: Request,
    columns: Collection[str],
    *,
    is_known_user: bool,
    row: AskedRow | None = None,
    rules_for_users: Collection[str] = (),
) -> Mapping[str, Any]:
    """Returns a request as its record keeps it.

    Args:
        request: As it was answered, with the profile of its user; of a row with the history of its page.
        columns: What requests may state to any effect (see `Bundle.columns`).
        is_known_user: Whether the release knew the user.
        row: Of a page; None for a request of its own.
        rules_for_users: Ids of the rules that held for its user and not for everybody: traits change.
    """
    asked: dict[str, Any] = {"timestamp": request.timestamp, "k": request.k}
    if request.history:
        asked["history"] = request.history
    for name, said in (("features", request.features), ("context", request.context)):
        if said and (read := {column: said[column] for column in said if column in columns}):
            asked[name] = read
    if request.query is not None:
        # Words may tell more of a person than all else: that there were some is all that is kept.
        asked[BY_WORDS] = True
    if request.like_item is not None:
        asked["like_item"] = request.like_item
    if is_known_user:
        asked[KNOWN_USER] = True
    if row is not None:
        asked[_ROW] = row
    if rules_for_users:
        asked[_RULES_FOR_USERS] = tuple(rules_for_users)
    _add_wanted(asked, request)
    return asked


def row_of(decision: Decision) -> AskedRow | None:
    """Returns the row of a page that a decision was, None for a request of its own."""
    said = decision.asked.get(_ROW)
    return None if said is None else msgspec.convert(said, AskedRow)


def is_held_out(decision: Decision) -> bool:
    """Returns whether a decision is on record under its user, of whom nothing was used to make it."""
    return any((name, arm) == (HOLDOUT, HELD_OUT) for name, _, arm in decision.experiments)


def rules_for_users_of(decision: Decision) -> tuple[str, ...]:
    """Returns the ids of the rules that held for the user of a decision and not for everybody."""
    return tuple(decision.asked.get(_RULES_FOR_USERS, ()))


def _add_wanted(asked: dict[str, Any], request: Request) -> None:
    """Adds which items a request wants and in which order, as far as it is not at its default."""
    if request.kind is not None:
        asked["kind"] = request.kind.value
    if request.filters:
        asked["filters"] = [_plain_clause(clause) for clause in request.filters.clauses]
    if request.reranking is not NO_RERANKING:
        asked["reranking"] = _plain_reranking(request.reranking)
    if request.exclude:
        asked["exclude"] = tuple(request.exclude)
    if not request.exclude_seen:
        asked["exclude_seen"] = False


def request_of(decision: Decision) -> Request:
    """Returns the request of a decision, without the rules that held.

    Raises:
        DataError: If the record does not hold it.
    """
    asked = dict(decision.asked)
    if "timestamp" not in asked:
        raise DataError(
            f"decision {decision.decision_id} must hold its request, got a record without; it was made by an "
            "earlier version of the service"
        )
    if asked.get(BY_WORDS):
        raise DataError(
            f"decision {decision.decision_id} must hold its request, got one that was asked by words, which "
            "are not kept; read what it answered"
        )
    for name in (KNOWN_USER, _ROW, _RULES_FOR_USERS):
        asked.pop(name, None)
    try:
        return Request(
            **{
                **asked,
                "history": tuple(
                    [one if isinstance(one, str) else HistoryEvent(*one) for one in asked.get("history", ())]
                ),
                "kind": ItemKind(asked["kind"]) if "kind" in asked else None,
                "filters": Filters(tuple([_clause(one) for one in asked.get("filters", ())])),
                # The object itself where nothing was said: rules look less far there (see `constraints`).
                "reranking": msgspec.convert(asked["reranking"], Reranking)
                if "reranking" in asked
                else NO_RERANKING,
                "exclude": tuple(asked.get("exclude", ())),
            },
            user_id=None if is_held_out(decision) else decision.user_id,
            surface=decision.surface,
            exploration=_exploration_of(decision),
            decision_id=decision.decision_id,
            tier=Tier(decision.tier) if decision.tier else Tier.personal,
        )
    except (MarqueeError, TypeError, ValueError) as error:
        raise DataError(
            f"decision {decision.decision_id} must hold a request that this version can read, got {error}; "
            "another one made it"
        ) from error


def _exploration_of(decision: Decision) -> Exploration:
    """Returns the policy of a decision; parameters are kept where it could draw, and nowhere else."""
    if not decision.parameters:
        return Exploration()
    return Exploration(policy=PolicyName(decision.policy), **decision.parameters)


def _plain_clause(clause: Clause) -> dict[str, object]:
    """Returns a clause by its conditions, those that are not given left out."""
    values = ((name, getattr(clause, name)) for name in _CONDITIONS)
    return {name: value for name, value in values if value not in ((), None)}


def _clause(plain: Mapping[str, Any]) -> Clause:
    """Returns the clause that `_plain_clause` wrote."""
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()
    }
    return Clause(**given)


def _plain_reranking(config: Reranking) -> dict[str, object]:
    """Returns the settings of a re-ranking that are not at their default."""
    return {name: value for name, default in _RERANKING if (value := getattr(config, name)) != default}
