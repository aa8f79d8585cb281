"""Judges the probabilities of a model: of the next item, and of a click on what was shown.

A retrieval model trained by softmax says how likely each item of the catalog is the next one. Whether an
exposure is clicked is another question: a small head on the model's score answers it, fitted on exposures
from before those that are judged. Composes what `marquee.data.exposures` reads and
`marquee.evaluation.probabilities` computes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from marquee.core.arrays import FloatArray
from marquee.core.ids import PADDING_INDEX
from marquee.data.dataset import Dataset, JudgedPart
from marquee.data.exposures import Exposures, missing_for_clicks, read_exposures, request_queries
from marquee.evaluation.analyses.slices import Members, members_of
from marquee.evaluation.evaluation import Evaluation
from marquee.evaluation.probabilities.click_heads import MAX_PLACES, ScoredExposures, head_probabilities
from marquee.evaluation.probabilities.intervals import MIN_OUTCOMES
from marquee.evaluation.probabilities.next_item import first_targets, listed_probabilities, log_normalisers
from marquee.evaluation.probabilities.outcomes import JudgedOutcome, judge_outcome
from marquee.index.ranking import inner_product_scores
from marquee.nn.embed import embed_queries
from marquee.nn.losses import SampledSoftmaxConfig
from marquee.nn.models import TwoTower
from marquee.nn.negatives import CatalogNegativesConfig
from marquee.nn.probabilities import HeadConfig
from training.config import TrainConfig
from training.fitting.probabilities.run import HeadOfRun
from training.judging.head_outcomes import (
    CLICK_HEAD,
    catalog_columns,
    click_probabilities,
    judge_conversions,
    why_not_judged,
)
from training.runs.prepare import Prepared

CLICK, NEXT_ITEM = "click", "next_item"
PLACE_COLUMNS = ("surface", "position")


def judge_outcomes(
    prepared: Prepared,
    part: JudgedPart,
    evaluation: Evaluation,
    model: TwoTower,
    item_vectors: FloatArray,
    config: TrainConfig,
    head: HeadOfRun | None = None,
) -> tuple[tuple[JudgedOutcome, ...], tuple[str, ...]]:
    """Judges each kind of outcome, or says in a sentence why it could not.

    Args:
        prepared: The data.
        part: Who was asked.
        evaluation: Gives the lists.
        model: Under judgement.
        item_vectors: Its item embeddings, (n_items + 1, dim) float32.
        config: Of the run.
        head: Of the run; None where it has none.
    """
    found = (
        _next_item(part, evaluation, model, item_vectors, config),
        *_clicks(prepared, model, item_vectors, config, head),
    )
    judged = tuple(outcome for outcome in found if not isinstance(outcome, str))
    return judged, tuple(reason for reason in found if isinstance(reason, str))


def _next_item(
    part: JudgedPart, evaluation: Evaluation, model: TwoTower, item_vectors: FloatArray, config: TrainConfig
) -> JudgedOutcome | str:
    """Judges the softmax of the listed items against which of them came next; or says why there is none."""
    loss = config.loss
    # Over the whole catalog nothing is sampled, so there is nothing to correct.
    is_full = isinstance(config.negatives, CatalogNegativesConfig)
    if not isinstance(loss, SampledSoftmaxConfig) or not (loss.log_q_correction or is_full):
        return (
            f"The model gives no probability of the next item: its loss ({type(loss).__name__}) makes scores "
            "that only their order means something of. loss=sampled_softmax with log_q_correction gives one."
        )
    k, queries = config.evaluation.headline_k, evaluation.query_index
    # With the bias, which is a part of the model's logits.
    score = inner_product_scores(embed_queries(model, item_vectors, part.queries), item_vectors)
    task = config.evaluation.task(part, len(item_vectors) - 1)
    # (n_judged,)
    log_sums = log_normalisers(score, task, loss.temperature, config.evaluation.memory_mb)[queries]
    # Targets of an evaluation are in any order; the next item is the first in time.
    in_order, _ = part.wanted(exclude_seen=config.evaluation.exclude_seen)
    next_item = first_targets(in_order, evaluation.targets)[queries]
    lists = evaluation.models[evaluation.model].lists
    items, scores = lists.items[queries, :k], lists.scores[queries, :k].astype(np.float64)
    is_listed = items != PADDING_INDEX
    user, rank = np.nonzero(is_listed)  # (n_listed,) each
    n_known = part.seen.sizes[queries][user]
    return judge_outcome(
        NEXT_ITEM,
        f"For each of the {k} listed items: is it the next one that the user turns to? The model's own "
        "softmax over all items that could be returned, at the temperature of its loss, not recalibrated.",
        {"model": listed_probabilities(scores, log_sums, loss.temperature)[is_listed]},
        (items == next_item[:, None])[is_listed],
        user,
        {
            "rank": {"1": rank == 0, "2 to 5": (rank > 0) & (rank < 5), "6 and below": rank >= 5},
            "history": {"new": n_known == 0, "known": n_known > 0},
        },
        np.random.default_rng(config.seed),
    )


@dataclass(frozen=True)
class ScoredClicks:
    """Exposures that heads for clicks are fitted on, and those that they are judged by.

    Attributes:
        fitted: Scores and clicks of the first.
        judged: Of the second.
        fitted_exposures: The first themselves.
        judged_exposures: The second.
        taught_by: What the first are, in words.
        part: Name of the part that is judged.
    """

    fitted: ScoredExposures
    judged: ScoredExposures
    fitted_exposures: Exposures
    judged_exposures: Exposures
    taught_by: str
    part: str


def scored_clicks(
    prepared: Prepared, model: TwoTower, item_vectors: FloatArray, config: TrainConfig
) -> ScoredClicks | str:
    """Returns the exposures of a part and of before it, scored; or says why there are none."""
    dataset, split = prepared.dataset, prepared.split
    # What is known is all before the part: a head must not read what it is asked about.
    name, frame, known = "validation", split.validation, split.before_validation
    if config.evaluation.test:
        name, frame, known = "test", split.test, split.before_test
    missing = missing_for_clicks(frame)
    if missing:
        return f"There are no probabilities of a click: {missing}."

    judged = read_exposures(frame, dataset.item_ids)
    said = _scored(dataset, judged, known, model, item_vectors)
    # The part before teaches the heads where there is one, so that all of the judged part is judged.
    if config.evaluation.test and not missing_for_clicks(split.validation):
        earlier = read_exposures(split.validation, dataset.item_ids)
        fitted = _scored(dataset, earlier, split.before_validation, model, item_vectors)
        if fitted.can_teach:
            return ScoredClicks(fitted, said, earlier, judged, "the validation part", name)
    # Exposures are in the order of time: the later half never teaches.
    half = len(judged) // 2
    fitted, said = _halves(said, half)
    taught_by = f"the earlier half of the {name} part; the later half is judged"
    first, second = judged.rows(slice(0, half)), judged.rows(slice(half, None))
    return ScoredClicks(fitted, said, first, second, taught_by, name)


def _clicks(
    prepared: Prepared,
    model: TwoTower,
    item_vectors: FloatArray,
    config: TrainConfig,
    head: HeadOfRun | None,
) -> tuple[JudgedOutcome | str, ...]:
    """Judges heads for clicks on the exposures of a part, and conversions; or says why there is nothing."""
    found = scored_clicks(prepared, model, item_vectors, config)
    if isinstance(found, str):
        return (found,)
    dataset, name = prepared.dataset, found.part
    fitted, said, judged = found.fitted, found.judged, found.judged_exposures
    if not fitted.can_teach or not len(judged):
        return (
            f"No head for clicks could be fitted: {int(fitted.is_clicked.sum())} of {len(fitted.is_clicked)} "
            f"earlier exposures were clicked, expected {MIN_OUTCOMES} of each outcome or more.",
        )
    sources = head_probabilities(fitted, said)
    columns = {**exposure_columns(dataset, judged.frame, config), **catalog_columns(dataset, judged.frame)}
    why = _why_not_judged(prepared, config, head, judged)
    if why:
        head = None
    if head is not None:
        # First: it is what the bundle will say, and the others are its references.
        sources = {CLICK_HEAD: click_probabilities(head, judged), **sources}
    clicks = judge_outcome(
        CLICK,
        f"For each of {len(judged):,} exposures of the {name} part: is it clicked? Heads fitted on "
        f"{len(fitted.is_clicked):,} exposures of {found.taught_by}. The model is asked at the beginning of "
        f"the part, in the context of each request.{_left_out(judged)}",
        sources,
        judged.is_clicked,
        # Intervals draw whole users: exposures of one user are not independent.
        np.unique(judged.frame["user_id"].to_numpy(), return_inverse=True)[1],
        columns,
        np.random.default_rng(config.seed),
    )
    conversions = [judge_conversions(head, judged.frame, columns, name, config)] if head else []
    return (clicks, *conversions, *([why] if why else []))


def _why_not_judged(
    prepared: Prepared, config: TrainConfig, head: HeadOfRun | None, judged: Exposures
) -> str:
    """Returns why the head of a run is not among the sources, '' if it is or there is none."""
    settings = config.probabilities
    if head is None or not isinstance(settings, HeadConfig):
        return ""
    return why_not_judged(head, judged, prepared.split.events, settings.max_exposures)


def _left_out(judged: Exposures) -> str:
    """Says how many exposures and clicks could not be judged, if any."""
    if not judged.n_left_out and not judged.n_clicks_alone:
        return ""
    return (
        f" Left out: {judged.n_left_out:,} exposures of items outside the catalog or shown twice in one "
        f"request; {judged.n_clicks_alone:,} clicks without an exposure."
    )


def _scored(
    dataset: Dataset, exposures: Exposures, before: pl.DataFrame, model: TwoTower, item_vectors: FloatArray
) -> ScoredExposures:
    """Scores exposures by the model, which is asked with the history of before the part."""
    queries, request = request_queries(dataset, exposures, before)
    embedded = embed_queries(model, item_vectors, queries)  # (n_requests, dim)
    items = dataset.item_ids.encode(exposures.frame["item_id"])
    score = (embedded[request] * item_vectors[items]).sum(axis=1)  # (n_exposures,)
    columns = [name for name in PLACE_COLUMNS if name in exposures.frame.columns]
    place = None
    if columns:
        text = [pl.col(name).cast(pl.String) for name in columns]
        # One text for both: a position means another thing on another surface.
        joined = exposures.frame.select(pl.concat_str(text, separator=" ", ignore_nulls=True))
        place = joined.to_series().to_numpy().astype(np.str_)
    return ScoredExposures(np.asarray(score, dtype=np.float64), exposures.is_clicked, place)


def _halves(scored: ScoredExposures, half: int) -> tuple[ScoredExposures, ScoredExposures]:
    """Splits exposures into those before row `half` and the others."""
    first, second = (
        ScoredExposures(
            scored.score[rows], scored.is_clicked[rows], None if scored.place is None else scored.place[rows]
        )
        for rows in (slice(0, half), slice(half, None))
    )
    return first, second


def exposure_columns(dataset: Dataset, frame: pl.DataFrame, config: TrainConfig) -> Mapping[str, Members]:
    """Returns the columns by which exposures are sliced: surface, position, declared contexts, item kind."""
    contexts = [feature.column or name for name, feature in config.data.features.context.items()]
    found: dict[str, Members] = {}
    for name in dict.fromkeys((*PLACE_COLUMNS, *contexts)):
        if name in frame.columns and name != "timestamp" and 1 < frame[name].n_unique() <= MAX_PLACES:
            found[name] = members_of(frame[name].to_list())
    # Row 0 is padding, for items outside the catalog.
    kind = np.array(["", *dataset.items["kind"].to_list()])[dataset.item_ids.encode(frame["item_id"])]
    if len(set(kind)) > 1:
        found["kind"] = members_of(kind.tolist())
    return found
