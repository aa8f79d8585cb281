"""The whole of it as one function: tables become traits, traits become audiences, with what changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import polars as pl

from marquee.bundle.traits.run import MemberChange
from marquee.marketing.audiences.changes import find_changes
from marquee.marketing.audiences.lookalike import LIKENESS, likeness
from marquee.marketing.audiences.members import GROUP, Audience, choose_members, with_gaps
from marquee.marketing.conditions import evaluate, names_trait, read_expression
from marquee.marketing.config import AudienceConfig, CustomersConfig
from marquee.marketing.reading.customers import SEGMENT, USER_ID, Customers, read_customers
from marquee.marketing.registry import TRAIT_TYPES
from marquee.marketing.traits import TraitContext, TraitResult, read_trait_config, with_traits
from marquee.marketing.versions import version_of

TENTH = 0.1


@dataclass(frozen=True)
class Previous:
    """The last run, as far as this one needs it.

    Attributes:
        run: Its name; empty if there is none.
        members: Audience → member → group.
        traits: All traits of then, one row per customer; None if there are none.
    """

    run: str = ""
    members: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    traits: pl.DataFrame | None = None


@dataclass(frozen=True)
class CustomersResult:
    """All that came of a run.

    Attributes:
        customers: The tables as read.
        traits: In the order of the config.
        audiences: In the order of the config.
        changes: Audience → what changed since the last run.
        previous: The last run.
        version: Of tables, config and seed.
        converted: Audience with a follow-up → those for whom its `stop` holds.
    """

    customers: Customers
    traits: tuple[TraitResult, ...]
    audiences: tuple[Audience, ...]
    changes: Mapping[str, list[MemberChange]]
    previous: Previous
    version: str
    converted: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def rows(self) -> pl.DataFrame:
        """`user_id` and every trait."""
        return with_traits(self.customers.rows.select(USER_ID), self.traits)

    @property
    def refusals(self) -> tuple[str, ...]:
        """Everything that was refused, in words."""
        traits = [f"trait {trait.name}: {trait.refused}" for trait in self.traits if trait.refused]
        return (*traits, *[audience.refused for audience in self.audiences if audience.refused])


def run_customers(config: CustomersConfig, previous: Previous, key: bytes = b"") -> CustomersResult:
    """Returns traits and audiences of the customers that a config declares.

    Args:
        config: The declaration.
        previous: The last run.
        key: That ids are hashed with; empty for plain ids.

    Raises:
        DataError: If a table cannot be read as declared, or an outcome cannot teach.
        ConfigError: If the declaration names something that is not there.
    """
    # Before a large table is read: a misspelt key should not cost the wait.
    declared = {name: read_trait_config(name, given, TRAIT_TYPES) for name, given in config.traits.items()}
    customers = read_customers(config, key)
    transactions = [] if customers.transactions is None else [customers.transactions.rows]
    version = version_of(customers.rows, *transactions, config.seed, customers.as_of)
    computed: dict[str, TraitResult] = {}
    for name, (kind, own) in declared.items():
        earlier = _earlier(name, previous)
        context = TraitContext(customers, version, config.seed, dict(computed), earlier)
        computed[name] = kind.compute(name, own, context)
    audiences = _audiences(config, customers, computed)
    changes = {audience.name: _changes(audience, customers, previous) for audience in audiences}
    converted = _converted(config, customers, computed)
    return CustomersResult(
        customers, tuple(computed.values()), audiences, changes, previous, version, converted
    )


def _audiences(
    config: CustomersConfig, customers: Customers, computed: Mapping[str, TraitResult]
) -> tuple[Audience, ...]:
    """Returns the audiences of a config."""
    rows = with_traits(customers.rows, computed.values())
    refused = {name: trait.refused for name, trait in computed.items() if trait.refused}
    found = []
    for name, own in config.audiences.items():
        if own.seeds:
            audience, could = _lookalike(name, own, customers, rows, config.seed, refused)
        else:
            could = _who_agreed(name, own, rows, customers, computed)
            audience = choose_members(name, own, could, config.seed, refused)
        found.append(with_gaps(audience, own, could, config.protected))
    return tuple(found)


def _who_agreed(
    name: str,
    config: AudienceConfig,
    rows: pl.DataFrame,
    customers: Customers,
    computed: Mapping[str, TraitResult],
) -> pl.DataFrame:
    """Returns the customers who may be members: those who agreed to be grouped only where groups decide."""
    if not (customers.consent == SEGMENT).any() or any(
        trait.refused and names_trait(f"{config.where} {config.order}", trait.name, rows.columns)
        for trait in computed.values()
    ):
        return rows.filter(customers.may_be_scored)
    key = f"customers.audiences.{name}"
    used = {*(evaluate(config.where, rows, f"{key}.where").columns if config.where else ())}
    if config.order:
        used |= {*read_expression(config.order, rows, f"{key}.order").meta.root_names()}
    groups = {trait.name for trait in computed.values() if trait.type == "segment"}
    return rows if used and used <= groups else rows.filter(customers.may_be_scored)


def _lookalike(
    name: str,
    config: AudienceConfig,
    customers: Customers,
    rows: pl.DataFrame,
    seed: int,
    refused: dict[str, str],
) -> tuple[Audience, pl.DataFrame]:
    """Returns the audience of those who are most like a list of seeds, and who could be in it.

    Without a bound it is a tenth of all.
    """
    alike, judged = likeness(name, config, customers, seed)
    own = rows.join(alike, on=USER_ID, how="left", maintain_order="left")
    top = config.top or (0 if config.budget else max(round(TENTH * rows.height), 1))
    ordered = replace(config, seeds="", order=LIKENESS, top=top)
    audience = replace(choose_members(name, ordered, own, seed, refused), lookalike=judged)
    # The seeds themselves are known already, and are no members.
    return audience, own.filter(pl.col(LIKENESS).is_not_null())


def _changes(audience: Audience, customers: Customers, previous: Previous) -> list[MemberChange]:
    """Returns the changes of an audience since the last run."""
    before = previous.members.get(audience.name, {})
    if audience.refused:
        # A list that is not written changes nothing at whoever has the last one, but for erased people.
        now = {one: group for one, group in before.items() if one not in customers.erased}
    else:
        now = _members(audience)
    return find_changes(audience.name, before, now, customers.erased)


def _converted(
    config: CustomersConfig, customers: Customers, computed: Mapping[str, TraitResult]
) -> dict[str, list[str]]:
    """Returns for each follow-up those who are to be left alone."""
    rows = with_traits(customers.rows, computed.values())
    found = {}
    for name, own in config.audiences.items():
        if own.follow_up is None or not own.follow_up.stop:
            continue
        holds = evaluate(own.follow_up.stop, rows, f"customers.audiences.{name}.follow_up.stop").holds
        found[name] = rows.filter(holds.fill_null(False))[USER_ID].to_list()
    return found


def _members(audience: Audience) -> dict[str, str]:
    """Returns member → group."""
    return dict(audience.members.select(USER_ID, GROUP).iter_rows())


def _earlier(name: str, previous: Previous) -> dict[str, pl.DataFrame]:
    """Returns the values of the same trait in the last run, if it had one."""
    if previous.traits is None or name not in previous.traits.columns:
        return {}
    own = [column for column in previous.traits.columns if column == name or column.startswith(f"{name}_")]
    return {name: previous.traits.select(USER_ID, *own)}
