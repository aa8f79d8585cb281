"""Inspects a judged model: a map of its item embeddings, and the nearest neighbours of some items.

`mistakes` counts its errors. An inspection gives ideas, not decisions: its samples are small and have no
intervals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from marquee.core.arrays import BoolArray, FloatArray, IndexArray
from marquee.errors import ShapeError
from marquee.evaluation.analyses.mistakes import Mistakes

N_POINTS = 600
N_ALIKE = 10
N_PROBED = 300
N_VALUES, MIN_VALUES = 6, 3
OTHER = "other"


@dataclass(frozen=True, slots=True)
class MapPoint:
    """One item of the map.

    Attributes:
        label: Its title or id.
        x: First principal component.
        y: Second principal component.
        value: Its value of the attribute; `OTHER` for the rare ones.
        is_popular: Whether it is among the ones to be labelled.
    """

    label: str
    x: float
    y: float
    value: str
    is_popular: bool


@dataclass(frozen=True)
class ItemMap:
    """Item embeddings in two dimensions.

    Attributes:
        attribute: What the items are coloured by.
        explained: Share of the variance that the two dimensions hold.
        agreement: Share of the `N_ALIKE` nearest neighbours, in all dimensions, that share a value.
        chance: The same share among items drawn at random.
        points: Popular items and some others drawn at random.
        n_items: Items that could have been drawn: those with training events.
    """

    attribute: str
    explained: float
    agreement: float
    chance: float
    points: tuple[MapPoint, ...]
    n_items: int


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An item near another one.

    Attributes:
        label: Its title or id.
        cosine: Of the two embeddings.
    """

    label: str
    cosine: float


@dataclass(frozen=True)
class Neighbourhood:
    """One item with its nearest neighbours.

    Attributes:
        label: The item asked about.
        popularity: Its third of the training events: head, middle or tail.
        n_events: Its training events.
        neighbours: Nearest first.
    """

    label: str
    popularity: str
    n_events: int
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True)
class ModelInspection:
    """Item map, neighbourhoods and mistakes of one judged model.

    Attributes:
        item_map: Item embeddings in two dimensions.
        neighbourhoods: Nearest neighbours of some items.
        mistakes: Targets ranked low, and items shown too often or never.
    """

    item_map: ItemMap
    neighbourhoods: tuple[Neighbourhood, ...]
    mistakes: Mistakes

    def to_json_dict(self) -> dict[str, object]:
        """Returns everything, ready for `json.dumps`."""
        return asdict(self)


@dataclass(frozen=True)
class CatalogView:
    """Items as an inspection sees them, row 0 for padding.

    Attributes:
        labels: Title or id, n_items + 1.
        counts: Training events, (n_items + 1,) int64.
        vectors: Item embeddings, (n_items + 1, dim) float32.
        attribute: Name of what items are coloured by.
        members: Its values → which items have it, (n_items + 1,) bool.
    """

    labels: Sequence[str]
    counts: IndexArray
    vectors: FloatArray
    attribute: str
    members: Mapping[str, BoolArray]

    def __post_init__(self) -> None:
        sizes = {len(self.labels), len(self.counts), len(self.vectors), *map(len, self.members.values())}
        if len(sizes) != 1:
            raise ShapeError(
                f"labels, counts, vectors and members must have one row per item and one for padding, got "
                f"{sorted(sizes)} rows"
            )


