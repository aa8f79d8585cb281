"""Judges the probabilities of a model: of the next item, and of a click on what was shown.

A retrieval model trained by softmax says how likely each item of the catalog is the next one. Whether an
exposure is clicked is another question: a small head on the model's score answers it, fitted on exposures
from before those that are judged, beside heads that do not know the model.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from marquee.core.arrays import BoolArray, Float64Array, FloatArray, IndexArray
from marquee.core.event_kinds import EventKind
from marquee.core.ids import PADDING_INDEX
from marquee.core.item_lists import ItemLists
from marquee.data.dataset import Dataset, JudgedPart, with_context
from marquee.evaluation.analyses.slices import Members, members_of
from marquee.evaluation.evaluation import Evaluation
from marquee.evaluation.probabilities.calibration import IsotonicHead, LogisticHead
from marquee.evaluation.probabilities.intervals import MIN_OUTCOMES
from marquee.evaluation.probabilities.outcomes import JudgedOutcome, judge_outcome
from marquee.features import FeatureArrays
from marquee.index.ranking import block_rows, inner_product_scores
from marquee.nn.embed import embed_queries
from marquee.nn.losses import SampledSoftmaxConfig
from marquee.nn.models import TwoTower
from marquee.nn.negatives import CatalogNegativesConfig
from training.config import TrainConfig
from training.runs.prepare import Prepared

CLICK, NEXT_ITEM = "click", "next_item"
PLACE_COLUMNS = ("surface", "position")
N_PLACES = 50  # a column of more values is no place


@dataclass(frozen=True)
class Exposures:
    """What was shown and what came of it, in the order of time.

    Attributes:
        frame: One row per exposure of an item of the catalog.
        is_clicked: (n,) bool.
        score: Of the model, (n,).
        n_left_out: Exposures of items outside the catalog, and repeated ones.
        n_clicks_alone: Clicks without an exposure.
    """

    frame: pl.DataFrame
    is_clicked: BoolArray
    score: Float64Array
    n_left_out: int
    n_clicks_alone: int

    def rows(self, rows: slice) -> "Exposures":
        """Returns some of the exposures."""
        return Exposures(
            self.frame[rows], self.is_clicked[rows], self.score[rows], self.n_left_out, self.n_clicks_alone
        )

    @property
    def can_teach(self) -> bool:
        """Whether a head can be fitted on them."""
        n_clicked = int(self.is_clicked.sum())
        return min(n_clicked, len(self.is_clicked) - n_clicked) >= MIN_OUTCOMES


def judge_outcomes(
    prepared: Prepared,
    part: JudgedPart,
    evaluation: Evaluation,
    model: TwoTower,
    item_vectors: FloatArray,
    config: TrainConfig,
) -> tuple[tuple[JudgedOutcome, ...], tuple[str, ...]]:
    """Returns what could be judged, and why other probabilities were not, one sentence each.

    Args:
        prepared: The data.
        part: Who was asked.
        evaluation: Gives the lists.
        model: Under judgement.
        item_vectors: Its item embeddings, (n_items + 1, dim) float32.
        config: Of the run.
    """
    judged, reasons = [], []
    for outcome in (
        _next_item(part, evaluation, model, item_vectors, config),
        _clicks(prepared, model, item_vectors, config),
    ):
        if isinstance(outcome, str):
            reasons.append(outcome)
        else:
            judged.append(outcome)
    return tuple(judged), tuple(reasons)


def _next_item(
    part: JudgedPart, evaluation: Evaluation, model: TwoTower, item_vectors: FloatArray, config: TrainConfig
) -> JudgedOutcome | str:
    """Returns the softmax of the listed items beside which of them came next, or why there is none."""
    loss = config.loss
    is_full = isinstance(config.negatives, CatalogNegativesConfig)
    if not isinstance(loss, SampledSoftmaxConfig) or not (loss.log_q_correction or is_full):
        return (
            f"The model gives no probability of the next item: its loss ({type(loss).__name__}) makes scores "
            "that only their order means something of. loss=sampled_softmax with log_q_correction gives one."
        )
    k = config.evaluation.headline_k
    queries = evaluation.query_index
    in_order, _ = part.wanted(exclude_seen=config.evaluation.exclude_seen)
    next_item = first_targets(in_order, evaluation.targets)[queries]
    log_sums = _log_sums(model, part, item_vectors, config, loss.temperature)[queries]
    lists = evaluation.models[evaluation.model].lists
    items, scores = lists.items[queries, :k], lists.scores[queries, :k].astype(np.float64)
    is_listed = items != PADDING_INDEX
    probability = np.exp(np.minimum(scores / loss.temperature - log_sums[:, None], 0.0))[is_listed]
    is_next = (items == next_item[:, None])[is_listed]
    user, rank = np.nonzero(is_listed)
    n_known = part.seen.sizes[queries][user]
    return judge_outcome(
        NEXT_ITEM,
        f"For each of the {k} listed items: is it the next one that the user turns to? The model's own "
        "softmax over all items that could be returned, at the temperature of its loss, not recalibrated.",
        {"model": probability},
        is_next,
        user,
        {
            "rank": {"1": rank == 0, "2 to 5": (rank > 0) & (rank < 5), "6 and below": rank >= 5},
            "history": {"new": n_known == 0, "known": n_known > 0},
        },
        np.random.default_rng(config.seed),
    )


def first_targets(in_order: ItemLists, counted: ItemLists) -> IndexArray:
    """Returns the first target in time of each query that counts, (n_queries,) int64; -1 for none.

    Args:
        in_order: Targets as they came; 0 for an item outside the catalog, which counts as a target.
        counted: Those that count, in any order.
    """
    query, item = in_order.query_index, in_order.item_index
    n_items = 1 + max(int(item.max(initial=0)), int(counted.item_index.max(initial=0)))
    counts = np.isin(query * n_items + item, counted.query_index * n_items + counted.item_index)
    found = np.full(len(in_order), -1, dtype=np.int64)
    rows = np.flatnonzero(counts)[::-1]  # the first one is written last
    found[query[rows]] = item[rows]
    return found


def _log_sums(
    model: TwoTower, part: JudgedPart, item_vectors: FloatArray, config: TrainConfig, temperature: float
) -> Float64Array:
    """Returns ln of the sum of exponentials of each query's scores over what it may get, (n_queries,)."""
    score = inner_product_scores(embed_queries(model, item_vectors, part.queries), item_vectors)
    task = config.evaluation.task(part, len(item_vectors) - 1)
    n_rows = block_rows(task.n_items, config.evaluation.memory_mb)
    sums = np.empty(len(part.user_ids))
    for start in range(0, len(sums), n_rows):
        rows = slice(start, min(start + n_rows, len(sums)))
        block = score(rows)
        block[:, PADDING_INDEX] = -np.inf
        if task.excluded is not None:
            offsets = task.excluded.offsets[rows.start : rows.stop + 1]
            inside = slice(offsets[0], offsets[-1])
            block[
                np.repeat(np.arange(len(block)), np.diff(offsets)), task.excluded.item_index[inside]
            ] = -np.inf
        if task.available is not None:
            task.available.mask_scores(block, np.arange(rows.start, rows.stop))
        block /= np.float32(temperature)
        highest = block.max(axis=1, keepdims=True)
        highest[~np.isfinite(highest)] = 0.0
        np.exp(np.subtract(block, highest, out=block), out=block)  # the block is the largest thing there is
        with np.errstate(divide="ignore"):
            sums[rows] = highest[:, 0] + np.log(block.sum(axis=1, dtype=np.float64))
    return sums


