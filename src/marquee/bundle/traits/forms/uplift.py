"""The uplift of a customer by a form: how much a treatment changes the chance of an outcome."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec
import numpy as np

from marquee.bundle.traits.columns import Column, Values, encode
from marquee.bundle.traits.forms.form import FormScores
from marquee.bundle.traits.models import LogisticModel, TreesModel, probabilities
from marquee.core.arrays import Float64Array
from marquee.store.people.consent import Tier


class UpliftModels(msgspec.Struct, frozen=True):
    """The fitted learners.

    Attributes:
        columns: How a customer becomes a row of the design.
        terms: Of the design that are read: none of the bends.
        treated: Chance of the outcome if treated: also the response model.
        control: Chance of the outcome if not.
        both: Trees over both arms, the arm as the last term.
    """

    columns: list[Column]
    terms: list[int]
    treated: LogisticModel
    control: LogisticModel
    both: TreesModel

    def t_learner(self, design: Float64Array) -> Float64Array:
        """Returns the difference of the two regressions, (n,)."""
        return self.response(design) - probabilities(self.control.logits(design))

    def s_learner(self, design: Float64Array) -> Float64Array:
        """Returns the difference that the arm makes in the trees, (n,)."""
        some, none = (
            probabilities(self.both.logits(np.column_stack([design, np.full(len(design), arm)])))
            for arm in (1.0, 0.0)
        )
        return some - none

    def response(self, design: Float64Array) -> Float64Array:
        """Returns the chance of the outcome if treated, (n,)."""
        return probabilities(self.treated.logits(design))

    def design(self, values: Mapping[str, Values]) -> Float64Array:
        """Returns the terms that are read, (n, n_terms)."""
        return encode(self.columns, values)[:, self.terms]


class UpliftForm(msgspec.Struct, frozen=True, tag="uplift"):
    """Tells how much a treatment changes whoever sends a form.

    Attributes:
        name: Of the trait.
        version: Of the fit.
        as_of: Moment up to which it has learned, seconds since 1970.
        models: The learners.
        learner: `t` or `s`.
    """

    name: str
    version: str
    as_of: float | None
    models: UpliftModels
    learner: str

    type: ClassVar[str] = "uplift"
    tier: ClassVar[Tier] = Tier.personal

    @property
    def fields(self) -> list[Column]:
        """Columns that a form must hold."""
        return self.models.columns

    def score_forms(self, values: Mapping[str, Values]) -> FormScores:
        """Returns uplifts, with the response beside; see `Form`."""
        design = self.models.design(values)
        uplift = self.models.t_learner(design) if self.learner == "t" else self.models.s_learner(design)
        return FormScores(uplift.tolist(), {"response": self.models.response(design)})

    def warm(self) -> None:
        """Needs nothing."""
