"""A published bundle answers as the trained model ranks, user by user and score by score."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from marquee.core.arrays import FloatArray, IndexArray
from marquee.core.catalog import Catalog, ItemKind
from marquee.core.histories import pad_lists
from marquee.data.dataset import KnownUsers, QueryArrays
from marquee.decision.new_items import embed_items
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer, HistoryEvent, Request, Source
from marquee.nn.architectures import TwoTowerConfig
from marquee.nn.embed import embed_catalog, embed_queries
from marquee.nn.history_pooling import HistoryPooling
from marquee.nn.losses import SampledSoftmaxConfig
from marquee.nn.models import TwoTower
from marquee.nn.negatives import MixedNegativesConfig
from marquee.nn.optimizers import LazyAdamConfig
from marquee.store.live_items import LiveItem
from marquee.world import World
from tests.support.small_data import write_tiny_world
from training.config import ExamplesConfig, TrainConfig, TrainerConfig
from training.export import ExportConfig, export
from training.fitting.fit import fit
from training.runs.folders import RunFolder
from training.runs.prepare import Prepared, prepare

K = 8


@dataclass(frozen=True)
class Published:
    """A trained model and the bundle that was published of it."""

    prepared: Prepared
    model: TwoTower
    recommender: Recommender
    known: KnownUsers
    now: int


@pytest.fixture(scope="module")
def published(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder, console = tmp_path_factory.mktemp("published"), Console(quiet=True)
    data = write_tiny_world(tiny_world, folder / "world")
    _add_items_without_events(folder / "world" / "items.parquet")
    config = TrainConfig(
        runs=str(folder / "runs"),
        data=data,
        model=TwoTowerConfig(dim=8, hidden=8, history_pooling=HistoryPooling.attention),
        loss=SampledSoftmaxConfig(),
        negatives=MixedNegativesConfig(n_uniform=20),
        optimizer=LazyAdamConfig(learning_rate=0.02),
        examples=ExamplesConfig(batch_size=32),
        trainer=TrainerConfig(epochs=2, accelerator="cpu"),
    )
    run = RunFolder.open(config)
    prepared = prepare(config, run.path, console)
    model = fit(prepared.dataset, prepared.validation, config, run.path).model
    bundle = export(ExportConfig(run=str(run.path), bundles=str(folder / "bundles")), console)
    return Published(
        prepared=prepared,
        model=model,
        recommender=Recommender.load(bundle),
        known=prepared.dataset.known_users(prepared.events),
        now=int(prepared.events["timestamp"].max()),  # type: ignore[arg-type] # of an Int64 column it is an int
    )


def _add_items_without_events(table: Path) -> None:
    """Adds a few items to a table that training will know from their features alone."""
    items = pl.read_parquet(table)
    late = items.head(3).with_columns(item_id="late-" + pl.col("item_id"), title=pl.col("title") + " again")
    pl.concat([items, late]).write_parquet(table)


def best_offline(
    published: Published, queries: QueryArrays, seen: list[IndexArray], kind: ItemKind | None
) -> list[FloatArray]:
    """Returns the scores of each query with -inf where the answer may not go, from torch alone."""
    items = embed_catalog(published.model)
    scores = embed_queries(published.model, items, queries) @ items.T
    dataset = published.prepared.dataset
    allowed = Catalog.build(dataset.items, dataset.item_ids).allowed(kind, published.now).flags
    scores[:, ~allowed] = -np.inf
    for row, own in enumerate(seen):
        scores[row, own] = -np.inf
    return list(scores)


def assert_is_the_ranking(answer: Answer, scores: FloatArray, published: Published) -> None:
    """Asserts that an answer holds the K best scores in order, but for ties closer than the tolerance."""
    order = np.lexsort((np.arange(len(scores)), -scores))[:K]
    order = order[np.isfinite(scores[order])]
    got = published.prepared.dataset.item_ids.encode([item.item_id for item in answer.items])
    assert len(got) == len(order)
    np.testing.assert_allclose([item.score for item in answer.items], scores[order], atol=1e-5)
    np.testing.assert_allclose(scores[got], scores[order], atol=2e-5)


@pytest.mark.parametrize("kind", [None, ItemKind.content, ItemKind.ad])
@pytest.mark.parametrize("exclude_seen", [True, False])
def test_known_users_get_what_the_model_ranks(
    published: Published, kind: ItemKind | None, exclude_seen: bool
) -> None:
    known = published.known
    requests = [
        Request(timestamp=published.now, k=K, user_id=user, kind=kind, exclude_seen=exclude_seen)
        for user in known.user_ids.ids
    ]
    offsets, nothing = known.interactions.offsets, np.zeros(0, dtype=np.int64)
    seen = [
        known.interactions.item_index[offsets[user] : offsets[user + 1]].astype(np.int64)
        if exclude_seen
        else nothing
        for user in range(1, len(known.user_ids) + 1)
    ]
    offline = best_offline(published, known.queries, seen, kind)
    answers = published.recommender.recommend(requests)
    assert len(answers) == len(offline) > 40
    assert any(answer.items for answer in answers)
    for answer, scores in zip(answers, offline, strict=True):
        assert answer.source is Source.personal
        assert_is_the_ranking(answer, scores, published)


def test_users_that_came_after_training_get_what_the_model_ranks(published: Published) -> None:
    late = np.flatnonzero(published.known.queries.user_index == 0)
    assert len(late) > 0  # the test above has asked for them as well
    assert (published.known.queries.history_items[late] > 0).any(axis=1).all()


def test_anonymous_history_gets_what_the_model_ranks(published: Published) -> None:
    dataset = published.prepared.dataset
    histories = [[3], [5, 9, 5], list(range(1, 14)), [dataset.n_items]]
    kinds = [[1 + position % 3 for position in range(len(items))] for items in histories]
    requests = [
        Request(
            timestamp=published.now,
            k=K,
            history=tuple(
                HistoryEvent(item_id, dataset.kinds.names[kind - 1])
                for item_id, kind in zip(dataset.item_ids.decode(items), own_kinds, strict=True)
            ),
        )
        for items, own_kinds in zip(histories, kinds, strict=True)
    ]
    nobody = dataset.query_features.of_users.take(np.zeros(len(histories), dtype=np.int64))
    queries = QueryArrays(
        np.zeros(len(histories), dtype=np.int64),
        nobody.tokens,
        nobody.numeric,
        pad_lists(histories, dataset.history_length).astype(np.int32),
        pad_lists(kinds, dataset.history_length).astype(np.int32),
    )
    seen = [np.array(items) for items in histories]
    for answer, scores in zip(
        published.recommender.recommend(requests), best_offline(published, queries, seen, None), strict=True
    ):
        assert answer.source is Source.history
        assert_is_the_ranking(answer, scores, published)


def test_features_alone_get_what_the_model_ranks(published: Published) -> None:
    columns: dict[str, list[object]] = {"region": ["coast", "city"], "device": ["phone", "desktop"]}
    encoder = published.prepared.dataset.query_features.encoder
    arrays = encoder.encode(columns, 2)
    empty = np.zeros((2, published.prepared.dataset.history_length), dtype=np.int32)
    queries = QueryArrays(empty[:, 0].astype(np.int64), arrays.tokens, arrays.numeric, empty, empty)
    requests = [
        Request(timestamp=published.now, k=K, features={"region": region}, context={"device": device})
        for region, device in zip(*columns.values(), strict=True)
    ]
    offline = best_offline(published, queries, [], None)
    for answer, scores in zip(published.recommender.recommend(requests), offline, strict=True):
        assert answer.source is Source.features
        assert_is_the_ranking(answer, scores, published)


def test_batch_is_of_no_account(published: Published) -> None:
    requests = [
        Request(timestamp=published.now, k=K, user_id=user) for user in published.known.user_ids.ids[:7]
    ]
    together = published.recommender.recommend(requests)
    for request, answer in zip(requests, together, strict=True):
        (alone,) = published.recommender.recommend([replace(request)])
        assert [item.item_id for item in alone.items] == [item.item_id for item in answer.items]


def test_live_item_gets_the_vector_that_export_gave_it(published: Published) -> None:
    bundle, dataset = published.recommender.bundle, published.prepared.dataset
    untrained = np.arange(dataset.n_trained_items + 1, dataset.n_items + 1)
    assert len(untrained) > 0
    items = [
        LiveItem(
            item_id=row["item_id"],
            kind=ItemKind(row["kind"]),
            available_from=row["available_from"],
            available_until=row["available_until"],
            attributes={name: row[name] for name in bundle.catalog.attributes.columns},
        )
        for row in dataset.items[(untrained - 1).tolist()].iter_rows(named=True)
    ]
    vectors = embed_items(bundle, items)
    np.testing.assert_allclose(vectors, bundle.index.item_vectors[untrained], atol=1e-6)
    assert len(np.unique(vectors.round(4), axis=0)) > 1
