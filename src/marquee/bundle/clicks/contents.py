"""Everything of a head that a bundle holds, and how each part of it becomes a file."""

from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from marquee.core.arrays import BoolArray, FloatArray, IndexArray
from marquee.errors import DataError, ShapeError
from marquee.features.exposures.layout import CountLayout, TokenColumns

GRAPH_FILE, SPEC_FILE = "click_head.onnx", "click_head.json"
_ARRAYS = (
    "counts",
    "slots",
    "numbers",
    "offsets",
    "shown_items",
    "shown_expected",
    "shown_came",
    "shown_at",
)


def array_file(name: str) -> str:
    """Returns the file of an array by the field that holds it."""
    return f"click_head_{name}.npy"


HEAD_FILES = frozenset({GRAPH_FILE, SPEC_FILE, *map(array_file, _ARRAYS)})
"""All files of a head: a bundle has all of them or none."""

GRAPH_INPUTS = frozenset({"columns", "place", "score"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSpec:
    """How the columns that a head reads are made.

    Attributes:
        places: Surface and position of each place that training knew.
        query_columns: Features of the query that are counted by.
        item_columns: Features of the item that are counted by.
        columns: Names of the columns of the graph, in order.
        window: Latest exposures of a user that are looked at.
        mean_score: Score of the towers that says nothing: that of a request of which nothing is known.
        mean_delay: Seconds from click to conversion.
    """

    places: tuple[tuple[str, int], ...]
    query_columns: tuple[TokenColumns, ...]
    item_columns: tuple[TokenColumns, ...]
    columns: tuple[str, ...]
    window: int
    mean_score: float
    mean_delay: float

    def layout(self, n_items: int) -> CountLayout:
        """Returns the layout of the counts."""
        return CountLayout(self.query_columns, self.item_columns, n_items)

    def to_json(self) -> str:
        """Returns the specification as text."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> "HeadSpec":
        """Returns the specification that `to_json` wrote; raises ValueError for anything else."""
        return msgspec.json.decode(text, type=cls)


@dataclass(frozen=True, eq=False, kw_only=True)
class HeadContents:
    """A head as training hands it over.

    Attributes:
        graph: ONNX: columns, place and score of the towers → probability of a click, and of a conversion
            after one, (n, 2).
        spec: How the columns are made.
        counts: What came and what was expected by cell of the layout, (n_cells, 2) float32.
        slots: Rows of the item features, (n_items + 1, n_item_slots) int32.
        numbers: Numeric item features, and whether it is an ad, (n_items + 1, n_numbers) float32.
        offsets: What user_index u was shown is `offsets[u]:offsets[u + 1]` of the arrays below,
            (n_users + 2,) int64.
        shown_items: item_index, oldest first, (n_shown,) int32.
        shown_expected: Clicks that the place alone would bring, (n_shown,) float32.
        shown_came: Whether the user reacted, (n_shown,) bool.
        shown_at: Seconds since 1970 UTC, (n_shown,) int64.
    """

    graph: bytes
    spec: HeadSpec
    counts: FloatArray
    slots: npt.NDArray[np.int32]
    numbers: FloatArray
    offsets: IndexArray
    shown_items: npt.NDArray[np.int32]
    shown_expected: FloatArray
    shown_came: BoolArray
    shown_at: IndexArray

    def __post_init__(self) -> None:
        n_items, n_shown = len(self.slots) - 1, len(self.shown_items)
        lengths = {
            "counts": (self.counts.shape, (self.spec.layout(n_items).n_cells, 2)),
            "numbers": (len(self.numbers), n_items + 1),
            "offsets": (int(self.offsets[-1]), n_shown),
            "shown_expected": (len(self.shown_expected), n_shown),
            "shown_came": (len(self.shown_came), n_shown),
            "shown_at": (len(self.shown_at), n_shown),
        }
        for name, (actual, expected) in lengths.items():
            if actual != expected:
                raise ShapeError(
                    f"{name} of the click head must be {expected} for {n_items} items and {n_shown} "
                    f"exposures, got {actual}; pass the arrays of one model"
                )
        if not (np.isfinite(self.counts).all() and (self.counts >= 0).all()):
            raise DataError(
                "counts of the click head must be finite and 0 or more, got "
                f"{self.counts.min()} to {self.counts.max()}; count the events again"
            )
        # Falling offsets would give one user what another was shown.
        if self.offsets[0] != 0 or (np.diff(self.offsets) < 0).any():
            raise DataError(
                f"offsets of the click head must rise from 0, got {self.offsets[:3].tolist()} …; export again"
            )

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Returns the arrays by the names of their files."""
        return {array_file(name): getattr(self, name) for name in _ARRAYS}
