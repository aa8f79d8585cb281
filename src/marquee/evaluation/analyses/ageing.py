"""How fast a model ages: its lists held against what users turned to, week by week after the training cutoff.

Nothing is ranked again and no part is read again: the lists of one evaluation, made at the start of the part
judged, are judged by the targets of each period alone. Model and baselines age by the same rule.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from marquee.core.arrays import Float64Array, IndexArray
from marquee.core.item_lists import ItemLists
from marquee.errors import DataError
from marquee.evaluation.analyses.slices import MIN_USERS
from marquee.evaluation.evaluation import Evaluation
from marquee.evaluation.intervals import Estimate, estimate_means
from marquee.evaluation.metrics import METRICS

DAY_S = 24 * 60 * 60
# Tried in this order: days only where there are no two weeks of enough users.
UNIT_DAYS = {"week": 7, "day": 1}


@dataclass(frozen=True, slots=True)
class Period:
    """The targets of one week or day.

    Attributes:
        number: Counted from the training cutoff, the first is 1.
        n_users: Users with targets in it.
        n_targets: Their targets in it.
        estimates: Model → the metric.
        differences: Other model → judged model minus it, paired.
    """

    number: int
    n_users: int
    n_targets: int
    estimates: Mapping[str, Estimate]
    differences: Mapping[str, Estimate]


@dataclass(frozen=True)
class Ageing:
    """A metric over the time since training.

    Attributes:
        metric: E.g. `ndcg@10`.
        model: The model under judgement.
        unit: `week`, or `day` where the part judged is too short for two weeks.
        periods: Those with at least `MIN_USERS` users, in order of time: two or more.
        n_suppressed: Periods with fewer.
        change: The model's metric in the last period minus the first, see `change_between`.
    """

    metric: str
    model: str
    unit: str
    periods: tuple[Period, ...]
    n_suppressed: int
    change: Estimate

    @property
    def sentence(self) -> str:
        """The course in words."""
        first, last = self.periods[0], self.periods[-1]
        means = [period.estimates[self.model].mean for period in (first, last)]
        course = (
            f"{self.metric} of {self.model} is {means[0]:.4f} in {self.unit} {first.number} after the "
            f"training cutoff and {means[1]:.4f} in {self.unit} {last.number}"
        )
        bounds = f"95\u00a0% interval of the change {self.change.low:+.4f} to {self.change.high:+.4f}"
        bounds = bounds.replace("-", "\u2212")
        if self.change.high < 0:
            return f"{course}: it falls ({bounds})."
        if self.change.low > 0:
            return f"{course}: it rises ({bounds})."
        return f"{course}: no change can be told ({bounds})."

    def to_json_dict(self) -> dict[str, object]:
        """Returns everything, ready for `json.dumps`."""
        return {**asdict(self), "sentence": self.sentence}


def first_times(counted: ItemLists, targets: ItemLists, times: IndexArray) -> IndexArray:
    """Returns when each target that counted first came up, aligned with `counted.item_index`.

    Args:
        counted: `Evaluation.targets`: each item once per query, ascending.
        targets: `JudgedPart.targets`, as often as they occur.
        times: Of `targets.item_index`, seconds.

    Raises:
        DataError: If a counted target is not among the targets.

    Example:
        >>> counted = ItemLists.of([[0, 3], [3]])
        >>> first_times(counted, ItemLists.of([[3, 0, 3], [3]]), np.array([10, 20, 30, 40])).tolist()
        [20, 10, 40]
    """
    # One past the largest index: query · n + item is one key per pair, in the order of the pairs.
    n = int(max(counted.item_index.max(initial=0), targets.item_index.max(initial=0))) + 1
    # Time is the last key: the first of equal pairs is the one that came first.
    order = np.lexsort((times, targets.item_index, targets.query_index))
    known = (targets.query_index * n + targets.item_index)[order]
    keys = counted.query_index * n + counted.item_index
    place_in_run = np.arange(len(keys)) - np.searchsorted(keys, keys)  # above 0 for items outside the catalog
    position = np.searchsorted(known, keys) + place_in_run
    if (position >= len(known)).any() or not np.array_equal(known[position], keys):
        raise DataError(
            f"{len(keys)} counted targets must stand among the {len(known)} targets of the part, got others; "
            "give the part that the evaluation is of"
        )
    return times[order][position]


def change_between(first: Estimate, last: Estimate) -> Estimate:
    """Returns last minus first with an interval, for means of different users.

    The distances from each mean to the end that matters add up like the sides of a right angle. Users that
    stand in both make the two more alike than that, and the interval wider than it need be.

    Source:
        Zou and Donner 2008, Statistics in Medicine 27(10), "method of variance estimates recovery".

    Example:
        >>> change = change_between(Estimate(0.5, 0.4, 0.625), Estimate(0.25, 0.125, 0.375))
        >>> change.mean, round(change.low, 4), round(change.high, 4)
        (-0.25, -0.4268, -0.0899)
    """
    change = last.mean - first.mean
    # Each end takes the side of both intervals that faces it: they are not symmetric.
    below = np.hypot(last.mean - last.low, first.high - first.mean)
    above = np.hypot(last.high - last.mean, first.mean - first.low)
    return Estimate(change, float(change - below), float(change + above))


def age_metric(
    evaluation: Evaluation, metric: str, times: IndexArray, cutoff: int, generator: np.random.Generator
) -> Ageing | None:
    """Returns the metric by week, or by day where there are no two weeks of enough users; None if neither.

    Args:
        evaluation: Gives lists and targets.
        metric: E.g. `ndcg@10`.
        times: When each target first came up, from `first_times`.
        cutoff: End of the training part, seconds.
        generator: Draws the users of each resample.
    """
    for unit, days in UNIT_DAYS.items():
        # An event at the cutoff itself is of period 1.
        numbers = (times - cutoff) // (days * DAY_S) + 1
        present = np.unique(numbers).tolist()
        masks = {number: numbers == number for number in present}
        sizes = {
            number: np.count_nonzero(evaluation.targets.take(mask).sizes) for number, mask in masks.items()
        }
        enough = [number for number in present if sizes[number] >= MIN_USERS]
        if len(enough) > 1:
            return _aged(
                evaluation,
                metric,
                unit,
                {number: evaluation.targets.take(masks[number]) for number in enough},
                len(present) - len(enough),
                generator,
            )
    return None


def _aged(
    evaluation: Evaluation,
    metric: str,
    unit: str,
    targets: Mapping[int, ItemLists],
    n_suppressed: int,
    generator: np.random.Generator,
) -> Ageing:
    """Returns the metric of each period's targets; all resamples draw the same users for all of them."""
    names = list(evaluation.models)
    # (n_queries, n_periods, n_models); one call for all periods, so that each resample draws the same users.
    values = np.stack([_values(evaluation, metric, lists) for lists in targets.values()], axis=1)
    differences = values[:, :, :1] - values[:, :, 1:]  # (n_queries, n_periods, n_models - 1)
    columns = np.concatenate([values, differences], axis=2).reshape(len(values), -1)
    is_difference = np.tile(np.arange(2 * len(names) - 1) >= len(names), len(targets))
    # In the order of the columns: of each period its models, then its differences.
    found = iter(estimate_means(columns, generator, is_difference=is_difference))
    periods = tuple(
        Period(
            number=number,
            n_users=int(np.count_nonzero(lists.sizes)),
            n_targets=len(lists.item_index),
            estimates={name: next(found) for name in names},
            differences={name: next(found) for name in names[1:]},
        )
        for number, lists in targets.items()
    )
    model = evaluation.model
    change = change_between(periods[0].estimates[model], periods[-1].estimates[model])
    return Ageing(metric, model, unit, periods, n_suppressed, change)


def _values(evaluation: Evaluation, metric: str, targets: ItemLists) -> Float64Array:
    """Returns each model's value for each query evaluated, (n_queries, n_models); NaN without targets."""
    name, k = metric.split("@")
    asked = targets.rows(evaluation.query_index)
    has_target = asked.sizes > 0
    wanted = asked.rows(np.flatnonzero(has_target))
    queries = evaluation.query_index[has_target]
    # NaN, not 0: a user without targets in the period has no metric of it.
    values = np.full((len(asked), len(evaluation.models)), np.nan)
    for column, model in enumerate(evaluation.models.values()):
        relevance = wanted.contains(model.lists.items[queries, : int(k)])
        values[has_target, column] = METRICS[name](relevance, wanted.sizes)
    return values
