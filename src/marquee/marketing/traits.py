"""The face of every trait: its declaration in, values of customers and numbers for the report out.

A type of trait is a config and a function; `registry` names them all. A trait may read the customers and the
traits before it, in the order of the config.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Generic, TypeVar  # a declaration is plain YAML

import msgspec
import polars as pl

from marquee.bundle.traits.forms.files import FormFile
from marquee.bundle.traits.trait import FittedTrait
from marquee.errors import ConfigError
from marquee.marketing.reading.customers import Customers

Declared = TypeVar("Declared")


@dataclass(frozen=True)
class TraitResult:
    """A computed trait.

    Attributes:
        name: Of the trait.
        type: Word of the config.
        version: Equal data, settings and seed have equal versions.
        values: `user_id` and columns that begin with the name; the first is called by the name alone. None
            for one that says nothing of single customers. Customers who may not be scored are absent.
        judged: How good it is: a dataclass of the type's own, which the report knows how to show.
        cautions: What to know before believing it, one sentence each.
        refused: Why it must not be used; empty if it may be.
        fitted: The probability that scores the next customer; None if it is none.
        form: What scores forms where it is no probability, or why nothing can.
        files: Path in the run folder → bytes of what else the run keeps of it.
    """

    name: str
    type: str
    version: str
    values: pl.DataFrame | None
    judged: Any
    cautions: tuple[str, ...] = ()
    refused: str = ""
    fitted: FittedTrait | None = None
    form: FormFile | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class TraitContext:
    """All that a trait may read.

    Attributes:
        customers: The tables.
        version: Of data and seed, to be made a version of the trait with `version_of`.
        seed: Of draws.
        computed: The traits before this one.
        previous: Name → values of the same trait in the last run; empty for the first.
    """

    customers: Customers
    version: str
    seed: int
    computed: Mapping[str, TraitResult] = field(default_factory=dict)
    previous: Mapping[str, pl.DataFrame] = field(default_factory=dict)

    @property
    def rows(self) -> pl.DataFrame:
        """The customers with the traits so far: null where a trait says nothing of one."""
        return with_traits(self.customers.rows, self.computed.values())


@dataclass(frozen=True)
class TraitType(Generic[Declared]):
    """A type of trait.

    Attributes:
        config: Dataclass of its keys, without `type`.
        compute: Makes the trait of its name, its config and the context.
    """

    config: type[Declared]
    compute: Callable[[str, Declared, TraitContext], TraitResult]


def with_traits(rows: pl.DataFrame, traits: Iterable[TraitResult]) -> pl.DataFrame:
    """Returns rows of customers with the columns of traits.

    Args:
        rows: `user_id` and attributes.
        traits: Results; one without values, or refused, adds nothing.
    """
    for trait in traits:
        if trait.values is not None and not trait.refused:
            rows = rows.join(trait.values, on="user_id", how="left", maintain_order="left")
    return rows


def read_trait_config(
    name: str, declared: object, types: Mapping[str, TraitType[Any]]
) -> tuple[TraitType[Any], Any]:
    """Returns the type of a trait and its config.

    Args:
        name: Of the trait.
        declared: As YAML has it.
        types: Word → type.

    Raises:
        ConfigError: If the type or a key is unknown, or a value is of the wrong type.
    """
    key = f"customers.traits.{name}"
    if not isinstance(declared, dict) or declared.get("type") not in types:
        given = declared.get("type") if isinstance(declared, dict) else declared
        raise ConfigError(f"{key}.type must be one of {list(types)}, got {given!r}; correct it")
    kind = types[declared["type"]]
    rest = {option: value for option, value in declared.items() if option != "type"}
    known = [option.name for option in fields(kind.config)]
    for option in rest:
        if option not in known:
            near = get_close_matches(str(option), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it knows {known}"
            raise ConfigError(f"{key} has no key {option!r} for the type {declared['type']!r}{hint}")
    try:
        return kind, msgspec.convert(rest, kind.config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{key}: {error}; correct it") from error