def _clicks(
    prepared: Prepared, model: TwoTower, item_vectors: FloatArray, config: TrainConfig
) -> JudgedOutcome | str:
    """Returns how likely each head said a click was, beside the clicks; or why there is nothing to judge."""
    split = prepared.split
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    name = "test" if config.evaluation.test else "validation"
    reason = _without_exposures(parts[name])
    if reason:
        return reason
    known = split.train if name == "validation" else pl.concat([split.train, split.validation])
    judged = read_exposures(prepared.dataset, parts[name], known, model, item_vectors)
    fitted, taught_by = None, ""
    if name == "test" and not _without_exposures(split.validation):
        fitted = read_exposures(prepared.dataset, split.validation, split.train, model, item_vectors)
        taught_by = "the validation part"
    if fitted is None or not fitted.can_teach:
        half = len(judged.is_clicked) // 2
        fitted, judged = judged.rows(slice(0, half)), judged.rows(slice(half, None))
        taught_by = f"the earlier half of the {name} part; the later half is judged"
    if not fitted.can_teach or not len(judged.is_clicked):
        return (
            f"No head for clicks could be fitted: {int(fitted.is_clicked.sum())} of {len(fitted.is_clicked)} "
            f"earlier exposures were clicked, expected {MIN_OUTCOMES} of each outcome or more."
        )
    dropped = (
        f" Left out: {judged.n_left_out:,} exposures of items outside the catalog or shown twice in one "
        f"request; {judged.n_clicks_alone:,} clicks without an exposure."
        if judged.n_left_out or judged.n_clicks_alone
        else ""
    )
    users = judged.frame["user_id"].to_numpy()
    return judge_outcome(
        CLICK,
        f"For each of {len(judged.is_clicked):,} exposures of the {name} part: is it clicked? Heads fitted "
        f"on {len(fitted.is_clicked):,} exposures of {taught_by}. The model is asked at the beginning of the "
        f"part, in the context of each request.{dropped}",
        _heads(fitted, judged),
        judged.is_clicked,
        np.unique(users, return_inverse=True)[1],
        exposure_columns(prepared.dataset, judged.frame, config),
        np.random.default_rng(config.seed),
    )


