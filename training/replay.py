"""Asks a published bundle what the judged users would have got from it."""

import time
from pathlib import Path

import numpy as np
import polars as pl

from marquee.bundle import Bundle
from marquee.dataset import JudgedPart
from marquee.evaluation import Evaluation
from marquee.requests import Request
from marquee.served import (
    ServedComparison,
    compare_served,
    index_questions,
    rewind,
    serve_lists,
    sweep_index,
)
from training.config import TrainConfig
from training.prepare import Prepared


def replay(
    bundle_path: str, prepared: Prepared, part: JudgedPart, evaluation: Evaluation, config: TrainConfig
) -> ServedComparison:
    """Returns the answers of a bundle to the judged users beside the ranking of the model under judgement.

    Raises:
        BundleError: If there is no sound bundle.
        DataError: If the bundle counts other kinds of events.
    """
    dataset = prepared.dataset
    bundle = Bundle.load(Path(bundle_path))
    events = prepared.split.test if config.evaluation.test else prepared.split.validation
    requests = _requests(events, part, evaluation, config)
    rewound = rewind(bundle, part.user_ids, part.known, dataset.item_ids, dataset.kinds)
    lists = serve_lists(rewound, requests, dataset.item_ids)
    questions = index_questions(rewound, requests)
    measured = None if questions is None else sweep_index(rewound, questions, time.perf_counter)
    generator = np.random.default_rng(config.seed)
    metric = f"ndcg@{config.evaluation.headline_k}"
    return compare_served(evaluation, lists, bundle, metric, generator, measured)


def _requests(
    events: pl.DataFrame, part: JudgedPart, evaluation: Evaluation, config: TrainConfig
) -> list[Request]:
    """Returns the request of each query evaluated, at the moment and in the context of its first event."""
    columns = {feature.column or name for name, feature in config.data.features.context.items()}
    columns = (columns & set(events.columns)) - {"timestamp"}
    first = (
        events.filter(pl.col("kind").is_in(list(config.data.kinds)))
        .sort("timestamp", maintain_order=True)
        .unique("user_id", keep="first", maintain_order=True)
    )
    context = {
        row["user_id"]: row for row in first.select("user_id", "timestamp", *sorted(columns)).to_dicts()
    }
    requests = []
    for query in evaluation.query_index.tolist():
        moment = context[part.user_ids[query]]
        requests.append(
            Request(
                user_id=part.user_ids[query],
                timestamp=int(moment["timestamp"]),
                k=config.evaluation.headline_k,
                context={column: moment[column] for column in columns if moment[column] is not None},
                exclude_seen=config.evaluation.exclude_seen,
            )
        )
    return requests
