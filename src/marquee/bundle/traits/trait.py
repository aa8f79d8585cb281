"""A fitted trait as a file: what a service needs to score the next customer, as plain JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from marquee.bundle.traits.columns import Column, Values, encode, read_values
from marquee.bundle.traits.models import Model, probabilities
from marquee.core.arrays import Float64Array
from marquee.errors import BundleError, BundleVersionError
from marquee.store.files import replace_file

TRAIT_FORMAT = 1
N_REASONS = 3


class FittedTrait(msgspec.Struct, frozen=True):
    """A probability that can be computed for a new customer.

    Attributes:
        name: Of the trait.
        version: Of the fit: equal data and settings have equal versions.
        outcome: The condition whose probability it is.
        rate: Share for which it came true in the fit.
        as_of: Moment up to which it has learned, seconds since 1970; None where the table has no time.
        columns: How a customer becomes a row of the design.
        model: What is computed of that row.
        format: Of this file.
    """

    name: str
    version: str
    outcome: str
    rate: float
    as_of: float | None
    columns: list[Column]
    model: Model
    format: int = TRAIT_FORMAT

    def score(self, values: Mapping[str, Values]) -> Float64Array:
        """Returns the probability of each row, (n,).

        Args:
            values: Column → a value per row; see `columns.encode`.
        """
        return probabilities(self.model.logits(encode(self.columns, values)))

    def score_rows(self, rows: Sequence[Mapping[str, object]]) -> "Scores":
        """Returns probabilities and reasons of rows as they come over the wire.

        Raises:
            DataError: If a row lacks a column, or a number is none.
        """
        design = encode(self.columns, read_values(self.columns, rows))
        return Scores(
            probabilities(self.model.logits(design)),
            reasons(self.columns, self.model.contributions(design, self.columns)),
        )


@dataclass(frozen=True)
class Scores:
    """Probabilities with reasons.

    Attributes:
        probability: (n,).
        reasons: Of each row, the strongest first.
    """

    probability: Float64Array
    reasons: tuple[tuple[str, ...], ...]


def reasons(
    columns: Sequence[Column], contributions: Float64Array, n_reasons: int = N_REASONS
) -> tuple[tuple[str, ...], ...]:
    """Returns the columns that move each row most, with the sign of their doing: `+Contract`, `-tenure`.

    Args:
        columns: Of the trait.
        contributions: To the logit, (n, n_columns).
        n_reasons: At most so many per row; a column that moves nothing is none.
    """
    # Stable, so that equal contributions keep the order of the columns.
    order = np.argsort(-np.abs(contributions), axis=1, kind="stable")[:, :n_reasons]
    moved = np.take_along_axis(contributions, order, axis=1)
    names = [column.name for column in columns]
    return tuple(
        tuple(
            ("+" if by > 0 else "-") + names[place]
            for place, by in zip(places, moves, strict=True)
            if by != 0
        )
        for places, moves in zip(order.tolist(), moved.tolist(), strict=True)
    )


def write_trait(trait: FittedTrait, path: Path) -> None:
    """Writes a trait; a reader sees the old file or the new one."""
    replace_file(path, msgspec.json.encode(trait))


def read_trait(path: Path) -> FittedTrait:
    """Returns the trait of a file.

    Raises:
        BundleVersionError: If it was written in a format that this release does not read.
        BundleError: If it is no trait.
    """
    try:
        content = path.read_bytes()
        written = msgspec.json.decode(content, type=_Written).format
        if written != TRAIT_FORMAT:
            raise BundleVersionError(
                f"{path} has format {written}, this release reads {TRAIT_FORMAT}; run the command that wrote "
                "it again, or use its release"
            )
        return msgspec.json.decode(content, type=FittedTrait)
    except (OSError, msgspec.MsgspecError) as error:
        raise BundleError(
            f"{path} is no trait: {error}; name the file that a run of customers wrote under traits/"
        ) from error


class _Written(msgspec.Struct):
    """The one field that every format has."""

    format: int
