"""The whole of it as one function: tables become traits, traits become audiences, with what changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from marquee.marketing.audiences.changes import Change, find_changes
from marquee.marketing.audiences.members import GROUP, Audience, choose_members
from marquee.marketing.config import CustomersConfig
from marquee.marketing.reading.customers import USER_ID, Customers, read_customers
from marquee.marketing.registry import TRAIT_TYPES
from marquee.marketing.traits import TraitContext, TraitResult, read_trait_config, with_traits
from marquee.marketing.versions import version_of


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
    """

    customers: Customers
    traits: tuple[TraitResult, ...]
    audiences: tuple[Audience, ...]
    changes: Mapping[str, list[Change]]
    previous: Previous
    version: str

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
    changes = {
        audience.name: find_changes(
            audience.name,
            previous.members.get(audience.name, {}),
            _members(audience),
            customers.erased,
        )
        for audience in audiences
        # A list that is not written changes nothing at whoever has the last one.
        if not audience.refused
    }
    return CustomersResult(customers, tuple(computed.values()), audiences, changes, previous, version)


def _audiences(
    config: CustomersConfig, customers: Customers, computed: Mapping[str, TraitResult]
) -> tuple[Audience, ...]:
    """Returns the audiences of a config."""
    rows = with_traits(customers.rows, computed.values())
    refused = {name: trait.refused for name, trait in computed.items() if trait.refused}
    return tuple(
        choose_members(name, own, rows, config.seed, refused) for name, own in config.audiences.items()
    )


def _members(audience: Audience) -> dict[str, str]:
    """Returns member → group."""
    return dict(audience.members.select(USER_ID, GROUP).iter_rows())


def _earlier(name: str, previous: Previous) -> dict[str, pl.DataFrame]:
    """Returns the values of the same trait in the last run, if it had one."""
    if previous.traits is None or name not in previous.traits.columns:
        return {}
    own = [column for column in previous.traits.columns if column == name or column.startswith(f"{name}_")]
    return {name: previous.traits.select(USER_ID, *own)}
