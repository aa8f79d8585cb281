"""A customer at the moment of a decision: traits and audiences of the run that a service serves."""

from collections.abc import Mapping
from typing import NamedTuple

SEGMENT = "segment"
"""The trait that is the segment of a user."""

TraitValue = bool | int | float | str | None
"""A trait of one customer, None where nothing is known."""


class Customer(NamedTuple):
    """A user of whom a run of customers tells, and who lets it be used.

    None stands for whoever is nobody, not in the run, erased since it began, or below `personal`.

    Attributes:
        traits: Value by column of the run's traits.
        audiences: Those whose contacts they are; whoever is held back to measure by is no contact.
    """

    traits: Mapping[str, TraitValue] = {}
    audiences: frozenset[str] = frozenset()
