"""The declaration of an experiment: its table, its arms, its metrics, and what would matter."""

from dataclasses import dataclass, field, replace
from datetime import date, datetime
from zoneinfo import ZoneInfo

from marquee.data.declared_table import MAX_REJECTED_FRACTION
from marquee.data.table_config import TableConfig
from marquee.decision.experiments.declaring import Better, zone_named
from marquee.errors import ConfigError
from marquee.evaluation.experiments.sequences import TUNED_FOR

# Columns that every table is read into: a metric or slice of such a name would overwrite one.
CANONICAL = ("unit", "arm", "time", "exposed", "stood_in")


ONLY_SURFACE = "default"
"""The surface of a service that declares none, which its log leaves out."""

_DAY_LENGTH = len("2026-03-01")

NOT_IN_IT = "(not in it)"
"""The arm of an exposure that was in no arm of the experiment."""


@dataclass(kw_only=True)
class MetricConfig:
    """One metric: a mean per unit, or a ratio of two sums.

    Attributes:
        value: Column, or SQL over columns, that is added up per unit; `spend > 0` makes a share.
        per: What it is counted per, for a ratio: clicks per view; empty for a mean per unit.
        before: Column with the same of each unit before its first exposure; null for units without history.
            Where it is empty, rows before the first exposure are added up, if there are any.
        better: Which way it should go.
        winsorise: Quantile at which sums of units are capped, e.g. 0.99, shown beside the raw effect.
        quantiles: Quantiles over units to compare beside the mean, e.g. [0.5, 0.9].
    """

    value: str
    per: str = ""
    before: str = ""
    better: Better = Better.more
    winsorise: float | None = None
    quantiles: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        wrong = [part for part in (self.winsorise, *self.quantiles) if part is not None and not 0 < part < 1]
        if wrong:
            raise ConfigError(f"winsorise and quantiles must lie in (0, 1), got {wrong[0]}; 0.99 is usual")
        # Quantiles need one value per unit, and a ratio is of two sums over all units.
        if self.per and self.quantiles:
            raise ConfigError(f"a ratio has no quantiles over units, got {self.quantiles}; leave per out")