def _without_exposures(frame: pl.DataFrame) -> str:
    """Returns why the clicks of a part cannot be judged, empty if they can."""
    if "request_id" not in frame.columns:
        return (
            "There are no probabilities of a click: events have no column request_id, by which a click is "
            "known to be one of an exposure."
        )
    kinds = set(frame["kind"].unique().to_list())
    missing = [kind for kind in (EventKind.exposure.value, EventKind.click.value) if kind not in kinds]
    if missing:
        return f"There are no probabilities of a click: the part judged has no {' and no '.join(missing)}."
    return ""


def read_exposures(
    dataset: Dataset, frame: pl.DataFrame, before: pl.DataFrame, model: TwoTower, item_vectors: FloatArray
) -> Exposures:
    """Returns the exposures of a part with their clicks, and the score of the model for each.

    Args:
        dataset: Gives indices, histories and features.
        frame: Canonical events of the part.
        before: Canonical events up to the part: the history that the model is asked with.
        model: Under judgement.
        item_vectors: Its item embeddings, (n_items + 1, dim) float32.
    """
    keys = ["request_id", "item_id"]
    shown = frame.filter((pl.col("kind") == EventKind.exposure) & pl.col("request_id").is_not_null())
    clicks = frame.filter(pl.col("kind") == EventKind.click).unique(keys, maintain_order=True)
    item = pl.Series(dataset.item_ids.encode(shown["item_id"]))
    usable = shown.filter(item != PADDING_INDEX).unique(keys, keep="first", maintain_order=True)
    usable = usable.join(
        clicks.select(*keys, is_clicked=pl.lit(True)), on=keys, how="left", maintain_order="left"
    )
    usable = usable.sort("timestamp", maintain_order=True)
    return Exposures(
        frame=usable,
        is_clicked=usable["is_clicked"].fill_null(False).to_numpy(),
        score=_scores(dataset, usable, before, model, item_vectors),
        n_left_out=len(shown) - len(usable),
        n_clicks_alone=clicks.join(shown, on=keys, how="anti", nulls_equal=True).height,
    )


