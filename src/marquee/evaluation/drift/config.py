"""The declaration of a watch: two tables and the columns that mean something."""

from dataclasses import dataclass, field

from marquee.data.declared_table import MAX_REJECTED_FRACTION
from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError
from marquee.evaluation.drift.stability import MATTERS


@dataclass(kw_only=True)
class DriftConfig:
    """A log beside the statistics that a bundle carries, or two tables of the same columns.

    Attributes:
        reference: A bundle, or the folder of its versions; or the file of what was learned from.
        current: File of what comes in now.
        root: Where both paths start.
        table: How both are written: separator, types, exclude, …; its path is not looked at.
        features: Columns to watch; empty for all that are nothing else below.
        score: Column of a score or probability, watched as a feature and held against the label.
        label: Column of the outcome, 0 or 1, empty where it has not matured; empty for none.
        time: Column of the moment of each row; empty if there is none.
        maturity_days: A label younger than this, at the last row, does not count yet.
        measures: Columns whose mean by hour is held against the same hour of earlier weeks.
        matters: Stability index that matters.
        tolerance: Calibration ratio that is still right: 1.2 for 1/1.2 to 1.2.
        seed: Of what chance makes.
        max_rejected_fraction: Of the rows of a table that may be wrong.
    """

    reference: str
    current: str
    root: str = "."
    table: TableConfig = field(default_factory=lambda: TableConfig(path="*"))
    features: list[str] = field(default_factory=list)
    score: str = ""
    label: str = ""
    time: str = ""
    maturity_days: float = 0.0
    measures: list[str] = field(default_factory=list)
    matters: float = MATTERS
    tolerance: float = 1.2
    seed: int = 0
    max_rejected_fraction: float = MAX_REJECTED_FRACTION

    def __post_init__(self) -> None:
        # Below 1 a tolerance would leave no ratio that is right.
        if self.matters < 0 or self.tolerance < 1 or self.maturity_days < 0:
            raise ConfigError(
                "matters and maturity_days must be 0 or more and tolerance 1 or more, got "
                f"{self.matters:g}, {self.maturity_days:g} and {self.tolerance:g}"
            )
        if self.label and not self.score:
            raise ConfigError(f"label {self.label!r} needs a score to be held against it; name it in score")
        needs_time = [name for name in ("measures", "maturity_days") if getattr(self, name)]
        if needs_time and not self.time:
            raise ConfigError(f"{needs_time} need the moment of each row; name its column in time")
