"""Collects the contents of a bundle: towers, index, known users, and golden requests."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from marquee.bundle.bundle import Bundle
from marquee.bundle.contents import BundleContents
from marquee.bundle.manifest import CARD_FILES, KnownUntil
from marquee.bundle.popularity import PopularityConfig
from marquee.core.arrays import FloatArray, IndexArray
from marquee.core.histories import Interactions
from marquee.data.config import DataConfig
from marquee.data.loop.loop_table import known_of
from marquee.decision.golden_requests import make_golden_requests, sample_requests, to_json
from marquee.decision.recommender import Recommender
from marquee.errors import ConfigError
from marquee.index.building import build_index
from marquee.index.choice import BuildIndex, choose_index
from marquee.index.faiss_index import IndexConfig
from marquee.index.sweep import Questions
from marquee.nn.embed import embed_queries
from marquee.nn.export import export_towers
from training.config import TrainConfig, as_plain
from training.exporting.click_head import head_contents
from training.exporting.popularity import fit_context_popularity
from training.exporting.reference import reference_statistics
from training.exporting.text_search import fit_text_search
from training.fitting.fit import load_model
from training.fitting.probabilities.run import read_head_of_run
from training.judging.writing import EVALUATION_FILE
from training.runs.folders import RunFolder
from training.runs.prepare import Prepared
from training.runs.user_names import user_names

# The standard error of a recall near 0.98 is then below half a percent.
N_RECALL_QUERIES = 1000
RECALL_K = 10  # what a request asks for that says nothing


def bundle_contents(
    prepared: Prepared,
    run_config: TrainConfig,
    folder: RunFolder,
    created: int,
    index: IndexConfig,
    popularity_config: PopularityConfig,
    build: BuildIndex = build_index,
) -> BundleContents:
    """Returns everything that serving needs, in memory; `build` makes an index of a kind that is named."""
    dataset = prepared.dataset
    model = load_model(dataset, run_config, folder.checkpoint)
    known = dataset.known_users(prepared.events)
    # Of real users with their histories: an index is asked with such vectors, not with random ones.
    queries = known.queries.rows(slice(0, N_RECALL_QUERIES))
    graphs = export_towers(model, queries)
    questions = Questions(
        embed_queries(model, graphs.item_vectors, queries),
        min(RECALL_K, dataset.n_items),
        allowed=[None] * len(queries),
        # As requests are: what was seen is left out, and the index must look further for it.
        exclusions=[_seen(known.interactions, user) for user in range(1, len(queries) + 1)],
    )
    choice = choose_index(graphs.item_vectors, index, questions, time.perf_counter, build)
    popularity = _popularity(known.interactions, dataset.n_items)
    head = read_head_of_run(dataset, prepared.split, model, run_config, folder.path)
    contents = BundleContents(
        query_tower=graphs.query_tower,
        item_tower=graphs.item_tower,
        index=choice.index,
        index_recall=choice.recall,
        index_recall_k=questions.k,
        index_reason=choice.reason,
        index_sweeps=choice.sweeps,
        # A bias is one more column of the vectors, which similar items must not be measured by.
        has_item_bias=model.config.item_bias,
        user_vectors=_with_new_users(graphs.user_vectors, len(known.user_ids)),
        user_ids=known.user_ids,
        user_features=known.features,
        query_features=dataset.query_features.encoder,
        item_features=dataset.item_encoder,
        kinds=dataset.kinds,
        history_length=dataset.history_length,
        interactions=known.interactions,
        catalog=dataset.catalog,
        popularity=popularity,
        context_popularity=fit_context_popularity(
            dataset, prepared.events, run_config.data, popularity, popularity_config
        ),
        known_until=known_until(run_config.data, prepared.events, created),
        metrics=_metrics(folder),
        click_head=None if head is None else head_contents(head, known.user_ids),
        texts=fit_text_search(
            dataset.item_encoder,
            dataset.item_features.tokens,
            graphs.item_vectors,
            has_item_bias=model.config.item_bias,
        ),
        user_names=user_names(run_config.data),
        config=as_plain(run_config),
        reference=reference_statistics(prepared, run_config, head).to_json(),
        card=read_card(folder),
    )
    # Asked before it is written: the recorded answers are part of what is signed.
    bundle = Bundle.of(contents, created)
    requests = sample_requests(bundle, created, np.random.default_rng(run_config.seed))
    # By the recommender that serving uses: what is recorded is what a worker must answer.
    return replace(contents, golden_requests=to_json(make_golden_requests(Recommender(bundle), requests)))


def read_card(folder: RunFolder) -> dict[str, str]:
    """Returns the card of a run as `python -m training.card` wrote it, by file; empty if there is none.

    Raises:
        ConfigError: If the run was judged again since.
    """
    paths = [folder.path / name for name in sorted(CARD_FILES)]
    # All or none: a page without the numbers behind it would be half a card.
    if not all(path.is_file() for path in paths):
        return {}
    card = {path.name: path.read_text(encoding="utf-8") for path in paths}
    said = json.loads(card["card.json"])["facts"]["created"]
    judged = json.loads((folder.path / EVALUATION_FILE).read_text(encoding="utf-8"))["protocol"]["created"]
    # What travels with a model must be of this very judgement.
    if said != judged:
        raise ConfigError(
            f"the card of {folder.path} is of the judgement of {said}, the run was judged again {judged}; "
            "write it again with python -m training.card, or delete its files"
        )
    return card


def said_of_card(card: Mapping[str, str], folder: RunFolder) -> str:
    """Returns in words whether a bundle carries the card of its run."""
    if card:
        return f"card of {json.loads(card['card.json'])['facts']['created']} in the bundle"
    return (
        f"no card in the bundle: write one with marquee card run={folder.path} card=…, and export again, for "
        "a bundle is never changed"
    )


def _with_new_users(user_vectors: FloatArray, n_users: int) -> FloatArray:
    """Returns the user table with rows of zeros for users that training never saw."""
    vectors = np.zeros((n_users + 1, user_vectors.shape[1]), dtype=np.float32)
    # New users stand behind the trained ones, as `IdMap.extend` puts them.
    vectors[: len(user_vectors)] = user_vectors
    return vectors


def _seen(interactions: Interactions, user: int) -> IndexArray:
    """Returns the items of a user's history, which an answer leaves out."""
    return interactions.item_index[interactions.offsets[user] : interactions.offsets[user + 1]].astype(
        np.int64
    )


