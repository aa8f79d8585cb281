"""Cuts the values of a column into the bins of a reference: the same cuts for whatever comes later.

Numbers are cut at quantiles of the reference, categories are their own bins. What the reference does not
know (a new category, a missing value) has a bin of its own, for that is often what breaks.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from marquee.errors import DataError

N_BINS = 10
# Beyond them categories share a bin: bins of a few rows would make the index noise.
MAX_CATEGORIES = 50
MISSING, NEW, RARE = "(missing)", "(new)", "(rare)"

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Bins:
    """The bins of one column.

    Attributes:
        name: Of the column.
        edges: Inner edges of a number's bins, ascending; None for categories.
        categories: Known categories, most frequent first; empty for numbers.
        rare: Categories of the reference that share one bin.
        counts: Rows of the reference in each bin: the known ones, then rare (categories only), new
            (categories only) and missing.
    """

    name: str
    edges: tuple[float, ...] | None
    categories: tuple[str, ...]
    rare: frozenset[str]
    counts: Counts

    @classmethod
    def fit(cls, values: pl.Series, n_bins: int = N_BINS) -> "Bins":
        """Returns the bins of a reference column.

        Args:
            values: Numbers, or anything that has a text.
            n_bins: Of numbers.

        Raises:
            DataError: If no value is there.
        """
        known = _known(values)
        if known.is_empty():
            raise DataError(f"column {values.name!r} of the reference has no value at all; leave it out")
        # Numbers of few distinct values are their own bins: a value never seen before is then new.
        if known.dtype.is_numeric() and known.n_unique() > n_bins:
            cuts = np.quantile(known.cast(pl.Float64).to_numpy(), np.arange(1, n_bins) / n_bins)
            # A frequent number is several quantiles at once; between equal edges no value can fall.
            edges = tuple(np.unique(cuts).tolist())
            bins = cls(values.name, edges, (), frozenset(), np.zeros(0, dtype=np.int64))
        else:
            counted = _count_names(known)
            # Equal counts go by name, so that the same rows give the same bins.
            names = sorted(counted, key=lambda name: (-counted[name], name))
            common, rare = tuple(names[:MAX_CATEGORIES]), frozenset(names[MAX_CATEGORIES:])
            bins = cls(values.name, None, common, rare, np.zeros(0, dtype=np.int64))
        return cls(bins.name, bins.edges, bins.categories, bins.rare, bins.count(values))

    def count(self, values: pl.Series) -> Counts:
        """Returns how many rows fall into each bin, (n_bins,).

        Raises:
            DataError: If a column of numbers now holds texts that are none.
        """
        known = _known(values)
        n_missing = len(values) - len(known)
        if self.edges is not None:
            # Texts become null and are counted, instead of stopping at the first.
            numbers = known.cast(pl.Float64, strict=False)
            if numbers.null_count():
                raise DataError(
                    f"column {self.name!r} was numbers in the reference, now {numbers.null_count():,} of "
                    f"{len(values):,} rows hold none, such as {known.filter(numbers.is_null())[0]!r}"
                )
            # Right-closed, as quantiles are: a value equal to an edge belongs below it.
            place = np.searchsorted(np.asarray(self.edges), numbers.to_numpy(), side="left")
            return np.append(np.bincount(place, minlength=len(self.edges) + 1), n_missing).astype(np.int64)
        place_of = {name: place for place, name in enumerate(self.categories)}
        place_of |= dict.fromkeys(self.rare, len(self.categories))
        # Place of `NEW`, behind the known categories and `RARE`.
        n_known = len(self.categories) + 1
        counts = np.zeros(n_known + 2, dtype=np.int64)
        for name, n in _count_names(known).items():
            counts[place_of.get(name, n_known)] += n
        counts[-1] = n_missing
        return counts

    @property
    def labels(self) -> tuple[str, ...]:
        """Name of each bin, in the order of the counts."""
        if self.edges is None:
            return (*self.categories, RARE, NEW, MISSING)
        ends = [f"{edge:.4g}" for edge in self.edges]
        return (*(f"up to {end}" for end in ends), f"above {ends[-1]}" if ends else "all", MISSING)

    def to_json_dict(self) -> dict[str, object]:
        """Returns everything, ready for `json.dumps`: how reference statistics travel."""
        return {
            "name": self.name,
            "edges": None if self.edges is None else list(self.edges),
            "categories": list(self.categories),
            "rare": sorted(self.rare),
            "counts": self.counts.tolist(),
        }

    @classmethod
    def from_json_dict(cls, fields: Mapping[str, object]) -> "Bins":
        """Returns the bins that `to_json_dict` gave.

        Raises:
            DataError: If something is missing or of another type.
        """
        try:
            edges = fields["edges"]
            return cls(
                str(fields["name"]),
                None if edges is None else tuple(float(edge) for edge in edges),  # type: ignore[attr-defined] # of JSON
                tuple(fields["categories"]),  # type: ignore[arg-type] # of JSON
                frozenset(fields["rare"]),  # type: ignore[call-overload] # of JSON
                np.asarray(fields["counts"], dtype=np.int64),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"these are no bins of a reference: {error!r}; make them anew") from error


def _known(values: pl.Series) -> pl.Series:
    """Returns the values that are there: neither null, nor NaN, nor an empty text."""
    if values.dtype == pl.String:
        return values.drop_nulls().filter(values.drop_nulls() != "")
    # polars tells null from NaN; to a model both are missing.
    known = values.drop_nulls()
    return known.filter(known.is_not_nan()) if known.dtype.is_float() else known


def _count_names(known: pl.Series) -> dict[str, int]:
    """Returns how often each value occurs, by its name: equal numbers have one, in whichever type they come.

    A CSV has texts where Parquet has integers, and a column with a gap has 1.0 where one without has 1.
    """
    counted: dict[str, int] = {}
    for text, n in known.cast(pl.String).rename("name").value_counts().iter_rows():
        name = _name(text)
        counted[name] = counted.get(name, 0) + n
    return counted


def _name(text: str) -> str:
    """Returns a number as its shortest text, any other text as it is."""
    try:
        value = float(text)
    except ValueError:
        return text
    return str(int(value)) if value.is_integer() else repr(value)
