"""SQL conditions over customers: which rows, of which columns, with what is wrong named.

The same reader of expressions as for the tables of a data set: no clock, no chance, no totals over rows.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from marquee.data.reading.expressions import parse
from marquee.data.reading.sources import Source
from marquee.errors import ConfigError, MissingColumnError


@dataclass(frozen=True)
class Condition:
    """A condition on rows.

    Attributes:
        holds: Per row; null where it cannot be told.
        columns: Those that it reads.
    """

    holds: pl.Series
    columns: tuple[str, ...]


def evaluate(text: str, rows: pl.DataFrame, key: str) -> Condition:
    """Returns which rows a condition holds for.

    Args:
        text: SQL over the columns.
        rows: Customers with their traits.
        key: Where it stands in the config, for messages.

    Raises:
        MissingColumnError: If it names a column that is not there; the message names the nearest.
        ConfigError: If it is no condition.
    """
    expression = read_expression(text, rows, key)
    try:
        holds = rows.select(expression.alias("holds")).to_series()
    except pl.exceptions.PolarsError as error:
        types = {name: str(rows[name].dtype) for name in expression.meta.root_names()}
        raise ConfigError(
            f"{key} cannot be computed, got {text!r} over {types}: {str(error).splitlines()[0]}; a text "
            "stands in single quotes, a number in none"
        ) from error
    if holds.dtype != pl.Boolean:
        raise ConfigError(
            f"{key} must be true or false, got {text!r}, which is {holds.dtype}; write a comparison such as "
            "leaves >= 0.5"
        )
    return Condition(holds, tuple(dict.fromkeys(expression.meta.root_names())))


def read_expression(text: str, rows: pl.DataFrame, key: str) -> pl.Expr:
    """Returns the expression that a text means.

    Raises:
        MissingColumnError: If it names a column that is not there.
        ConfigError: If it is no SQL.
    """
    seen = Source(Path("customers"), "", "", rows.lazy(), dict(rows.schema), {}, is_text=False)
    try:
        return parse(text, seen, key)
    except MissingColumnError as error:
        # Customers are no file: the words for one would send people to look for it.
        raise MissingColumnError(
            str(error).replace("customers has no column", "there is no column or trait")
        ) from error


def names_trait(text: str, trait: str, columns: Collection[str]) -> bool:
    """Returns whether an expression names a trait, or a column that would have been the trait's.

    Args:
        text: SQL.
        trait: Its name.
        columns: Those that there are.

    Example:
        >>> names_trait("leaves_value > 9", "leaves", []), names_trait("fee > 9", "fe", ["fee"])
        (True, False)
    """
    words = set(re.findall(r"\w+", text))
    return trait in words or any(word.startswith(f"{trait}_") for word in words - set(columns))


def simple_equality(text: str) -> bool:
    """Returns whether a condition says that one column has one value, and nothing else.

    Example:
        >>> simple_equality("Churn = 'Yes'"), simple_equality("a = 1 AND b = 2")
        (True, False)
    """
    words = text.replace('"', "").upper()
    return words.count("=") == 1 and not any(
        mark in words for mark in (" AND ", " OR ", "NOT", "<", ">", "!", "CASE", "(", " IS ")
    )