def principal_components(vectors: FloatArray, n: int = 2) -> tuple[FloatArray, float]:
    """Returns vectors along their directions of largest variance, (rows, n), and its share in these.

    The sign of each direction is such that its largest weight is positive: equal input, equal output.

    Source:
        Pearson 1901, Philosophical Magazine 2(11).

    Example:
        >>> along, explained = principal_components(np.array([[0, 0], [2, 0], [4, 0]], dtype=np.float32), 1)
        >>> along.ravel().tolist(), explained
        ([-2.0, 0.0, 2.0], 1.0)
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    # Of the (dim, dim) covariance: its size does not depend on the number of items.
    variances, directions = np.linalg.eigh(centred.T @ centred)
    # eigh returns ascending eigenvalues.
    directions = directions[:, ::-1][:, :n]
    # The sign of an eigenvector is arbitrary; fixed by its largest weight, the map is the same each time.
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=0)[None], axis=0)
    total = float(variances.sum())
    explained = float(variances[::-1][:n].sum()) / total if total > 0 else 0.0
    return (centred @ (directions * np.sign(largest))).astype(np.float32), explained


def most_telling(
    columns: Mapping[str, Mapping[str, BoolArray]], otherwise: tuple[str, Mapping[str, BoolArray]]
) -> tuple[str, Mapping[str, BoolArray]]:
    """Returns the column, and its values, whose commonest values leave the fewest items without a colour.

    Args:
        columns: Column → value → its items, (n_items + 1,) bool.
        otherwise: What is returned where no column has three values.

    Example:
        >>> kinds = {name: np.array([False, name == "a", name == "b"]) for name in ("a", "b", "c")}
        >>> most_telling({"kind": kinds}, ("popularity", {}))[0], most_telling({}, ("popularity", {}))[0]
        ('kind', 'popularity')
    """
    covered = {
        name: _common(members, N_VALUES)[1] for name, members in columns.items() if len(members) >= MIN_VALUES
    }
    if not covered:
        return otherwise
    best = max(covered, key=lambda name: covered[name])
    return best, columns[best]


def map_items(view: CatalogView, generator: np.random.Generator, n_values: int = N_VALUES) -> ItemMap:
    """Returns where items lie, coloured by the commonest values of the attribute.

    Args:
        view: The items.
        generator: Draws items.
        n_values: Values that get a colour of their own.
    """
    trained = np.flatnonzero(view.counts > 0)
    directions = _unit(view.vectors)
    # Popular items are those a reader knows; the others are drawn, or the map would be of the head alone.
    popular = trained[np.argsort(-view.counts[trained], kind="stable")][: N_POINTS // 3]
    rest = np.setdiff1d(trained, popular)
    drawn = generator.choice(rest, size=min(len(rest), N_POINTS - len(popular)), replace=False)
    shown = np.concatenate([popular, np.sort(drawn)])
    # Fitted on all trained items, not on those shown: the draw must not turn the map.
    along, explained = principal_components(directions[trained])
    places = along[np.searchsorted(trained, shown)]
    values = _values(view.members, shown, n_values)
    agreement, chance = _agreement(view, trained, directions, generator)
    points = tuple(
        MapPoint(view.labels[item], round(float(x), 4), round(float(y), 4), value, row < N_ALIKE)
        for row, (item, (x, y), value) in enumerate(zip(shown.tolist(), places, values, strict=True))
    )
    return ItemMap(view.attribute, explained, agreement, chance, points, len(trained))


def neighbourhoods(
    view: CatalogView, thirds: Mapping[str, BoolArray], generator: np.random.Generator, n_each: int = 2
) -> tuple[Neighbourhood, ...]:
    """Returns the nearest items of some drawn from each third of the training events, not the prettiest.

    Args:
        view: The items.
        thirds: `slices.by_popularity` of the items; cold ones are not asked about.
        generator: Draws the items.
        n_each: How many of each third, if there are that many.
    """
    directions, trained = _unit(view.vectors), np.flatnonzero(view.counts > 0)
    found = []
    for popularity in ("head", "middle", "tail"):
        candidates = np.flatnonzero(thirds[popularity])
        drawn = generator.choice(candidates, size=min(n_each, len(candidates)), replace=False)
        for item in np.sort(drawn).tolist():
            nearest, cosines = _nearest(directions, trained, item, n=5)
            found.append(
                Neighbourhood(
                    view.labels[item],
                    popularity,
                    int(view.counts[item]),
                    tuple(
                        Neighbour(view.labels[other], round(float(cosine), 4))
                        for other, cosine in zip(nearest.tolist(), cosines, strict=True)
                    ),
                )
            )
    return tuple(found)


def _unit(vectors: FloatArray) -> FloatArray:
    """Returns the vectors at length 1; a zero vector stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: FloatArray = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return unit


def _nearest(directions: FloatArray, among: IndexArray, item: int, n: int) -> tuple[IndexArray, FloatArray]:
    """Returns the n items with the largest cosine to an item, without it, and the cosines."""
    others = among[among != item]
    cosines = directions[others] @ directions[item]
    # Equal cosines go by item index: the same neighbours each time.
    best = np.lexsort((others, -cosines))[:n]
    return others[best], cosines[best]


def _values(members: Mapping[str, BoolArray], items: IndexArray, n_values: int) -> list[str]:
    """Returns the value that each item is coloured by: the rarest that it has of the commonest values."""
    common, _ = _common({value: is_in[items] for value, is_in in members.items()}, n_values)
    found = np.full(len(items), OTHER, dtype=object)
    for value in common:  # the rarest is the last to be written
        found[members[value][items]] = value
    return [str(value) for value in found]


def _common(members: Mapping[str, BoolArray], n_values: int) -> tuple[list[str], int]:
    """Returns the values of the most items, the commonest first, and how many items have one of them."""
    common = sorted(members, key=lambda value: -int(members[value].sum()))[:n_values]
    return common, int(np.any([members[value] for value in common], axis=0).sum()) if common else 0


def _agreement(
    view: CatalogView, trained: IndexArray, directions: FloatArray, generator: np.random.Generator
) -> tuple[float, float]:
    """Returns how often near items share a value of the attribute, and how often any two do."""
    values = np.stack([*view.members.values()], axis=1)  # (n_items + 1, n_values)
    if len(trained) < 2:
        return float("nan"), float("nan")
    probed = generator.choice(trained, size=min(N_PROBED, len(trained)), replace=False)
    # An item without a value can agree with none.
    probed = probed[values[probed].any(axis=1)]
    near, far = [], []
    for item in probed.tolist():
        nearest, _ = _nearest(directions, trained, item, N_ALIKE)
        # What chance makes, by as many items: a value that most items have agrees by itself.
        strangers = generator.choice(trained, size=len(nearest))
        strangers = strangers[strangers != item]
        near.append((values[nearest] & values[item]).any(axis=1).mean())
        far.append((values[strangers] & values[item]).any(axis=1).mean() if len(strangers) else np.nan)
    return float(np.mean(near)), float(np.nanmean(far))