@dataclass(kw_only=True)
class ExperimentConfig:
    """An experiment over a table: one row per unit, or one per event of a unit.

    Attributes:
        name: What the report is called.
        root: Where the path of the table starts.
        table: The file.
        arms: Arm → declared share of the units; the first is the control.
        metrics: Name → metric; the first decides.
        guardrails: Metrics that no arm may worsen.
        slices: Columns whose values the first metric is shown by.
        users: Table of what is known of units, one row each: slices may name its columns, which go before
            those of `table`; null for none.
        users_unit: Its column of units.
        unit: Column, or SQL, of what was drawn into an arm; empty if each row is a unit.
        arm: Column of the arm.
        experiment: Name of an experiment of the service, in place of `arm`: the table is the training table
            of an event log, whose column `experiments` tells the arms of an exposure. Others count as the
            past of a unit, if they lie before its first exposure, and else not at all.
        stood_in: Column, or SQL, that is not null where another release answered in place of the arm's, which
            failed: such rows count for their arm, and are counted; empty if the table does not tell.
        phase: Seed of the phase that counts, where that experiment had several; empty for all.
        surfaces: Where the experiment of the service runs: exposures elsewhere do not count; empty for all.
        time: Column of the moment of each row; empty if there is none.
        exposed: Column of the moment at which the unit was first exposed; empty for its first row.
        zone: Zone in which days begin and end, e.g. `Europe/Berlin`.
        start: First day, e.g. `2026-03-01`, or moment with its zone; empty for the table's first.
        end: Day, or moment, that is no longer part of it; empty if none was declared.
        window_days: How long after its first exposure the rows of a unit count; null for all.
        minimum_effect: Smallest improvement of the first metric that matters, in its unit.
        final: Whether the declared end is reached, for a table without times.
        units_per_day: New units of a day, for plans, where the table has no times.
        coverage: Share of the units that takes part, for plans.
        tuned_for: Units at which the confidence sequence is shortest; chosen before the experiment begins.
        max_rejected_fraction: Of the rows of the table that may be wrong.
    """

    name: str = "experiment"
    root: str = "."
    table: TableConfig
    arms: dict[str, float]
    metrics: dict[str, MetricConfig]
    guardrails: list[str] = field(default_factory=list)
    slices: list[str] = field(default_factory=list)
    users: TableConfig | None = None
    users_unit: str = "user_id"
    unit: str = "unit"
    arm: str = "arm"
    experiment: str = ""
    stood_in: str = ""
    phase: str = ""
    surfaces: list[str] = field(default_factory=list)
    time: str = ""
    exposed: str = ""
    zone: str = "UTC"
    start: str = ""
    end: str = ""
    window_days: float | None = None
    minimum_effect: float = 0.0
    final: bool = False
    units_per_day: float = 0.0
    coverage: float = 1.0
    tuned_for: int = TUNED_FOR
    max_rejected_fraction: float = MAX_REJECTED_FRACTION

    def __post_init__(self) -> None:
        self._validate_log()
        self._validate_metrics()
        self._validate_times()
        if self.minimum_effect < 0 or self.units_per_day < 0:
            raise ConfigError(
                "minimum_effect and units_per_day must be 0 or more, got "
                f"{self.minimum_effect:g} and {self.units_per_day:g}; `better: less` turns a metric around"
            )

    @property
    def arm_expression(self) -> str:
        """SQL of the arm of a row; `NOT_IN_IT` for an exposure that was in none."""
        if not self.experiment:
            return self.arm
        return f"CASE WHEN {self._is_in_it} THEN SPLIT_PART({self._said}, '@', 1) ELSE '{NOT_IN_IT}' END"

    @property
    def read_table(self) -> TableConfig:
        """The table without the rows that say nothing of this experiment."""
        others: dict[str, str] = {}
        if self.experiment and self.phase:
            # Neither of this phase nor of before: another arm was at work.
            others[f"in another phase of {self.experiment}"] = (
                f"{self._is_in_it} AND SPLIT_PART({self._said}, '@', 2) <> '{self.phase}'"
            )
        if self.surfaces:
            names = ", ".join(f"'{name}'" for name in self.surfaces)
            others["on another surface"] = f"COALESCE(surface, '{ONLY_SURFACE}') NOT IN ({names})"
        return replace(self.table, exclude={**self.table.exclude, **others}) if others else self.table

    @property
    def _is_in_it(self) -> str:
        """SQL that tells whether an exposure was in an arm of the experiment."""
        return f"COALESCE(STRPOS(experiments, ';{self.experiment}=') > 0, FALSE)"

    @property
    def _said(self) -> str:
        """SQL of arm and phase of an exposure that was in it."""
        return f"SPLIT_PART(SPLIT_PART(experiments, ';{self.experiment}=', 2), ';', 1)"

    def _validate_log(self) -> None:
        """Raises ConfigError if a name would break out of the SQL that reads a log."""
        wrong = [text for text in (self.experiment, self.phase, *self.surfaces) if set(text) & set("';@")]
        if wrong:
            raise ConfigError(f"experiment, phase and surfaces must not hold ', ; or @, got {wrong[0]!r}")
        if (self.phase or self.surfaces) and not self.experiment:
            raise ConfigError(
                f"phase and surfaces are of an experiment of the service, got {self.phase!r} and "
                f"{list(self.surfaces)}; name it in experiment"
            )

    @property
    def control(self) -> str:
        """The arm that the others are compared with."""
        # By order and not by a key of its own: YAML keeps the order in which arms are written.
        return next(iter(self.arms))

    @property
    def primary(self) -> str:
        """The metric that decides."""
        return next(iter(self.metrics))

    def moment(self, text: str) -> int | None:
        """Returns a declared moment, or when a declared day begins, seconds since 1970 UTC; None for none.

        Raises:
            ValueError: If it is neither, or a moment without zone.
        """
        if not text:
            return None
        if len(text) <= _DAY_LENGTH:
            return int(_midnight(date.fromisoformat(text), ZoneInfo(self.zone)))
        moment = datetime.fromisoformat(text)
        # As midnight in the declared zone it would be read by whoever thinks of that one.
        if moment.tzinfo is None:
            raise ValueError(f"{text!r} without a zone, add Z for UTC")
        return int(moment.timestamp())

    def _validate_metrics(self) -> None:
        """Raises ConfigError unless names of metrics are distinct from columns and known to the rest."""
        if not self.metrics:
            raise ConfigError(
                "an experiment needs a metric, got none; add metrics: {orders: {value: orders}}"
            )
        unknown = sorted(set(self.guardrails) - set(self.metrics))
        if unknown:
            raise ConfigError(f"guardrails {unknown} are no metrics; declared are {list(self.metrics)}")
        # One table holds them all, by name.
        names = [*CANONICAL, *self.slices, *self.metrics]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"{twice} names two things; rename the metric or the slice")

    def _validate_times(self) -> None:
        """Raises ConfigError unless days, zone and window can be read and have times to hold on to."""
        zone_named(self.zone)
        try:
            ends = [self.moment(self.start), self.moment(self.end)]
        except ValueError as error:
            raise ConfigError(
                f"start and end must be days as 2026-03-01, or moments with their zone, got {error}"
            ) from error
        if None not in ends and ends[0] >= ends[1]:  # type: ignore[operator] # neither is None
            raise ConfigError(f"end {self.end} must lie behind start {self.start}")
        needs_time = [
            name
            for name, given in (
                ("start", self.start),
                ("end", self.end),
                ("window_days", self.window_days),
                ("exposed", self.exposed),
            )
            if given
        ]
        if needs_time and not self.time:
            raise ConfigError(f"{needs_time} need the moment of each row; name its column in time")
        if self.window_days is not None and not self.window_days > 0:
            raise ConfigError(f"window_days must be above 0, got {self.window_days}; null counts all rows")


def _midnight(day: date, zone: ZoneInfo) -> float:
    """Returns when a day begins in a zone, seconds since 1970."""
    # Built in the zone: a day on which clocks change has 23 or 25 hours.
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
