"""Asks a published bundle what the judged users would have got from it."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from marquee.bundle.bundle import Bundle
from marquee.core.arrays import IndexArray
from marquee.data.dataset import JudgedPart
from marquee.decision.requests import Request
from marquee.evaluation.analyses.served import (
    ServedComparison,
    compare_served,
    index_questions,
    rewind,
    serve_lists,
    sweep_index,
)
from marquee.evaluation.analyses.served_surfaces import SurfaceRules, compare_surface
from marquee.evaluation.evaluation import Evaluation
from marquee.index.faiss_index import IndexConfig
from marquee.index.index import Index
from training.config import TrainConfig
from training.runs.prepare import Prepared


def replay(
    bundle_path: str,
    prepared: Prepared,
    part: JudgedPart,
    evaluation: Evaluation,
    config: TrainConfig,
    surfaces: Sequence[SurfaceRules] = (),
) -> ServedComparison:
    """Returns the answers of a bundle to the judged users beside the ranking of the model under judgement.

    Args:
        bundle_path: A bundle, or the folder of its versions.
        prepared: The data.
        part: Who was asked.
        evaluation: Of the model under judgement.
        config: Of the run.
        surfaces: On which the same users are asked again, by their rules.

    Raises:
        BundleError: If there is no sound bundle.
        DataError: If the bundle counts other kinds of events.
    """
    dataset = prepared.dataset
    # As serving loads it, checksums and all: what is compared is what would answer.
    bundle = Bundle.load(Path(bundle_path))
    events = prepared.split.test if config.evaluation.test else prepared.split.validation
    requests = requests_of(events, part, evaluation.query_index, config)
    # Histories as they were before the part: the bundle itself may know what is asked for.
    rewound = rewind(bundle, part.user_ids, part.known, dataset.item_ids, dataset.kinds)
    lists = serve_lists(rewound, requests, dataset.item_ids)
    questions = index_questions(rewound, requests)
    # None where no request is answered from vectors: there is no index to measure.
    measured = None if questions is None else sweep_index(rewound, questions, time.perf_counter)
    generator = np.random.default_rng(config.seed)
    metric = f"ndcg@{config.evaluation.headline_k}"
    compared = compare_served(evaluation, lists, bundle, metric, generator, measured)
    # The same vectors without approximation: what is left is what the rules of a surface cost.
    exact = replace(rewound, index=Index(bundle.index.item_vectors, IndexConfig(), None))
    found = []
    for rules in surfaces:
        asked = [_on_surface(request, rules) for request in requests]
        served, reference = (serve_lists(one, asked, dataset.item_ids).items for one in (rewound, exact))
        answers = {"served": served, "exact": reference, "plain": lists.items}
        targets = evaluation.targets.rows(evaluation.query_index)
        found.append(compare_surface(rules, answers, targets, metric, generator))
    return replace(compared, surfaces=tuple(found))


def _on_surface(request: Request, rules: SurfaceRules) -> Request:
    """Returns the request as a surface would have it."""
    return replace(
        request,
        kind=rules.kind,
        filters=rules.filters,
        reranking=rules.reranking,
        exclude_seen=rules.exclude_seen,
    )


def requests_of(
    events: pl.DataFrame, part: JudgedPart, queries: IndexArray, config: TrainConfig
) -> list[Request]:
    """Returns the requests of some queries, each at the moment and in the context of its first event.

    Args:
        events: Of the part.
        part: Who is asked.
        queries: Rows of the part, (n_queries,) int64.
        config: Of the run.
    """
    columns = {feature.column or name for name, feature in config.data.features.context.items()}
    # The moment of a request is a field of its own.
    columns = (columns & set(events.columns)) - {"timestamp"}
    first = (
        events.filter(pl.col("kind").is_in(list(config.data.kinds)))
        .sort("timestamp", maintain_order=True)
        # Order kept: Polars may give any row otherwise, and each call another one.
        .unique("user_id", keep="first", maintain_order=True)
    )
    context = {
        row["user_id"]: row for row in first.select("user_id", "timestamp", *sorted(columns)).to_dicts()
    }
    requests = []
    for query in queries.tolist():
        moment = context[part.user_ids[query]]
        requests.append(
            Request(
                user_id=part.user_ids[query],
                timestamp=int(moment["timestamp"]),
                k=config.evaluation.headline_k,
                # A missing value is not sent: null is no category.
                context={column: moment[column] for column in columns if moment[column] is not None},
                exclude_seen=config.evaluation.exclude_seen,
            )
        )
    return requests