def _scores(
    dataset: Dataset, shown: pl.DataFrame, before: pl.DataFrame, model: TwoTower, item_vectors: FloatArray
) -> Float64Array:
    """Returns the score of each exposure, its user asked with the history before the part, (n,)."""
    counted = next(iter(dataset.kinds.configs))
    asked = dataset.judged_part(before, shown.with_columns(kind=pl.lit(counted)))
    row_of = {user_id: row for row, user_id in enumerate(asked.user_ids)}
    requests = shown.unique("request_id", keep="first", maintain_order=True)
    request_row = {request_id: row for row, request_id in enumerate(requests["request_id"])}
    queries = asked.queries.rows(np.array([row_of[user] for user in requests["user_id"]], dtype=np.int64))
    features = with_context(
        FeatureArrays(queries.tokens, queries.numeric), dataset.query_features.encode_context(requests)
    )
    queries = type(queries)(
        queries.user_index, features.tokens, features.numeric, queries.history_items, queries.history_kinds
    )
    embedded = embed_queries(model, item_vectors, queries)
    rows = np.array([request_row[request_id] for request_id in shown["request_id"]], dtype=np.int64)
    items = dataset.item_ids.encode(shown["item_id"])
    return np.asarray((embedded[rows] * item_vectors[items]).sum(axis=1), dtype=np.float64)


def _heads(fitted: Exposures, judged: Exposures) -> dict[str, Float64Array]:
    """Returns head → its probability of a click on each judged exposure; the fullest head first."""
    score, own = fitted.score[:, None], judged.score[:, None]
    place, own_place = _places(fitted.frame, judged.frame)
    heads = {}
    if place.shape[1]:
        everything = LogisticHead.fit(np.concatenate([score, place], axis=1), fitted.is_clicked)
        heads["score and place"] = everything.probabilities(np.concatenate([own, own_place], axis=1))
    heads["score, logistic"] = LogisticHead.fit(score, fitted.is_clicked).probabilities(own)
    heads["score, isotonic"] = IsotonicHead.fit(fitted.score, fitted.is_clicked).probabilities(judged.score)
    if place.shape[1]:
        heads["place alone"] = LogisticHead.fit(place, fitted.is_clicked).probabilities(own_place)
    heads["mean rate"] = np.full(len(own), fitted.is_clicked.mean())
    return heads


def _places(fitted: pl.DataFrame, judged: pl.DataFrame) -> tuple[Float64Array, Float64Array]:
    """Returns where each exposure stood, one column per surface and position of the first frame."""
    columns = [name for name in PLACE_COLUMNS if name in fitted.columns and name in judged.columns]

    def named(frame: pl.DataFrame) -> npt.NDArray[np.str_]:
        place = pl.concat_str(
            [pl.col(name).cast(pl.String) for name in columns], separator=" ", ignore_nulls=True
        )
        return frame.select(place).to_series().to_numpy().astype(np.str_)

    if not columns:
        return np.zeros((len(fitted), 0)), np.zeros((len(judged), 0))
    of_fitted, of_judged = named(fitted), named(judged)
    known = np.unique(of_fitted)
    known = known if 1 < len(known) <= N_PLACES else known[:0]
    return (of_fitted[:, None] == known).astype(np.float64), (of_judged[:, None] == known).astype(np.float64)


def exposure_columns(dataset: Dataset, frame: pl.DataFrame, config: TrainConfig) -> Mapping[str, Members]:
    """Returns the ways to part exposures: surface, position, declared contexts, and the kind of item."""
    contexts = [feature.column or name for name, feature in config.data.features.context.items()]
    names = dict.fromkeys((*PLACE_COLUMNS, *contexts))
    found: dict[str, Members] = {}
    for name in names:
        if name in frame.columns and name != "timestamp" and 1 < frame[name].n_unique() <= N_PLACES:
            found[name] = members_of(frame[name].to_list())
    kind = np.array(["", *dataset.items["kind"].to_list()])[dataset.item_ids.encode(frame["item_id"])]
    if len(set(kind)) > 1:
        found["kind"] = members_of(kind.tolist())
    return found
