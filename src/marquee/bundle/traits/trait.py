"""A fitted trait as a file: what a service needs to score the next customer, as plain JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import msgspec
import numpy as np

from marquee.bundle.traits.columns import Column, Values, encode, read_values
from marquee.bundle.traits.forms.form import FormScores
from marquee.bundle.traits.models import Model, probabilities
from marquee.core.arrays import Float64Array
from marquee.errors import BundleError, BundleVersionError
from marquee.store.files import replace_file
from marquee.store.people.consent import Tier

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

    type: ClassVar[str] = "probability"
    tier: ClassVar[Tier] = Tier.personal

    @property
    def fields(self) -> list[Column]:
        """Columns that a form must hold."""
        return self.columns

    def score_forms(self, values: Mapping[str, Values]) -> FormScores:
        """Returns probabilities with the columns that move them; see `forms.form.Form`."""
        scores = self.score_values(values)
        return FormScores(scores.probability.tolist(), {}, scores.strongest)

    def warm(self) -> None:
        """Needs nothing."""

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
        return self.score_values(read_values(self.columns, rows))

    def score_values(self, values: Mapping[str, Values]) -> "Scores":
        """Returns probabilities and reasons of rows.

        Args:
            values: Column → a value per row; see `columns.encode`.
        """
        design = encode(self.columns, values)
        moved = self.model.contributions(design, self.columns)
        return Scores(
            probabilities(self.model.logits(design)),
            reasons(self.columns, moved),
            strongest(self.columns, moved),
        )


@dataclass(frozen=True)
class Scores:
    """Probabilities with reasons.

    Attributes:
        probability: (n,).
        reasons: Of each row, the strongest first.
        strongest: The same with what each column adds to the logit.
    """

    probability: Float64Array
    reasons: tuple[tuple[str, ...], ...]
    strongest: tuple[tuple[tuple[str, float], ...], ...]


def reasons(
    columns: Sequence[Column], contributions: Float64Array, n_reasons: int = N_REASONS
) -> tuple[tuple[str, ...], ...]:
    """Returns the columns that move each row most, with the sign of their doing: `+Contract`, `-tenure`.

    Args:
        columns: Of the trait.
        contributions: To the logit, (n, n_columns).
        n_reasons: At most so many per row; a column that moves nothing is none.
    """
    return tuple(signed(row) for row in strongest(columns, contributions, n_reasons))


def signed(strongest: Sequence[tuple[str, float]]) -> tuple[str, ...]:
    """Returns columns with the sign of their doing: `+Contract`, `-tenure`."""
    return tuple(("+" if by > 0 else "-") + name for name, by in strongest)


def strongest(
    columns: Sequence[Column], contributions: Float64Array, n_reasons: int = N_REASONS
) -> tuple[tuple[tuple[str, float], ...], ...]:
    """Returns the columns that move each row most, each with its contribution; see `reasons`."""
    # Stable, so that equal contributions keep the order of the columns.
    order = np.argsort(-np.abs(contributions), axis=1, kind="stable")[:, :n_reasons]
    moved = np.take_along_axis(contributions, order, axis=1)
    names = [column.name for column in columns]
    return tuple(
        tuple((names[place], by) for place, by in zip(places, moves, strict=True) if by != 0)
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
    except OSError as error:
        raise _no_trait(path, error) from error
    return decode_trait(content, path)


def decode_trait(content: bytes, path: Path) -> FittedTrait:
    """Returns the trait in the bytes of a file; raises as `read_trait`.

    Args:
        content: As written by `write_trait`.
        path: Of the file, for messages.
    """
    try:
        written = msgspec.json.decode(content, type=_Written).format
        if written != TRAIT_FORMAT:
            raise BundleVersionError(
                f"{path} has format {written}, this release reads {TRAIT_FORMAT}; run the command that wrote "
                "it again, or use its release"
            )
        return msgspec.json.decode(content, type=FittedTrait)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _no_trait(path, error) from error


def _no_trait(path: Path, error: Exception) -> BundleError:
    """Returns the error of a file that holds no trait."""
    return BundleError(
        f"{path} is no trait: {error}; name the file that a run of customers wrote under traits/"
    )


class _Written(msgspec.Struct):
    """The one field that every format has."""

    format: int
