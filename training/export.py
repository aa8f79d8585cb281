"""`python -m training.export run=…`: from a run's checkpoint to a published bundle."""

import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from marquee.bundle.bundle import Bundle, BundleContents, publish
from marquee.bundle.popularity import PopularityConfig
from marquee.core.arrays import FloatArray, IndexArray
from marquee.core.histories import Interactions
from marquee.decision.golden_requests import to_json
from marquee.decision.recommender import Recommender
from marquee.decision.rehearsal import record, sample_requests
from marquee.index.choice import choose_index
from marquee.index.index import IndexConfig, IndexKind
from marquee.index.sweep import Questions
from marquee.nn.embed import embed_queries
from marquee.nn.export import export_towers
from marquee.store.signing import SigningKey
from training.command import command
from training.config import TrainConfig, as_plain
from training.fit import load_model
from training.popularity import fit_context_popularity
from training.prepare import Prepared, prepare
from training.report import EVALUATION_FILE
from training.runs import RunFolder

N_RECALL_QUERIES = 1000
RECALL_K = 10  # what a request asks for that says nothing


@dataclass(kw_only=True)
class ExportConfig:
    """What to export, and where to.

    Attributes:
        run: Folder of the run, or its `latest` file.
        bundles: Folder that bundles of all names live in.
        index: How items are searched.
        popularity: Which contexts have a popular list of their own.
        signing_key: File of the private key that signs the bundle; empty for a bundle without a signature.
        activate: Whether it becomes the current one of its name.
    """

    run: str
    bundles: str = "bundles"
    index: IndexConfig = field(default_factory=lambda: IndexConfig(kind=IndexKind.auto))
    popularity: PopularityConfig = field(default_factory=PopularityConfig)
    signing_key: str = ""
    activate: bool = True


ConfigStore.instance().store(name="export_schema", node=ExportConfig)


def export(config: ExportConfig, console: Console) -> Path:
    """Publishes the best model of a run and returns the bundle's folder.

    Raises:
        ParityError: If the exported model disagrees with the trained one.
    """
    folder = RunFolder.find(config.run)
    run_config = folder.read_config()
    created = int(time.time())
    signing_key = SigningKey.read(config.signing_key) if config.signing_key else None
    prepared = prepare(run_config, folder.path, console)
    with console.status("exporting and proving parity"):
        contents = _contents(prepared, run_config, config, folder, created)
    path = publish(
        contents,
        Path(config.bundles),
        run_config.data.name,
        created=created,
        signing_key=signing_key,
        is_activated=config.activate,
    )
    console.print(
        f"index {contents.index.config.kind}: recall@{contents.index_recall_k} {contents.index_recall:.4f} "
        f"of exact ({contents.index_reason})\nbundle {path}",
        highlight=False,
    )
    return path


def _contents(
    prepared: Prepared, run_config: TrainConfig, config: ExportConfig, folder: RunFolder, created: int
) -> BundleContents:
    """Returns everything that serving needs, in memory."""
    dataset = prepared.dataset
    model = load_model(dataset, run_config, folder.checkpoint)
    known = dataset.known_users(prepared.events)
    queries = known.queries.rows(slice(0, N_RECALL_QUERIES))
    graphs = export_towers(model, queries)
    questions = Questions(
        embed_queries(model, graphs.item_vectors, queries),
        min(RECALL_K, dataset.n_items),
        allowed=[None] * len(queries),
        exclusions=[_seen(known.interactions, user) for user in range(1, len(queries) + 1)],
    )
    choice = choose_index(graphs.item_vectors, config.index, questions, time.perf_counter)
    popularity = _popularity(known.interactions, dataset.n_items)
    contents = BundleContents(
        query_tower=graphs.query_tower,
        item_tower=graphs.item_tower,
        index=choice.index,
        index_recall=choice.recall,
        index_recall_k=questions.k,
        index_reason=choice.reason,
        index_sweeps=choice.sweeps,
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
            dataset, prepared.events, run_config.data, popularity, config.popularity
        ),
        metrics=_metrics(folder),
        config=as_plain(run_config),
    )
    bundle = Bundle.of(contents, created)
    requests = sample_requests(bundle, created, np.random.default_rng(run_config.seed))
    return replace(contents, recorded=to_json(record(Recommender(bundle), requests)))


def _with_new_users(user_vectors: FloatArray, n_users: int) -> FloatArray:
    """Returns the user table with rows of zeros for users that training never saw."""
    vectors = np.zeros((n_users + 1, user_vectors.shape[1]), dtype=np.float32)
    vectors[: len(user_vectors)] = user_vectors
    return vectors


def _seen(interactions: Interactions, user: int) -> IndexArray:
    """Returns the items of a user's history, which an answer leaves out."""
    return interactions.item_index[interactions.offsets[user] : interactions.offsets[user + 1]]


def _popularity(interactions: Interactions, n_items: int) -> FloatArray:
    """Returns each item's share of all interactions, (n_items + 1,) float32; row 0 is 0."""
    counts = np.bincount(interactions.item_index, minlength=n_items + 1).astype(np.float64)
    counts[0] = 0.0
    share: FloatArray = (counts / max(counts.sum(), 1.0)).astype(np.float32)
    return share


def _metrics(folder: RunFolder) -> dict[str, float]:
    """Returns the metrics that the run's evaluation wrote, empty if it was never judged."""
    path = folder.path / EVALUATION_FILE
    if not path.is_file():
        return {}
    metrics: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))["headline_metrics"]
    return metrics


@command("export")
def main(config: DictConfig) -> None:
    """Exports the run that the config names."""
    resolved = OmegaConf.to_object(config)
    assert isinstance(resolved, ExportConfig), f"expected ExportConfig, got {type(resolved)}"
    export(resolved, Console())


if __name__ == "__main__":
    main()
