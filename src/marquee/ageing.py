"""How fast a model ages: its lists held against what users turned to, week by week after the training cutoff.

Nothing is ranked again and no part is read again: the lists of one evaluation, made at the start of the part
judged, are judged by the targets of each period alone. Model and baselines age by the same rule.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from marquee.errors import DataError
from marquee.evaluation import Evaluation
from marquee.ids import IndexArray
from marquee.intervals import Estimate, resample_counts
from marquee.metrics import METRICS, Values
from marquee.ranking import ItemLists
from marquee.slices import MIN_USERS

DAY_S = 24 * 60 * 60
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
        change: The model's metric in the last period minus the first.
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
    n = int(max(counted.item_index.max(initial=0), targets.item_index.max(initial=0))) + 1
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
    values = np.stack([_values(evaluation, metric, lists) for lists in targets.values()], axis=1)
    shape = (-1, len(targets), len(names))
    resampled = _resampled_means(values.reshape(len(values), -1), generator).reshape(shape)
    means = np.nanmean(values, axis=0)  # (n_periods, n_models)
    periods = tuple(
        Period(
            number=number,
            n_users=int(np.count_nonzero(lists.sizes)),
            n_targets=len(lists.item_index),
            estimates={
                name: _interval(float(means[row, column]), resampled[:, row, column])
                for column, name in enumerate(names)
            },
            differences={
                name: _interval(
                    float(means[row, 0] - means[row, column]),
                    resampled[:, row, 0] - resampled[:, row, column],
                )
                for column, name in enumerate(names)
                if column
            },
        )
        for row, (number, lists) in enumerate(targets.items())
    )
    change = _interval(float(means[-1, 0] - means[0, 0]), resampled[:, -1, 0] - resampled[:, 0, 0])
    return Ageing(metric, evaluation.model, unit, periods, n_suppressed, change)


def _resampled_means(values: Values, generator: np.random.Generator) -> Values:
    """Returns the mean of each column over resampled rows, (n_resamples, n_columns), without NaN values."""
    is_there = ~np.isnan(values)
    filled, present = np.where(is_there, values, 0.0), is_there.astype(np.float64)
    with np.errstate(invalid="ignore"):  # 0 / 0: a resample without any such value
        blocks = [(times @ filled) / (times @ present) for times in resample_counts(len(values), generator)]
    return np.concatenate(blocks)


def _interval(mean: float, resampled: Values) -> Estimate:
    """Returns a mean with the 95 % interval of its resamples, (n_resamples,); NaN if there are none."""
    if np.isnan(mean):
        return Estimate(mean, np.nan, np.nan)
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return Estimate(mean, float(low), float(high))


def _values(evaluation: Evaluation, metric: str, targets: ItemLists) -> Values:
    """Returns each model's value for each query evaluated, (n_queries, n_models); NaN without targets."""
    name, k = metric.split("@")
    asked = targets.rows(evaluation.query_index)
    has_target = asked.sizes > 0
    wanted = asked.rows(np.flatnonzero(has_target))
    queries = evaluation.query_index[has_target]
    values = np.full((len(asked), len(evaluation.models)), np.nan)
    for column, model in enumerate(evaluation.models.values()):
        relevance = wanted.contains(model.lists.items[queries, : int(k)])
        values[has_target, column] = METRICS[name](relevance, wanted.sizes)
    return values
