"""The statistics of a table that later ones are held against: small, with no row of anybody, so they travel.

A bundle carries those of the log that its model was judged on; a table gives its own when it is compared.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import polars as pl

from marquee.core.arrays import Float64Array, IndexArray
from marquee.errors import DataError
from marquee.evaluation.drift.bins import Bins
from marquee.evaluation.drift.hours import SECONDS_PER_HOUR
from marquee.evaluation.drift.labels import LabelQuality
from marquee.evaluation.intervals import Estimate

REFERENCE_FORMAT = 1


@dataclass(frozen=True)
class Hours:
    """A measure by hour.

    Attributes:
        time: Beginning of each hour, seconds, (n,).
        values: The measure in it, (n,).
    """

    time: IndexArray
    values: Float64Array

    @classmethod
    def of(cls, rows: pl.DataFrame, time: str, value: pl.Expr, least: int = 1) -> "Hours":
        """Returns a measure of rows by hour; hours without a value, or with too few rows, are left out.

        Args:
            rows: With a moment each, in seconds.
            time: Column of the moment.
            value: The measure of the rows of an hour.
            least: Rows that an hour needs.
        """
        hour = (pl.col(time) // SECONDS_PER_HOUR * SECONDS_PER_HOUR).alias("hour")
        by_hour = (
            rows.drop_nulls(time)
            .group_by(hour)
            .agg(value.cast(pl.Float64).alias("value"), pl.len().alias("n"))
            .filter(pl.col("n") >= least)
            .drop_nulls()
            .sort("hour")
        )
        return cls(by_hour["hour"].to_numpy().astype(np.int64), by_hour["value"].to_numpy())


@dataclass(frozen=True)
class Reference:
    """Statistics of a table.

    Attributes:
        n_rows: Its rows.
        last: Its last moment, seconds; None if it has none.
        bins: Column → its bins with their rows.
        unusable: Column → why it has none.
        labels: The score beside matured labels; None if they are not known.
        hours: Measure → its hours.
    """

    n_rows: int
    last: int | None
    bins: Mapping[str, Bins]
    unusable: Mapping[str, str] = field(default_factory=dict)
    labels: LabelQuality | None = None
    hours: Mapping[str, Hours] = field(default_factory=dict)

    @classmethod
    def fit(cls, rows: pl.DataFrame, names: Sequence[str], time: str = "") -> "Reference":
        """Returns bins of some columns; labels and hours are for the caller to add.

        Args:
            rows: The table.
            names: Columns to watch.
            time: Column of the moment of each row; empty for none.
        """
        bins: dict[str, Bins] = {}
        unusable: dict[str, str] = {}
        for name in names:
            if name not in rows.columns:
                # Nothing was learned from it, so nothing can have broken.
                unusable[name] = f"the reference has no such column, it has {rows.columns}"
                continue
            try:
                # The reference alone is turned into numbers: a text in the current column is then an alarm.
                bins[name] = Bins.fit(_as_numbers(rows[name]))
            except DataError as error:
                unusable[name] = str(error)
        last = rows[time].max() if time in rows.columns else None
        return cls(rows.height, last if isinstance(last, int) else None, bins, unusable)

    def to_json(self) -> str:
        """Returns everything as JSON."""
        return json.dumps(
            {
                "reference_format": REFERENCE_FORMAT,
                "n_rows": self.n_rows,
                "last": self.last,
                "bins": [bins.to_json_dict() for bins in self.bins.values()],
                "unusable": dict(self.unusable),
                "labels": None if self.labels is None else asdict(self.labels),
                "hours": {
                    name: {"time": hours.time.tolist(), "values": hours.values.tolist()}
                    for name, hours in self.hours.items()
                },
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Reference":
        """Returns the statistics that `to_json` wrote.

        Raises:
            DataError: If it is of another format, or something is missing.
        """
        try:
            read = json.loads(text)
            if read["reference_format"] != REFERENCE_FORMAT:
                raise DataError(
                    f"reference statistics must have format {REFERENCE_FORMAT}, got "
                    f"{read['reference_format']}; export the bundle again"
                )
            bins = [Bins.from_json_dict(one) for one in read["bins"]]
            hours = {
                name: Hours(np.asarray(one["time"], dtype=np.int64), np.asarray(one["values"], dtype=float))
                for name, one in read["hours"].items()
            }
            return cls(
                n_rows=int(read["n_rows"]),
                last=read["last"],
                bins={one.name: one for one in bins},
                unusable=read["unusable"],
                labels=_labels(read["labels"]),
                hours=hours,
            )
        except (KeyError, TypeError, ValueError) as error:
            # A DataError is a ValueError too, and says already what is wrong.
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"these are no reference statistics: {error!r}; export the bundle again"
            ) from error


def _labels(read: Mapping[str, object] | None) -> LabelQuality | None:
    """Returns the labels of JSON."""
    if read is None:
        return None
    auc = read["auc"]
    return LabelQuality(
        n=int(str(read["n"])),
        n_positive=int(str(read["n_positive"])),
        calibration_ratio=Estimate(**read["calibration_ratio"]),  # type: ignore[arg-type] # of JSON
        auc=None if auc is None else Estimate(**auc),  # type: ignore[arg-type] # of JSON
    )


def _as_numbers(values: pl.Series) -> pl.Series:
    """Returns texts as numbers where all of them are: a CSV does not say which columns are."""
    if values.dtype != pl.String:
        return values
    filled = values.replace("", None)
    # Not strict: a text that is no number becomes null, and the counts of nulls then differ.
    numbers = filled.cast(pl.Float64, strict=False)
    return numbers if numbers.null_count() == filled.null_count() else values
