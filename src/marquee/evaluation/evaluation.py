"""Judges models: the same queries, the same catalog, the same exclusions and the same code for each.

`evaluate` ranks the full catalog (never a sample of it) for every query and every model, and keeps each
user's value of each metric beside the means: intervals, paired comparisons and slices all come from them.
Users without targets have no metric; they are left out and counted.
Does not fit anything (see `baselines`) and does not write anything (see `reports`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt

from marquee.core.arrays import BoolArray, Float64Array, IndexArray
from marquee.core.availability import Availability
from marquee.core.ids import PADDING_INDEX
from marquee.core.item_lists import ItemLists
from marquee.errors import DataError, ShapeError
from marquee.evaluation.intervals import CONFIDENCE, N_RESAMPLES, Estimate, estimate_means, json_fields
from marquee.evaluation.metrics import METRICS, coverage
from marquee.index.ranking import RankedLists, ScoreBlock, rank

EvaluationProgress = Callable[[str, int, int], None]
"""Told after each block: name of the model, queries done, queries in all."""


@dataclass(frozen=True)
class EvaluationTask:
    """One ranking question, the same for every model.

    Attributes:
        targets: What each query should bring up; 0 for an item outside the catalog. An item counts once.
        n_items: Items of the catalog, without the padding one: all of them are ranked.
        ks: Cutoffs, ascending.
        excluded: Items that must not be returned, per query; None if nothing is excluded. A target among
            them cannot be returned: it is left out and counted.
        item_groups: Name → which items belong to it, (n_items + 1,) bool: metrics of these targets alone.
        available: When items could be shown and queries are asked; None if every item always could be. A
            target out of its time cannot be returned: it is left out and counted.
        n_excluded_outside: Targets outside the catalog that the caller left out because the user had them
            before: `excluded` cannot name them. They are counted with the other excluded ones.
    """

    targets: ItemLists
    n_items: int
    ks: tuple[int, ...]
    excluded: ItemLists | None = None
    item_groups: Mapping[str, BoolArray] | None = None
    available: Availability | None = None
    n_excluded_outside: int = 0

    def __post_init__(self) -> None:
        if not self.ks or sorted(set(self.ks)) != list(self.ks) or self.ks[0] < 1:
            raise DataError(f"ks must be distinct, ascending and 1 or more, got {self.ks}; name the cutoffs")
        if self.targets.item_index.max(initial=0) > self.n_items:
            raise DataError(
                f"targets must be at most n_items ({self.n_items}), got {self.targets.item_index.max()}; "
                "encode items that are not in the catalog as 0"
            )
        for name, members in (self.item_groups or {}).items():
            if members.shape != (self.n_items + 1,):
                raise ShapeError(
                    f"item group {name!r} must have shape ({self.n_items + 1},), got {members.shape}; give "
                    "one value per item and one for padding"
                )

    def rows(self, queries: IndexArray) -> "EvaluationTask":
        """Returns the same question for some of the queries, in the order of `queries`, (n,) int64."""
        available = self.available
        return replace(
            self,
            targets=self.targets.rows(queries),
            excluded=None if self.excluded is None else self.excluded.rows(queries),
            available=None if available is None else available.rows(queries),
        )


@dataclass(frozen=True, slots=True)
class Counts:
    """How much was evaluated, and what was not.

    Attributes:
        n_items: Items ranked for every query: the full catalog.
        n_queries: Queries evaluated: those with targets.
        n_queries_without_targets: Queries left out because they have none.
        n_targets: Targets of the queries evaluated.
        n_targets_outside_catalog: Those among them that no model can bring up: they count as misses.
        n_targets_excluded: Targets left out because the exclusions forbid them.
        n_targets_unavailable: Targets left out because they could not be shown when the query was asked.
        mean_items_unavailable: Items of the catalog that could not be shown to a query evaluated, on average.
    """

    n_items: int
    n_queries: int
    n_queries_without_targets: int
    n_targets: int
    n_targets_outside_catalog: int
    n_targets_excluded: int
    n_targets_unavailable: int
    mean_items_unavailable: float


@dataclass(frozen=True)
class ModelEvaluation:
    """How one model did.

    Attributes:
        lists: The ranked lists of all queries, longest cutoff.
        values: `ndcg@10` → value of each query evaluated, (n_queries,), in the order of
            `Evaluation.query_index`. For an item group `ndcg@10|ad`, NaN where a query has no such target.
        estimates: The same names → mean and interval.
        coverage: `coverage@10` → share of the catalog that some list holds.
        tied_fraction: Share of the queries where the last place of the longest list went by the tie rule.
    """

    lists: RankedLists
    values: dict[str, Float64Array]
    estimates: dict[str, Estimate]
    coverage: dict[str, float]
    tied_fraction: float


@dataclass(frozen=True)
class Evaluation:
    """How a model did, and how others did beside it.

    Attributes:
        models: Name → result; the first is the one under judgement, the others are its references.
        differences: Reference → metric → first model minus reference, with the interval of the paired
            difference: both ends on one side of 0 tell the two apart.
        counts: What was evaluated.
        ks: Cutoffs.
        query_index: The queries evaluated, as rows of the task, (n_queries,) int64.
        targets: Those that counted, each once, of all queries of the task.
        groups: Names of the item groups.
        n_resamples: Bootstrap resamples behind each interval.
    """

    models: dict[str, ModelEvaluation]
    differences: dict[str, dict[str, Estimate]]
    counts: Counts
    ks: tuple[int, ...]
    query_index: npt.NDArray[np.int64]
    targets: ItemLists
    groups: tuple[str, ...]
    n_resamples: int

    @property
    def model(self) -> str:
        """Name of the model under judgement."""
        return next(iter(self.models))

    def to_json_dict(self) -> dict[str, object]:
        """Returns everything but the values of single users and the lists, ready for `json.dumps`."""
        return {
            "model": self.model,
            "ranking": "full catalog",
            "ks": list(self.ks),
            "counts": asdict(self.counts),
            "confidence": CONFIDENCE,
            "n_resamples": self.n_resamples,
            "models": {
                name: {
                    "metrics": json_fields(model.estimates),
                    "coverage": model.coverage,
                    "tied_fraction": model.tied_fraction,
                }
                for name, model in self.models.items()
            },
            "differences": {name: json_fields(values) for name, values in self.differences.items()},
        }


def require_targets(task: EvaluationTask) -> None:
    """Raises DataError if no query has a target that can be reached, before any model is asked."""
    targets, n_excluded, n_unavailable = _reachable_targets(task)
    if targets.sizes.any():
        return
    raise DataError(
        f"at least one of the {len(targets)} queries must have a target, got none: of "
        f"{len(task.targets.item_index):,} targets {n_excluded:,} were seen before "
        f"(evaluation.exclude_seen=false counts them) and {n_unavailable:,} were not available then; "
        "change data.split, or these"
    )


def evaluate(
    scorers: Mapping[str, ScoreBlock],
    task: EvaluationTask,
    generator: np.random.Generator,
    *,
    n_resamples: int = N_RESAMPLES,
    memory_mb: int = 512,
    progress: EvaluationProgress | None = None,
) -> Evaluation:
    """Ranks the full catalog with every model and measures how well.

    Args:
        scorers: Name → scores of a slice of the task's queries; the first is the model under judgement.
        task: What is asked.
        generator: Draws the users of each bootstrap resample; the same users for all models.
        n_resamples: Bootstrap resamples behind each interval.
        memory_mb: Bound on the memory of one block of scores, in MiB.
        progress: Told how far it is.

    Raises:
        DataError: If there is no model, no query has a target, or a score is NaN.
        ShapeError: If exclusions, availability or scores do not fit the queries.
    """
    if not scorers:
        raise DataError(f"scorers must name at least one model, got {dict(scorers)}")
    # Before any model ranks, which is what takes the time.
    require_targets(task)
    targets, n_excluded, n_unavailable = _reachable_targets(task)
    queries = np.flatnonzero(targets.sizes)
    models = {}
    for name, score_block in scorers.items():
        told = None if progress is None else _progress_of(name, progress)
        lists = _ranked(score_block, task, memory_mb, told)
        models[name] = (lists, _values(lists, targets, queries, task))
    estimates, differences = _estimates(
        {name: values for name, (_, values) in models.items()}, generator, n_resamples
    )
    return Evaluation(
        models={
            name: ModelEvaluation(
                lists=lists,
                values=values,
                estimates=estimates[name],
                coverage={f"coverage@{k}": coverage(lists.items[queries, :k], task.n_items) for k in task.ks},
                tied_fraction=float(lists.tied[queries].mean()),
            )
            for name, (lists, values) in models.items()
        },
        differences=differences,
        counts=_counts(task, targets, queries, n_excluded, n_unavailable),
        ks=task.ks,
        query_index=queries,
        targets=targets,
        groups=tuple(task.item_groups or ()),
        n_resamples=n_resamples,
    )


def _ranked(
    score_block: ScoreBlock, task: EvaluationTask, memory_mb: int, told: Callable[[int, int], None] | None
) -> RankedLists:
    """Ranks the full catalog for every query of the task, up to the longest cutoff."""
    # Once, at the longest cutoff: the others are its beginnings.
    return rank(
        score_block,
        len(task.targets),
        task.n_items,
        task.ks[-1],
        task.excluded,
        available=task.available,
        memory_mb=memory_mb,
        progress=told,
    )


def _counts(
    task: EvaluationTask,
    targets: ItemLists,
    queries: npt.NDArray[np.int64],
    n_excluded: int,
    n_unavailable: int,
) -> Counts:
    """Counts what was evaluated, and what was left out by reason."""
    of_queries = None if task.available is None else task.available.n_unavailable[queries]
    return Counts(
        n_items=task.n_items,
        n_queries=len(queries),
        n_queries_without_targets=len(targets) - len(queries),
        n_targets=len(targets.item_index),
        n_targets_outside_catalog=int(np.count_nonzero(targets.item_index == PADDING_INDEX)),
        n_targets_excluded=n_excluded + task.n_excluded_outside,
        n_targets_unavailable=n_unavailable,
        mean_items_unavailable=0.0 if of_queries is None else float(of_queries.mean()),
    )


def _reachable_targets(task: EvaluationTask) -> tuple[ItemLists, int, int]:
    """Returns the targets that count, each once, and how many are excluded, and how many unavailable."""
    targets = task.targets
    query, item = targets.query_index, targets.item_index
    order = np.lexsort((item, query))
    query, item = query[order], item[order]
    is_first = np.ones(len(item), dtype=np.bool_)
    # Items outside the catalog share index 0: each of them is a target of its own, and a miss.
    is_first[1:] = (query[1:] != query[:-1]) | (item[1:] != item[:-1]) | (item[1:] == PADDING_INDEX)
    # Sorting within queries leaves the offsets as they are.
    targets = ItemLists(targets.offsets, item).take(is_first)
    is_excluded = _excluded(targets, task)
    is_unavailable = np.zeros(len(targets.item_index), dtype=np.bool_)
    if task.available is not None:
        is_allowed = task.available.allows(targets.query_index, targets.item_index)
        # A target that is left out has one reason, or it would be counted twice.
        is_unavailable = ~is_allowed & ~is_excluded & (targets.item_index != PADDING_INDEX)
    return targets.take(~(is_excluded | is_unavailable)), int(is_excluded.sum()), int(is_unavailable.sum())


def _excluded(targets: ItemLists, task: EvaluationTask) -> BoolArray:
    """Returns which targets the exclusions forbid, (n_targets,) bool."""
    if task.excluded is None:
        return np.zeros(len(targets.item_index), dtype=np.bool_)
    if len(task.excluded) != len(targets):
        raise ShapeError(
            f"excluded must have one list per query ({len(targets)}), got {len(task.excluded)}; build "
            "both from the same users"
        )
    return task.excluded.holds(targets.query_index, targets.item_index)


def _values(
    lists: RankedLists, targets: ItemLists, queries: npt.NDArray[np.int64], task: EvaluationTask
) -> dict[str, Float64Array]:
    """Returns every metric at every cutoff for each query evaluated, and again for each item group."""
    relevance = targets.contains(lists.items)[queries]  # (n_queries, k)
    values = _metrics_at(relevance, targets.sizes[queries], task.ks)
    for group, members in (task.item_groups or {}).items():
        n_targets = targets.take(members[targets.item_index]).sizes[queries]
        has_target = n_targets > 0
        # Ranks stay those among the full catalog: only the hits are restricted.
        inside = relevance & members[lists.items[queries]]
        for name, of_some in _metrics_at(inside[has_target], n_targets[has_target], task.ks).items():
            # NaN, not 0: a query without targets of the group has no metric of it.
            of_all = np.full(len(queries), np.nan)
            of_all[has_target] = of_some
            values[f"{name}|{group}"] = of_all
    return values


def _metrics_at(
    relevance: BoolArray, n_targets: npt.NDArray[np.int64], ks: Sequence[int]
) -> dict[str, Float64Array]:
    """Returns `metric@k` → value of each user, (n_users,)."""
    return {
        f"{name}@{k}": metric(relevance[:, :k], n_targets) for name, metric in METRICS.items() for k in ks
    }


def _estimates(
    values: dict[str, dict[str, Float64Array]], generator: np.random.Generator, n_resamples: int
) -> tuple[dict[str, dict[str, Estimate]], dict[str, dict[str, Estimate]]]:
    """Returns model → metric → estimate, and reference → metric → first model minus reference."""
    names = list(next(iter(values.values())))
    # (n_models, n_names, n_queries)
    of_models = np.stack([[of_model[name] for name in names] for of_model in values.values()])
    differences = of_models[0] - of_models[1:]  # (n_models - 1, n_names, n_queries)
    rows = np.concatenate([of_models, differences]).reshape(-1, of_models.shape[2])
    is_difference = np.arange(len(rows)) >= len(values) * len(names)
    # One call for everything: each resample draws the same users for all models, so differences are paired.
    found = iter(estimate_means(rows.T, generator, n_resamples, is_difference))
    estimates = {model: {name: next(found) for name in names} for model in values}
    references = [*values][1:]
    return estimates, {model: {name: next(found) for name in names} for model in references}


def _progress_of(name: str, progress: EvaluationProgress) -> Callable[[int, int], None]:
    """Returns the progress callback of one model."""
    # Trap: a lambda in the caller's loop would hold the loop's variable, not this model's name.
    return lambda done, total: progress(name, done, total)
