"""The face of a form: the fields that it must hold, the consent that it needs, the scores that it gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from marquee.bundle.traits.columns import Column, Values
from marquee.core.arrays import Float64Array
from marquee.store.people.consent import Tier


@dataclass(frozen=True)
class FormScores:
    """The scores of forms.

    Attributes:
        value: Of each, a number or the name of a segment.
        parts: Numbers beside it, by name, (n,) each.
        strongest: Of each the columns that move it most with what each adds to a logit; empty for types that
            have none.
    """

    value: Sequence[float | str]
    parts: Mapping[str, Float64Array] = field(default_factory=dict)
    strongest: Sequence[Sequence[tuple[str, float]]] = ()


class Form(Protocol):
    """Scores forms by a trait; reads no disk and needs no library but numpy."""

    @property
    def name(self) -> str:
        """Name of the trait."""

    @property
    def version(self) -> str:
        """Of the fit: equal data and settings have equal versions."""

    @property
    def as_of(self) -> float | None:
        """Moment up to which it has learned, seconds since 1970; None where its table has no time."""

    @property
    def type(self) -> str:
        """Type of the trait, as a config names it."""

    @property
    def tier(self) -> Tier:
        """The consent that it needs at least."""

    @property
    def fields(self) -> Sequence[Column]:
        """Columns that a form must hold."""

    def score_forms(self, values: Mapping[str, Values]) -> FormScores:
        """Returns the scores of forms.

        Args:
            values: Field -> a value per form; see `columns.read_values`.

        Raises:
            FormError: If a field holds what cannot be.
        """

    def warm(self) -> None:
        """Makes what the usual forms need, so that none of them waits for it."""
