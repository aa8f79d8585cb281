"""Qualities of recommendation lists beside accuracy: spread, novelty, diversity, calibration to taste.

Every function takes the lists of all users, (n_users, k) int64 with 0 for an empty place, and returns one
number. None of them knows what the users did next but `serendipity`. None says by itself that a model is
good: they are read beside accuracy.
"""

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from marquee.core.arrays import BoolArray, Float64Array, FloatArray, IndexArray
from marquee.core.ids import PADDING_INDEX
from marquee.core.item_lists import ItemLists
from marquee.errors import DataError, ShapeError

# Without it one value that a list lacks would make the divergence infinite.
DISTRIBUTION_SMOOTHING = 0.01
# Bounds the arrays of (rows, k, dim) and (rows, k, k) below.
ROWS_AT_ONCE = 1024

ItemCounts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BeyondAccuracy:
    """The lists of one model in numbers; NaN where the data say nothing of it.

    Attributes:
        gini: See `gini`.
        novelty: See `novelty`.
        diversity_by_embedding: See `diversity_by_embedding`.
        diversity_by_attribute: See `diversity_by_attribute`.
        serendipity: See `serendipity`.
        popularity_lift: See `popularity_lift`.
        miscalibration: See `miscalibration`.
        overlap: See `overlap`.
    """

    gini: float
    novelty: float
    diversity_by_embedding: float
    diversity_by_attribute: float
    serendipity: float
    popularity_lift: float
    miscalibration: float
    overlap: float

    def to_json_dict(self) -> dict[str, float | None]:
        """Returns name → value, None in place of NaN."""
        return {name: None if np.isnan(value) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class CatalogFacts:
    """Facts of the items, from training alone.

    Attributes:
        counts: Training events of each item, (n_items + 1,) int64; entry 0 is 0.
        vectors: Item embeddings, (n_items + 1, dim) float32: the same for all models compared; None where
            there are none.
        attributes: Which values of an attribute an item has, (n_items + 1, n_values) bool; None where no
            attribute is declared.
    """

    counts: ItemCounts
    vectors: FloatArray | None = None
    attributes: BoolArray | None = None

    def __post_init__(self) -> None:
        for name in ("vectors", "attributes"):
            rows = getattr(self, name)
            if rows is not None and len(rows) != len(self.counts):
                raise ShapeError(f"{name} must have {len(self.counts)} rows as counts has, got {len(rows)}")


def describe_lists(
    items: IndexArray,
    relevance: BoolArray,
    expected: IndexArray | None,
    histories: ItemLists,
    facts: CatalogFacts,
) -> BeyondAccuracy:
    """Returns all numbers of one model's lists.

    Args:
        items: The lists, (n_users, k) int64, best first.
        relevance: Which of them are targets, (n_users, k).
        expected: Lists that anybody would have made, (n_users, k): those of the popularity baseline;
            None if it was not evaluated.
        histories: What each user had before, n_users lists.
        facts: Of the items.
    """
    nothing = float("nan")
    return BeyondAccuracy(
        gini=gini(items, n_items=len(facts.counts) - 1),
        novelty=novelty(items, facts.counts),
        diversity_by_embedding=nothing
        if facts.vectors is None
        else diversity_by_embedding(items, facts.vectors),
        diversity_by_attribute=nothing
        if facts.attributes is None
        else diversity_by_attribute(items, facts.attributes),
        serendipity=nothing if expected is None else serendipity(items, relevance, expected),
        popularity_lift=popularity_lift(items, histories, facts.counts),
        miscalibration=nothing
        if facts.attributes is None
        else miscalibration(items, histories, facts.attributes),
        overlap=overlap(items),
    )


def gini(items: IndexArray, n_items: int) -> float:
    """Returns how unequally the lists show the catalog: 0 for all items alike, near 1 for a few alone.

    Args:
        items: (n_users, k) int64; 0 is no item.
        n_items: Items that could have been recommended.

    Source:
        Adomavicius and Kwon 2012, IEEE TKDE 24(5), section 3.3. Differs from it: 0 is equality, as in
        economics, so lower is more even.

    Example:
        >>> gini(np.array([[1, 2], [3, 4]]), n_items=4), gini(np.array([[1], [1]]), n_items=4)
        (0.0, 0.75)
    """
    # The formula weighs by rank, and rank 1 is the item shown least.
    shown = np.sort(_shown(items, n_items))
    total = shown.sum()
    if not total:
        raise DataError(f"lists of shape {items.shape} must hold an item, got none; see the exclusions")
    ranks = np.arange(1, n_items + 1)
    return float((2 * ranks - n_items - 1) @ shown / (n_items * total))


def novelty(items: IndexArray, counts: ItemCounts) -> float:
    """Returns the mean self-information of the recommended items in bits: rarely used items have more.

    −log2 of the item's share of all training events; an item without events counts as one with one.

    Source:
        Zhou et al. 2010, PNAS 107(10), "surprisal". Differs from it: shares of events, not of users.

    Example:
        >>> novelty(np.array([[1, 2]]), np.array([0, 2, 2]))
        1.0
    """
    # Counted as one event, an item without events has finite information.
    shares = np.maximum(counts[1:], 1) / max(int(counts[1:].sum()), 1)
    information = -np.log2(shares)
    return float(information[items[items != PADDING_INDEX] - 1].mean())


def diversity_by_embedding(items: IndexArray, vectors: FloatArray) -> float:
    """Returns 1 minus the mean cosine of the pairs within a list, averaged over lists of 2 or more.

    Source:
        Ziegler et al. 2005, WWW, section 3.2 (intra-list similarity), with the cosine of embeddings.

    Example:
        >>> vectors = np.array([[0, 0], [1, 0], [0, 1], [2, 0]], dtype=np.float32)
        >>> diversity_by_embedding(np.array([[1, 2], [1, 3]]), vectors)  # 1 and 0
        0.5
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    # A zero vector stays zero: an item without a vector adds nothing to the cosines.
    unit = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    # An empty place must add none either, whatever stands in the padding row.
    unit[PADDING_INDEX] = 0
    found = []
    for start in range(0, len(items), ROWS_AT_ONCE):
        block = items[start : start + ROWS_AT_ONCE]
        chosen = unit[block]  # (rows, k, dim)
        n = (block != PADDING_INDEX).sum(axis=1)
        own = np.square(chosen).sum(axis=(1, 2))  # 1 for each item with a vector
        # |Σ v|² − Σ |v|² is the sum over all pairs: no array of (rows, k, k) is needed.
        pairs = np.square(chosen.sum(axis=1)).sum(axis=1) - own  # each pair twice
        some = n > 1
        found.append(1 - pairs[some] / (n[some] * (n[some] - 1)))
    return _mean(np.concatenate(found) if found else np.zeros(0))


def diversity_by_attribute(items: IndexArray, attributes: BoolArray) -> float:
    """Returns the mean Jaccard distance of the attribute values of the pairs within a list.

    Pairs without any value on either side say nothing and are left out.

    Source:
        Ziegler et al. 2005, WWW, section 3.2, with the distance of Jaccard 1901.

    Example:
        >>> attributes = np.array([[0, 0], [1, 0], [1, 1]], dtype=bool)
        >>> diversity_by_attribute(np.array([[1, 2]]), attributes)
        0.5
    """
    found = []
    first, second = np.triu_indices(items.shape[1], k=1)
    for start in range(0, len(items), ROWS_AT_ONCE):
        block = items[start : start + ROWS_AT_ONCE]
        has = attributes[block].astype(np.float32)  # (rows, k, n_values)
        # (rows, k, k), in floats: a product of bools would say whether values are shared, not how many.
        both = np.einsum("rkv,rlv->rkl", has, has, optimize=True)
        n = has.sum(axis=2)  # (rows, k)
        either = n[:, :, None] + n[:, None, :] - both
        is_item = block != PADDING_INDEX
        is_pair = is_item[:, first] & is_item[:, second] & (either[:, first, second] > 0)
        # 1 in place of 0 keeps the division silent where there is no pair.
        union = np.where(is_pair, either[:, first, second], 1)
        distances = np.where(is_pair, 1 - both[:, first, second] / union, 0)
        n_pairs = is_pair.sum(axis=1)
        found.append(distances.sum(axis=1)[n_pairs > 0] / n_pairs[n_pairs > 0])
    return _mean(np.concatenate(found) if found else np.zeros(0))


def serendipity(items: IndexArray, relevance: BoolArray, expected: IndexArray) -> float:
    """Returns the share of the places that hold a target which the list of expected items does not.

    Source:
        Ge, Delgado-Battenfeld and Jannach 2010, RecSys, section 2.3: useful and not of the primitive
        model, here the popularity baseline.

    Example:
        >>> serendipity(np.array([[1, 2]]), np.array([[True, True]]), expected=np.array([[2, 9]]))
        0.5
    """
    is_expected = ItemLists.of(expected.tolist()).contains(items)
    return float((relevance & ~is_expected).mean())


def popularity_lift(items: IndexArray, histories: ItemLists, counts: ItemCounts) -> float:
    """Returns by how much lists are more popular than what the same users had, relative: 0 for alike.

    Mean popularity of a user's list over that of the user's history, averaged each over users, minus 1.
    Users without a history are left out.

    Source:
        Abdollahpouri, Mansoury, Burke and Mobasher 2020, RecSys, "popularity lift" over one group.

    Example:
        >>> popularity_lift(np.array([[1]]), ItemLists.of([[2, 2]]), np.array([0, 30, 20]))
        0.5
    """
    n_events = np.bincount(histories.query_index, minlength=len(histories))
    of_history = np.bincount(
        histories.query_index, weights=counts[histories.item_index], minlength=len(histories)
    )
    is_item = items != PADDING_INDEX
    n_shown = is_item.sum(axis=1)
    # The same users on both sides, or lists would be held against the histories of others.
    some = (n_events > 0) & (n_shown > 0)
    before = (of_history[some] / n_events[some]).sum()
    after = (np.where(is_item, counts[items], 0).sum(axis=1)[some] / n_shown[some]).sum()
    return float(after / before - 1) if before > 0 else float("nan")


def miscalibration(items: IndexArray, histories: ItemLists, attributes: BoolArray) -> float:
    """Returns how far the mix of attribute values in a list is from that of the history: 0 for the same.

    Kullback-Leibler divergence, in bits, of the list's shares from the history's, averaged over users; an
    item with several values counts in equal parts for each. The list's shares are smoothed by 1 % of the
    history's, so that the divergence stays finite. Users without values on either side are left out.

    Source:
        Steck 2018, RecSys, "Calibrated Recommendations", equations 2 to 4, without the rank weights.

    Example:
        >>> attributes = np.array([[0, 0], [1, 0], [0, 1]], dtype=bool)
        >>> miscalibration(np.array([[1, 2]]), ItemLists.of([[1, 2, 2, 1]]), attributes)
        0.0
    """
    n_values = attributes.sum(axis=1, keepdims=True)
    shares = attributes / np.maximum(n_values, 1)  # (n_items + 1, n_values)
    found = []
    for start in range(0, len(items), ROWS_AT_ONCE):
        block = items[start : start + ROWS_AT_ONCE]
        first = histories.offsets[start]
        bounds = histories.offsets[start : start + len(block) + 1] - first
        past = histories.item_index[first : first + bounds[-1]]
        wanted = np.zeros((len(block), shares.shape[1]))
        # Unbuffered: `wanted[rows] += …` would keep one item alone of each repeated row.
        np.add.at(wanted, np.repeat(np.arange(len(block)), np.diff(bounds)), shares[past])
        shown = shares[block].sum(axis=1)
        some = (wanted.sum(axis=1) > 0) & (shown.sum(axis=1) > 0)
        p = wanted[some] / wanted[some].sum(axis=1, keepdims=True)
        q = shown[some] / shown[some].sum(axis=1, keepdims=True)
        smooth = (1 - DISTRIBUTION_SMOOTHING) * q + DISTRIBUTION_SMOOTHING * p
        # p ln p is 0 at p = 0, which a ratio of 1 gives.
        ratio = np.divide(p, smooth, out=np.ones_like(p), where=p > 0)
        found.append((p * np.log2(ratio)).sum(axis=1))
    return _mean(np.concatenate(found) if found else np.zeros(0))


def overlap(items: IndexArray) -> float:
    """Returns the share of its list that a user has in common with another one, averaged over all pairs.

    1 if everybody is shown the same. Exact, over all pairs: an item in c lists is shared by c(c − 1) of
    the ordered pairs.

    Source:
        Zhou et al. 2010, PNAS 107(10): 1 minus their personalisation.

    Example:
        >>> overlap(np.array([[1, 2], [1, 3], [1, 2]]))  # 1/2, 1/2 and 1
        0.6666666666666666
    """
    n_users, k = items.shape
    # No pair of users.
    if n_users < 2:
        return float("nan")
    shown = _shown(items, int(items.max(initial=0)))
    return float((shown * (shown - 1)).sum() / (n_users * (n_users - 1) * k))


def _shown(items: IndexArray, n_items: int) -> IndexArray:
    """Returns in how many lists each item stands, (n_items,)."""
    if items.max(initial=0) > n_items:
        raise DataError(
            f"items must be at most n_items ({n_items}), got {items.max()}; pass the full catalog"
        )
    return np.bincount(items.ravel(), minlength=n_items + 1)[1:]


def _mean(values: Float64Array) -> float:
    """Returns the mean, NaN of nothing."""
    return float(values.mean()) if len(values) else float("nan")
