"""How a model does for parts of the users and parts of the items: where a good mean hides a bad corner.

A slice of users is judged by all their targets; a slice of items by those targets alone, still ranked
among the full catalog. Slices with too few users are suppressed and counted: their numbers would be noise,
and might tell of single people.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt

from marquee.core.arrays import BoolArray, Float64Array, IndexArray
from marquee.core.ids import PADDING_INDEX
from marquee.core.item_lists import ItemLists
from marquee.errors import ShapeError
from marquee.evaluation.evaluation import Evaluation
from marquee.evaluation.intervals import Estimate, estimate_means, widening
from marquee.evaluation.metrics import METRICS

# Fewer give noise, and might tell of single people.
MIN_USERS = 50
MAX_SLICES = 12

Members = Mapping[str, BoolArray]
"""Value of a column → which users, (n_queries,), or items, (n_items + 1,), have it."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One part, judged.

    Attributes:
        value: What its members have in common.
        n_users: Users that the numbers are of.
        estimates: Model → the metric.
        differences: Other model → the judged model minus it, paired.
    """

    value: str
    n_users: int
    estimates: Mapping[str, Estimate]
    differences: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class SlicedColumn:
    """One way to part users or items.

    Attributes:
        name: E.g. `user: history` or `item: genres`.
        slices: Those that are large enough, in the order given; at most `MAX_SLICES`, the largest.
        n_suppressed: Slices with fewer than `MIN_USERS` users.
        n_beyond: Slices left out beyond `MAX_SLICES`.
    """

    name: str
    slices: tuple[Slice, ...]
    n_suppressed: int
    n_beyond: int


@dataclass(frozen=True)
class SlicedMetric:
    """The metric on every slice.

    Attributes:
        metric: E.g. `ndcg@10`.
        model: The model that the worst slices are of.
        overall: Its metric over all users.
        columns: Ways to part.
        unsliced: Declared column → why it is not sliced.
    """

    metric: str
    model: str
    overall: Estimate
    columns: tuple[SlicedColumn, ...]
    unsliced: Mapping[str, str] = field(default_factory=dict)

    @property
    def worst(self) -> tuple[str, ...]:
        """Names the lowest slice of users and that of items, and says if chance may have made it.

        Usual for users is the metric over all of them. A slice of items leaves each user fewer targets,
        which changes the metric by itself: usual is the mean of the column's slices.
        """
        found = []
        for side in ("user", "item"):
            candidates = [
                (part.estimates[self.model], self.usual(column), column.name, part)
                for column in self.columns
                for part in column.slices
                if column.name.startswith(side)
            ]
            if len(candidates) < 2:
                continue
            estimate, usual, name, part = min(candidates, key=lambda candidate: candidate[0].mean)
            # The lowest of many was picked for being low: its end is widened before it is called bad.
            highest = estimate.mean + widening(len(candidates)) * (estimate.high - estimate.mean)
            chance = "" if highest < usual else " Among so many slices chance alone may make one as low."
            found.append(
                f"Worst slice of {side}s, of {len(candidates)}: {name} = {part.value} with {self.metric} "
                f"{estimate.mean:.4f} (95\u00a0% interval {estimate.low:.4f} to {estimate.high:.4f}, "
                f"{part.n_users:,} users), against {usual:.4f} "
                f"{'over all users' if side == 'user' else 'on average of these slices'}.{chance}"
            )
        return tuple(found)

    def usual(self, column: "SlicedColumn") -> float:
        """Returns the estimate that the slices of a column are compared with."""
        if column.name.startswith("user"):
            return self.overall.mean
        # Not the overall mean: fewer targets per user change the metric by themselves.
        means = [part.estimates[self.model].mean for part in column.slices]
        return float(np.average(means, weights=[part.n_users for part in column.slices]))

    def to_json_dict(self) -> dict[str, object]:
        """Returns everything, ready for `json.dumps`."""
        return {**asdict(self), "worst": list(self.worst)}


def slice_metric(
    evaluation: Evaluation,
    metric: str,
    targets: ItemLists,
    users: Mapping[str, Members],
    items: Mapping[str, Members],
    generator: np.random.Generator,
    unsliced: Mapping[str, str] | None = None,
) -> SlicedMetric:
    """Returns the metric of every model on every slice that is large enough.

    Args:
        evaluation: Gives lists and values.
        metric: E.g. `ndcg@10`.
        targets: Those that counted, of all queries of the task.
        users: Column → value → its queries, (n_queries of the task,) bool.
        items: Column → value → its items, (n_items + 1,) bool.
        generator: Draws the users of each resample.
        unsliced: Declared column → why it is not sliced.
    """
    queries = evaluation.query_index
    asked = targets.rows(queries)
    columns = []
    for name, members in users.items():
        of_users = {value: _of_users(evaluation, metric, is_in[queries]) for value, is_in in members.items()}
        columns.append(_column(f"user: {name}", of_users, generator))
    for name, members in items.items():
        of_items = {value: _of_items(evaluation, metric, asked, is_in) for value, is_in in members.items()}
        columns.append(_column(f"item: {name}", of_items, generator))
    model = evaluation.model
    return SlicedMetric(
        metric, model, evaluation.models[model].estimates[metric], tuple(columns), unsliced or {}
    )


def members_of(values: Sequence[object]) -> dict[str, npt.NDArray[np.bool_]]:
    """Returns value → where it stands; a list stands for each of its values, None for none.

    Example:
        >>> {value: is_in.tolist() for value, is_in in members_of(["a", None, ["b", "a"]]).items()}
        {'a': [True, False, True], 'b': [False, False, True]}
    """
    found: dict[str, npt.NDArray[np.bool_]] = {}
    for row, value in enumerate(values):
        for one in value if isinstance(value, list | tuple) else (value,):
            if one is not None:
                found.setdefault(str(one), np.zeros(len(values), dtype=np.bool_))[row] = True
    return dict(sorted(found.items()))


def by_history(n_known: IndexArray) -> dict[str, BoolArray]:
    """Returns new, light, medium and heavy users by the number of events before the part judged.

    New users have none; the others are parted at the thirds of their number of events.

    Args:
        n_known: Events of each query, (n_queries,) int64.

    Example:
        >>> parts = by_history(np.array([0, 1, 2, 9]))
        >>> {name: is_in.tolist().index(True) for name, is_in in parts.items()}
        {'new (no history)': 0, 'light (up to 1)': 1, 'medium (up to 2)': 2, 'heavy (more)': 3}
    """
    is_new = n_known == 0
    if is_new.all():
        return {"new (no history)": is_new}
    some = np.sort(n_known[~is_new])
    # Edges are numbers of events: users with equally many are never parted.
    light, medium = (int(some[max(len(some) * part // 3 - 1, 0)]) for part in (1, 2))
    return {
        "new (no history)": is_new,
        f"light (up to {light})": ~is_new & (n_known <= light),
        f"medium (up to {medium})": (n_known > light) & (n_known <= medium),
        "heavy (more)": n_known > medium,
    }


def by_popularity(counts: IndexArray) -> dict[str, BoolArray]:
    """Returns head, middle and tail items, a third of all training events each, and cold ones without.

    Args:
        counts: Training events of each item, (n_items + 1,) int64; entry 0 is 0.

    Example:
        >>> parts = by_popularity(np.array([0, 4, 2, 2, 1, 1, 1, 1, 0]))
        >>> {name: np.flatnonzero(is_in).tolist() for name, is_in in parts.items()}
        {'head': [1], 'middle': [2, 3], 'tail': [4, 5, 6, 7], 'cold': [8]}
    """
    order = np.argsort(-counts, kind="stable")
    before = np.empty(len(counts), dtype=np.int64)  # events that go to more popular items
    before[order] = np.cumsum(counts[order]) - counts[order]
    n_events = int(counts.sum())
    has_events, is_item = counts > 0, np.arange(len(counts)) != PADDING_INDEX
    return {
        # Times 3 in integers: a third of the events need not be one.
        "head": has_events & (3 * before < n_events),
        "middle": has_events & (3 * before >= n_events) & (3 * before < 2 * n_events),
        "tail": has_events & (3 * before >= 2 * n_events),
        "cold": is_item & ~has_events,
    }


def _of_users(evaluation: Evaluation, metric: str, is_in: BoolArray) -> dict[str, Float64Array]:
    """Returns model → the values of a slice of users."""
    return {name: model.values[metric][is_in] for name, model in evaluation.models.items()}


def _of_items(
    evaluation: Evaluation, metric: str, asked: ItemLists, is_in: BoolArray
) -> dict[str, Float64Array]:
    """Returns model → the values of the users that have targets in a slice of items."""
    if asked.item_index.max(initial=0) >= len(is_in):
        raise ShapeError(
            f"a slice of items must have one value per item and one for padding, got {is_in.shape} for item "
            f"{asked.item_index.max()}"
        )
    name, k = metric.split("@")
    # The targets alone are restricted: lists stay as ranked among the full catalog.
    inside = asked.take(is_in[asked.item_index])
    has_target = inside.sizes > 0
    wanted = inside.rows(np.flatnonzero(has_target))
    queries = evaluation.query_index[has_target]
    return {
        model_name: METRICS[name](wanted.contains(model.lists.items[queries, : int(k)]), wanted.sizes)
        for model_name, model in evaluation.models.items()
    }


def _column(
    name: str, parts: Mapping[str, dict[str, Float64Array]], generator: np.random.Generator
) -> SlicedColumn:
    """Returns the slices that are large enough, with intervals."""
    sizes = {value: len(next(iter(models.values()))) for value, models in parts.items()}
    present = [value for value in parts if sizes[value] > 0]
    enough = [value for value in present if sizes[value] >= MIN_USERS]
    largest = sorted(enough, key=lambda value: -sizes[value])[:MAX_SLICES]
    slices = []
    # In the order given and not by size: thirds are read from low to high.
    for value in enough:
        if value not in largest:
            continue
        own, *others = parts[value].values()
        columns = np.stack([own, *others, *(own - other for other in others)], axis=1)
        is_difference = np.arange(columns.shape[1]) > len(others)
        estimates = estimate_means(columns, generator, is_difference=is_difference)
        names = list(parts[value])
        slices.append(
            Slice(
                value,
                sizes[value],
                dict(zip(names, estimates[: len(names)], strict=True)),
                dict(zip(names[1:], estimates[len(names) :], strict=True)),
            )
        )
    return SlicedColumn(name, tuple(slices), len(present) - len(enough), len(enough) - len(largest))