def _popularity(interactions: Interactions, n_items: int) -> FloatArray:
    """Returns each item's share of all interactions, (n_items + 1,) float32; row 0 is 0."""
    counts = np.bincount(interactions.item_index, minlength=n_items + 1).astype(np.float64)  # (n_items + 1,)
    # Events with items outside the catalog cannot be recommended.
    counts[0] = 0.0
    share: FloatArray = (counts / max(counts.sum(), 1.0)).astype(np.float32)
    return share


def known_until(data: DataConfig, events: pl.DataFrame, created: int) -> KnownUntil:
    """Returns up to where a bundle knows what users did, for the profiles that a service puts before it.

    Args:
        data: What it was trained on.
        events: All valid events of it.
        created: When the bundle was made, seconds since 1970 UTC.
    """
    for table in (data.events, *data.more_events.values()):
        # <table>/events/*.parquet: beside the folder stands up to which sequence it knows the log.
        known = known_of((Path(data.root) / table.path).parent.parent) if table.path else None
        if known is not None:
            # By sequence: profiles begin at the very next event, without a gap or a repeat.
            return KnownUntil(sequence=known)
    last = events.get_column("timestamp").max()
    # A simulated world is ahead of the clock: such a moment would hide all events of the log until then.
    return KnownUntil(timestamp=min(int(last), created) if isinstance(last, int) else created)


def _metrics(folder: RunFolder) -> dict[str, float]:
    """Returns the metrics that the run's evaluation wrote, empty if it was never judged."""
    path = folder.path / EVALUATION_FILE
    if not path.is_file():
        return {}
    metrics: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))["headline_metrics"]
    return metrics
