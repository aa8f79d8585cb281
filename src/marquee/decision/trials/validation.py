"""Which rules fit the releases that answer: surfaces, attributes and items that there are."""

from collections.abc import Collection, Mapping, Sequence

from marquee.core.ids import PADDING_INDEX
from marquee.core.targeting.targeting import NO_CUSTOMERS, CustomerFacts
from marquee.decision.recommender import Recommender
from marquee.errors import DataError, FilterError, RuleError
from marquee.store.rules.rule import Rule
from marquee.store.rules.rule_arms import RuleArm

_SHOWN = 20
"""Surfaces that a message names."""


def validate_on(
    rules: Sequence[Rule],
    answering: Mapping[str, Collection[Recommender]],
    facts: CustomerFacts = NO_CUSTOMERS,
    experiments: Mapping[str, Collection[str]] | None = None,
) -> None:
    """Raises RuleError that names the first field which no release can follow.

    Args:
        rules: A whole set.
        answering: By surface who answers there, candidates included.
        facts: Of the run of customers that is served.
        experiments: Arms of each experiment that is declared; None for none.

    Raises:
        RuleError: If a rule names a surface that there is not, an attribute that a surface where it holds
            does not have, an item that nobody there knows, a trait or an audience that the run has not, or an
            arm of no experiment.
    """
    for number, rule in enumerate(rules):
        place = f"rules[{number}]"
        for position, surface in enumerate(rule.surfaces):
            if surface not in answering:
                field = f"{place}.surfaces[{position}]"
                raise RuleError(
                    f"{field} must be one of {list(answering)[:_SHOWN]}, got {surface!r}; correct it", field
                )
        _validate_users(rule, f"{place}.users", facts)
        _validate_arms(rule.arms.among, f"{place}.arms", experiments or {})
        _validate_arms(rule.arms.without, f"{place}.except_arms", experiments or {})
        surfaces = rule.surfaces or tuple(answering)
        _validate_filters(rule, f"{place}.{rule.kind}", surfaces, answering)
        for field, item_id in _items(rule, place):
            if not any(_knows(one, item_id) for surface in surfaces for one in answering[surface]):
                raise RuleError(
                    f"{field} must be an item of a release that answers on {list(surfaces)[:_SHOWN]}, or a "
                    f"live one, got {item_id!r}; correct it, or post the item first",
                    field,
                )


def _validate_users(rule: Rule, place: str, facts: CustomerFacts) -> None:
    """Raises RuleError if the run of customers cannot tell for whom a rule holds."""
    if rule.users is None:
        return
    if not facts.run:
        raise RuleError(
            f"{place} needs a run of customers, got {rule.users.where or rule.users.audiences!r} and a "
            "service that has none; start it with MARQUEE_TRAITS",
            place,
        )
    try:
        rule.users.validate(facts)
    except DataError as error:
        raise RuleError(f"{place}: {error}", place) from None


def _validate_arms(arms: Sequence[RuleArm], place: str, experiments: Mapping[str, Collection[str]]) -> None:
    """Raises RuleError if an arm is none: a rule for nobody would look like an arm without effect."""
    for position, one in enumerate(arms):
        known = experiments.get(one.experiment)
        if known is None:
            field = f"{place}[{position}].experiment"
            raise RuleError(
                f"{field} must be one of {list(experiments)[:_SHOWN]}, got {one.experiment!r}; declare it in "
                "MARQUEE_EXPERIMENTS, or correct it",
                field,
            )
        if one.arm not in known:
            field = f"{place}[{position}].arm"
            raise RuleError(f"{field} must be one of {list(known)}, got {one.arm!r}; correct it", field)


def _validate_filters(
    rule: Rule, place: str, surfaces: Sequence[str], answering: Mapping[str, Collection[Recommender]]
) -> None:
    """Raises RuleError if a surface where a rule holds cannot apply its filters."""
    if rule.target is None or not rule.target.filters:
        return
    for surface in surfaces:
        for recommender in answering[surface]:
            try:
                recommender.bundle.catalog.validate_filters(rule.target.filters)
            except FilterError as error:
                raise RuleError(
                    f"{place}.{error} (release {recommender.version} of surface {surface!r})",
                    f"{place}.{error.field}",
                ) from error


def _items(rule: Rule, place: str) -> list[tuple[str, str]]:
    """Returns the items that a rule names, each with its field."""
    pinned = [(f"{place}.pin[{n}].item_id", pin.item_id) for n, pin in enumerate(rule.pins)]
    named = rule.target.items if rule.target is not None else ()
    return pinned + [(f"{place}.{rule.kind}.items[{n}]", item_id) for n, item_id in enumerate(named)]


def _knows(recommender: Recommender, item_id: str) -> bool:
    """Tells whether a release or a live item has an id."""
    return recommender.item_pool.table.index(item_id) != PADDING_INDEX
