"""Who was exposed to which arm, when, and which rows count for them: from the rows of a table to units.

Only what a unit did after its first exposure and within the window can be the arm's doing. Units that were
seen in several arms belong to none. Whatever is left out is counted by reason.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from marquee.core.schema import Column, ColumnType
from marquee.data.declared_table import read_declared_table
from marquee.errors import DataError
from marquee.evaluation.experiments.config import NOT_IN_IT, ExperimentConfig
from marquee.evaluation.experiments.units import ArmUnits

SECONDS_PER_DAY = 86_400
NO_VALUE = "(none)"

_DAY = "__day"  # of the row, in the declared zone
_FIRST = "__first"  # moment of the first exposure


@dataclass(frozen=True)
class Exposed:
    """The units of an experiment and what became of the rows.

    Attributes:
        rows: Those that count, one per event: `unit`, `arm`, sums, slices; with times `time`, `__day` of
            the row and `exposed_day` of the unit's first exposure.
        before: Rows of the same units before their first exposure; empty where nothing is known of them.
        left_out: Reason → rows or units that do not count.
        notes: What looks odd, one sentence each.
        days: Days from the first exposure to the last row, in order; empty without times.
        is_final: Whether the declared end is reached.
        doubts: Metric → why its intervals do not hold.
    """

    rows: pl.DataFrame
    before: pl.DataFrame
    left_out: Mapping[str, int]
    notes: tuple[str, ...]
    days: tuple[str, ...]
    is_final: bool
    doubts: Mapping[str, str] = field(default_factory=dict)

    def n_units(self) -> dict[str, int]:
        """Returns arm → units."""
        counted = self.rows.group_by("arm").agg(pl.col("unit").n_unique()).iter_rows()
        return dict(sorted(counted))


def read_exposed(config: ExperimentConfig, now: float | None = None) -> Exposed:
    """Reads the table of an experiment and tells its units apart.

    Args:
        config: The declaration.
        now: The present, seconds since 1970: rows behind it have a wrong clock. None for no bound.

    Raises:
        DataError: If the table cannot be read, names an arm that was not declared, or nobody is left.
    """
    rows, notes = _read_rows(config)
    # No row is dropped for its arm: units of an undeclared one would be missing from the shares.
    known = [*config.arms, *([NOT_IN_IT] if config.experiment else [])]
    unknown = rows.filter(~pl.col("arm").is_in(known))["arm"].value_counts(sort=True)
    if len(unknown):
        raise DataError(
            f"the table holds arms that were not declared, {dict(unknown.iter_rows())} rows, declared are "
            f"{list(config.arms)}; declare them with their weights, or exclude their rows"
        )
    left_out: dict[str, int] = {}
    before = rows.clear()
    if config.time:
        rows, before = _within_time(rows, config, now, left_out)
    else:
        # Without moments nothing tells what was before.
        rows = _of_experiment(rows, left_out)
        rows = rows.with_columns(pl.lit("").alias(_DAY), pl.lit("").alias("exposed_day"))
    # Of the rows that count: another arm before the first exposure mixes nothing.
    arms_of_unit = rows.group_by("unit").agg(pl.col("arm").n_unique().alias("n"))
    several = arms_of_unit.filter(pl.col("n") > 1)["unit"]
    left_out["units seen in several arms"] = len(several)
    # Imploded: polars warns of `is_in` with a Series of the column's own type, and warnings are errors.
    rows = rows.filter(~pl.col("unit").is_in(several.implode()))
    left_out = {reason: n for reason, n in left_out.items() if n}
    if rows.is_empty():
        raise DataError(
            f"no unit is left to compare, {left_out}; look at unit, arm, start and end of the experiment"
        )
    days = tuple(sorted(rows[_DAY].unique())) if config.time else ()
    doubts = _doubts(rows, config)
    return Exposed(
        rows=rows,
        before=before.filter(pl.col("unit").is_in(rows["unit"].unique().implode())),
        left_out=left_out,
        notes=(*notes, *_stand_in_notes(rows), *_day_notes(days), *doubts.values()),
        days=days,
        is_final=config.final or _is_over(days, config, now),
        doubts=doubts,
    )


def _stand_in_notes(rows: pl.DataFrame) -> list[str]:
    """Returns how many rows of each arm another release answered than the arm's, which failed."""
    if "stood_in" not in rows.columns:
        return []
    # By intention to treat: who was drawn into an arm stays there, or a release that fails for some kind of
    # user would be judged by the others alone.
    found = rows.group_by("arm").agg(pl.col("stood_in").is_not_null().sum().alias("n"), pl.len().alias("all"))
    return [
        f"{n:,} of {n_all:,} rows of arm {arm} were answered by another release, for the arm's failed: they "
        "count for the arm all the same"
        for arm, n, n_all in found.sort("arm").iter_rows()
        if n
    ]


