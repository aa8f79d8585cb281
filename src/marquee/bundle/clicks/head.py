"""Says how likely a click on each candidate is, and a conversion after it, at the place that it would stand.

Describes candidates as training described exposures, by the same functions. Decides nothing: what a
probability is worth, and what becomes of one that is not finite, is the caller's.
"""

from dataclasses import dataclass

import numpy as np

from marquee.bundle.clicks.contents import GRAPH_FILE, GRAPH_INPUTS, HeadContents
from marquee.bundle.graphs import Graph
from marquee.core.arrays import BoolArray, FloatArray, IndexArray, TokenArray
from marquee.core.ids import PADDING_INDEX
from marquee.features import FeatureArrays
from marquee.features.exposures.counts import CountTable, FixedCounts
from marquee.features.exposures.places import Places
from marquee.features.exposures.shown_before import Shown, ShownBefore, describe, directions

_SECONDS_PER_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Asker:
    """For whom candidates are scored.

    Attributes:
        user: user_index of the bundle; 0 for somebody unknown, or whose past may not be read.
        embedding: Of the query tower, (dim,) float32; None where there is nothing to go by.
        tokens: Of user and context features, (1, n_token_columns) int32.
        timestamp: Seconds since 1970 UTC.
    """

    user: int
    embedding: FloatArray | None
    tokens: TokenArray
    timestamp: int


@dataclass(frozen=True, slots=True)
class ScoredItems:
    """Candidates as a head reads them, n of each.

    Attributes:
        items: item_index of the bundle, int64; 0 for one that the bundle does not hold.
        vectors: Item vectors, (n, dim) float32.
        slots: Rows of the item features, (n, n_item_slots) int64.
        numbers: Numeric features, and whether it is an ad, (n, n_numbers) float32.
    """

    items: IndexArray
    vectors: FloatArray
    slots: IndexArray
    numbers: FloatArray


@dataclass(frozen=True, slots=True)
class ClickProbabilities:
    """Probabilities of n candidates.

    Attributes:
        click: Probability of a click, (n,) float32.
        conversion: Probability of a conversion after a click, (n,) float32.
    """

    click: FloatArray
    conversion: FloatArray

    @property
    def is_finite(self) -> BoolArray:
        """Which candidates both are known of, (n,) bool: no others may be bid for."""
        return np.isfinite(self.click) & np.isfinite(self.conversion)


class ClickHead:
    """A loaded head. Several threads may ask at a time.

    Args:
        contents: Its files.
        item_vectors: Of the bundle, (n_items + 1, dim) float32.
        has_item_bias: Whether the last coordinate of an item vector is the item's bias.
    """

    def __init__(self, contents: HeadContents, item_vectors: FloatArray, *, has_item_bias: bool) -> None:
        self.spec = contents.spec
        self.places = Places(contents.spec.places)
        self.graph = Graph(GRAPH_FILE, contents.graph, GRAPH_INPUTS)
        self._contents = contents
        self._vectors = item_vectors
        self._n_directions = item_vectors.shape[1] - int(has_item_bias)
        layout = contents.spec.layout(len(contents.slots) - 1)
        self._layout = layout
        came, expected = contents.counts.T.astype(np.float64)
        self._counts = FixedCounts(CountTable(layout, came, expected))
        self._widths = tuple(column.n_columns for column in layout.item_columns)

    def stop(self) -> None:
        """Ends what its graph is computing, for good."""
        self.graph.stop()

    def own_items(self, items: IndexArray) -> ScoredItems:
        """Returns items of the bundle as candidates."""
        contents = self._contents
        return ScoredItems(
            items, self._vectors[items], contents.slots[items].astype(np.int64), contents.numbers[items]
        )

    def item_rows(self, features: FeatureArrays, is_ad: BoolArray) -> tuple[IndexArray, FloatArray]:
        """Returns the slots and numbers of items that the bundle does not hold, n rows each.

        Args:
            features: Item features by the bundle's encoder, n rows.
            is_ad: (n,) bool.
        """
        return self._layout.item_slots(features.tokens), item_numbers(features, is_ad)

    def probabilities(self, asker: Asker, candidates: ScoredItems, place: IndexArray) -> ClickProbabilities:
        """Returns the probabilities of each candidate at its place; NaN where its score is not finite.

        Args:
            asker: For whom.
            candidates: n of them.
            place: Number of the place that each would stand at, (n,); see `places`.
        """
        if not len(candidates.items):
            return ClickProbabilities(np.zeros(0, np.float32), np.zeros(0, np.float32))
        score = np.full(len(candidates.items), self.spec.mean_score, dtype=np.float32)
        if asker.embedding is not None:
            # A vector that is not finite makes no noise here: its score is none, and is told as such below.
            with np.errstate(invalid="ignore", over="ignore"):
                score = candidates.vectors @ asker.embedding
        said = self.graph.run(
            {"columns": self.columns(asker, candidates), "place": place, "score": score}
        )  # (n, 2)
        # The graph holds back what is far away: infinity would come out as an ordinary number.
        said = np.where(np.isfinite(score)[:, None], said, np.float32(np.nan))
        return ClickProbabilities(said[:, 0], said[:, 1])

    def columns(self, asker: Asker, candidates: ScoredItems) -> FloatArray:
        """Returns the columns that describe each candidate, (n, n_columns) float32."""
        keys = self._layout.keys(asker.tokens, candidates.items, candidates.slots)
        shown = Shown(
            candidates.items[None], self._directions(candidates.vectors)[None], candidates.slots[None]
        )
        of_user = describe(shown, self._before(asker), self._widths)[0]
        return np.concatenate([self._counts.read(keys), of_user, candidates.numbers], axis=1)

    def _before(self, asker: Asker) -> ShownBefore:
        """Returns the latest exposures of a user; none for user 0."""
        contents = self._contents
        end = int(contents.offsets[asker.user + 1])
        start = max(int(contents.offsets[asker.user]), end - self.spec.window)
        # Nobody's past is not a past that many share.
        rows = slice(start, end) if asker.user != PADDING_INDEX else slice(0, 0)
        items = contents.shown_items[rows].astype(np.int64)
        age = np.maximum(asker.timestamp - contents.shown_at[rows], 0) / _SECONDS_PER_DAY
        return ShownBefore(
            items=items[None],
            expected=contents.shown_expected[rows][None],
            came=contents.shown_came[rows].astype(np.float32)[None],
            age_days=age.astype(np.float32)[None],
            directions=self._directions(self._vectors[items])[None],
            tokens=contents.slots[items].astype(np.int64)[None],
        )

    def _directions(self, vectors: FloatArray) -> FloatArray:
        """Returns vectors of length 1 without the bias."""
        return directions(vectors[:, : self._n_directions])


def item_numbers(features: FeatureArrays, is_ad: BoolArray) -> FloatArray:
    """Returns the numeric features of items, and whether each is an ad, (n, n_numbers) float32."""
    return np.concatenate([features.numeric, is_ad[:, None]], axis=1, dtype=np.float32)
