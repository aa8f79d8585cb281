"""One measured number of the event loop, with its bound and what it is compared with."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: What it is.
        measured: The number.
        unit: Of both.
        bound: What it must reach, or must not exceed.
        is_least: Whether the bound is the least that is good enough.
        reference: What it is compared with, in words.
    """

    name: str
    measured: float
    unit: str
    bound: float
    is_least: bool
    reference: str

    @property
    def holds(self) -> bool:
        """Whether the bound is kept."""
        return self.measured >= self.bound if self.is_least else self.measured <= self.bound

    def line(self) -> str:
        """Returns the row of the table."""
        sign = ">=" if self.is_least else "<="
        verdict = "" if self.holds else "   beyond the bound"
        return (
            f"{self.name:<46}{self.measured:>12,.3f} {self.unit:<10}{sign} {self.bound:<10,g}"
            f"{self.reference}{verdict}"
        )