def arm_units(
    exposed: Exposed, config: ExperimentConfig, name: str, rows: pl.DataFrame | None = None
) -> dict[str, ArmUnits]:
    """Returns arm → the sums of a metric over its units, for the arms that have units.

    Args:
        exposed: The units.
        config: The declaration.
        name: Of the metric.
        rows: Of `exposed.rows` those that count; None for all.

    Raises:
        DataError: If all denominators are 0.
    """
    metric = config.metrics[name]
    sums = [pl.col(name).sum()]
    if metric.per:
        sums.append(pl.col(f"{name} per").sum())
    if metric.before:
        # A fact of the unit, repeated on its rows: a sum would count it once per row.
        sums.append(pl.col(f"{name} before").drop_nulls().first())
    taken = exposed.rows if rows is None else rows
    units = taken.group_by("unit", maintain_order=True).agg(pl.col("arm").first(), *sums)
    knows_before = bool(metric.before)
    if not metric.before and not exposed.before.is_empty():
        # Left join: a unit without rows before is absent there, which is not the same as a sum of 0.
        past = exposed.before.group_by("unit").agg(pl.col(name).sum().alias(f"{name} before"))
        units = units.join(past, on="unit", how="left", maintain_order="left")
        knows_before = True
    found = {}
    for arm in config.arms:
        own = units.filter(pl.col("arm") == arm)
        if own.is_empty():
            continue
        found[arm] = ArmUnits(
            own[name].to_numpy().astype(np.float64),
            own[f"{name} per"].to_numpy().astype(np.float64) if metric.per else None,
            own[f"{name} before"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
            if knows_before
            else None,
        )
    return found


def _read_rows(config: ExperimentConfig) -> tuple[pl.DataFrame, list[str]]:
    """Returns the rows of the table in our columns, and what the readers say of it."""
    users = _read_users(config)
    columns, expressions = _declared_columns(config, set(config.slices) - set(users.columns))
    rows, quality = read_declared_table(
        config.read_table, Path(config.root), columns, expressions, "ab", config.max_rejected_fraction
    )
    notes = [*quality.notes, *(f"rejected: {reject}" for reject in quality.rejects)]
    notes += [f"{n:,} rows excluded as {reason}" for reason, n in quality.excluded.items()]
    for name in config.metrics:
        for column in (name, f"{name} per"):
            n_missing = rows[column].null_count() if column in rows.columns else 0
            if n_missing:
                notes.append(f"{n_missing:,} of {rows.height:,} rows have no {column}: they count as 0")
                rows = rows.with_columns(pl.col(column).fill_null(0.0))
    if not config.unit:
        rows = rows.with_row_index("unit").with_columns(pl.col("unit").cast(pl.String))
    rows = rows.join(users, on="unit", how="left", maintain_order="left")
    return rows.with_columns(pl.col(config.slices).fill_null(NO_VALUE)), notes


def _read_users(config: ExperimentConfig) -> pl.DataFrame:
    """Returns `unit` and those slices that the table of users has, one row per unit."""
    if config.users is None:
        return pl.DataFrame(schema={"unit": pl.String})
    rows, _ = read_declared_table(
        config.users,
        Path(config.root),
        [Column("unit", required=True)],
        {"unit": config.users_unit},
        "ab",
        config.max_rejected_fraction,
        keep_rest=True,
        name="users",
    )
    named = [name for name in config.slices if name in rows.columns]
    # A second row of a unit would count all of its events twice.
    return rows.select("unit", pl.col(named).cast(pl.String)).unique("unit", keep="first")


def _declared_columns(
    config: ExperimentConfig, slices: Collection[str]
) -> tuple[list[Column], dict[str, str]]:
    """Returns the columns that an experiment needs, and what each is made of."""
    columns, expressions = [Column("arm", required=True)], {"arm": config.arm_expression}
    if config.unit:
        columns.append(Column("unit", required=True))
        expressions["unit"] = config.unit
    for name, given in (("time", config.time), ("exposed", config.exposed)):
        if given:
            columns.append(Column(name, ColumnType.timestamp, required=name == "time"))
            expressions[name] = given
    for name, metric in config.metrics.items():
        parts = ((name, metric.value), (f"{name} per", metric.per), (f"{name} before", metric.before))
        for column, given in parts:
            if given:
                columns.append(Column(column, ColumnType.number))
                expressions[column] = given
    if config.stood_in:
        columns.append(Column("stood_in"))
        expressions["stood_in"] = config.stood_in
    columns += [Column(name) for name in config.slices if name in slices]
    return columns, expressions


def _within_time(
    rows: pl.DataFrame, config: ExperimentConfig, now: float | None, left_out: dict[str, int]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Returns the rows after the first exposure that count, and those before it; counts the others."""
    start, end = config.moment(config.start), config.moment(config.end)
    if now is not None:
        is_future = pl.col("time") > now
        left_out["rows later than now (a clock is wrong)"] = rows.filter(is_future).height
        rows = rows.filter(~is_future)
    began = pl.col("exposed") if config.exposed else pl.col("time")
    # Null where it is no exposure, which the minimum below skips.
    began = pl.when(pl.col("arm") != NOT_IN_IT).then(began)
    if start is not None:
        began = pl.when(began >= start).then(began)
    rows = rows.with_columns(began.min().over("unit").alias(_FIRST))
    never = rows.filter(pl.col(_FIRST).is_null())
    why = "units never in the experiment" if config.experiment else "units never exposed since the start"
    left_out[why] = never["unit"].n_unique()
    rows = rows.filter(pl.col(_FIRST).is_not_null())
    if end is not None:
        late = rows.filter(pl.col(_FIRST) >= end)
        left_out["units first exposed behind the end"] = late["unit"].n_unique()
        rows = rows.filter(pl.col(_FIRST) < end)
    before = rows.filter(pl.col("time") < pl.col(_FIRST))
    last = pl.lit(end) if end is not None else None
    if config.window_days is not None:
        # In place of the declared end: each unit has the same time, whenever it came.
        last = pl.col(_FIRST) + round(config.window_days * SECONDS_PER_DAY)
    rows = _of_experiment(rows.filter(pl.col("time") >= pl.col(_FIRST)), left_out)
    if last is not None:
        left_out["rows behind the window"] = rows.filter(pl.col("time") >= last).height
        rows = rows.filter(pl.col("time") < last)
    return rows.with_columns(
        _day("time", config.zone).alias(_DAY), _day(_FIRST, config.zone).alias("exposed_day")
    ), before


def _of_experiment(rows: pl.DataFrame, left_out: dict[str, int]) -> pl.DataFrame:
    """Returns the rows that were in an arm; counts the others."""
    is_outside = pl.col("arm") == NOT_IN_IT
    left_out["rows in no arm, not before the first exposure"] = rows.filter(is_outside).height
    return rows.filter(~is_outside)


def _day(column: str, zone: str) -> pl.Expr:
    """Returns the day of a moment in a zone, as a text: days are half-open, [00:00, 24:00)."""
    moment = pl.from_epoch(pl.col(column), time_unit="s").dt.replace_time_zone("UTC")
    return moment.dt.convert_time_zone(zone).dt.strftime("%Y-%m-%d")


def _is_over(days: tuple[str, ...], config: ExperimentConfig, now: float | None) -> bool:
    """Returns whether the declared end is reached: the clock is behind it, and so is the table."""
    end = config.moment(config.end)
    if end is None or not days or (now is not None and now < end):
        return False
    # The table must reach into the last day: one that stops before is no final word.
    last_second = pl.DataFrame({"last": [end - 1]})
    return bool(days[-1] >= last_second.select(_day("last", config.zone)).item())


def _day_notes(days: tuple[str, ...]) -> list[str]:
    """Returns which days have no rows at all."""
    if len(days) < 2:
        return []
    every = pl.date_range(
        pl.lit(days[0]).str.to_date(), pl.lit(days[-1]).str.to_date(), interval="1d", eager=True
    )
    missing = sorted(set(every.cast(pl.String).to_list()) - set(days))
    if not missing:
        return []
    return [
        f"{len(missing)} of {len(every)} days have no rows: {', '.join(missing[:5])}"
        f"{' …' if len(missing) > 5 else ''}; was the log lost?"
    ]


def _doubts(rows: pl.DataFrame, config: ExperimentConfig) -> dict[str, str]:
    """Returns which metrics come from one unit for the most part, and why no interval holds for these."""
    doubts = {}
    for name in config.metrics:
        sums = rows.group_by("unit").agg(pl.col(name).abs().sum().alias("sum"))
        total, largest = float(sums["sum"].sum()), sums.sort("sum", descending=True).row(0)
        # Of two units one always has half or more.
        if total and largest[1] > total / 2 and len(sums) > 2:
            doubts[name] = (
                f"one unit, {largest[0]!r}, has {largest[1] / total:.0%} of all {name}: its intervals do not "
                "hold; look at it winsorised, or leave the unit out"
            )
    return doubts
