"""A small catalog with features, and models and batches over it, for the tests of `marquee.nn`."""

import numpy as np
import torch
from torch import Tensor, nn

from marquee.core.cooccurrence import ItemNeighbours
from marquee.features import FeatureArrays, FeatureConfig, FeatureEncoder, FeatureType
from marquee.nn.architectures import ModelConfig
from marquee.nn.batches import QueryBatch, TrainingBatch
from marquee.nn.models import ModelInputs, TwoTower
from marquee.nn.negatives import Negatives

N_USERS, N_TRAINED_ITEMS, N_ITEMS, N_KINDS, LENGTH = 4, 6, 8, 2, 5

ITEM_COLUMNS: dict[str, list[object]] = {
    "colour": ["red", "green", "blue", "red", "green", "blue", "red", "green"],
    "tags": [["a"], ["a", "b"], [], ["b", "c", "a"], ["c"], ["a"], ["c", "b"], ["a", "b", "c"]],
    "price": [1.0, 2.0, None, 4.0, 5.0, 6.0, 7.0, 8.0],
}
USER_COLUMNS: dict[str, list[object]] = {"region": ["north", "south"], "age": [20.0, 60.0]}


def item_encoder() -> FeatureEncoder:
    """Returns the encoder of `ITEM_COLUMNS`: one token, three tokens, one number and its flag."""
    configs = {
        "colour": FeatureConfig(),
        "tags": FeatureConfig(type=FeatureType.multi, max_values=3),
        "price": FeatureConfig(type=FeatureType.numeric),
    }
    return FeatureEncoder.fit(configs, ITEM_COLUMNS)


def query_encoder() -> FeatureEncoder:
    """Returns the encoder of `USER_COLUMNS`."""
    configs = {"region": FeatureConfig(), "age": FeatureConfig(type=FeatureType.numeric)}
    return FeatureEncoder.fit(configs, USER_COLUMNS)


def no_features(n_rows: int) -> FeatureArrays:
    """Returns arrays without any column."""
    return FeatureArrays(np.zeros((n_rows, 0), dtype=np.int32), np.zeros((n_rows, 0), dtype=np.float32))


def small_inputs() -> ModelInputs:
    """Returns 4 users, 8 items of which 6 stood in training, 2 kinds, and histories of up to 5 events."""
    items = item_encoder()
    return ModelInputs(
        n_users=N_USERS,
        n_trained_items=N_TRAINED_ITEMS,
        query_encoder=query_encoder(),
        item_encoder=items,
        item_features=items.encode(ITEM_COLUMNS, N_ITEMS).with_padding_row(),
        n_kinds=N_KINDS,
        history_length=LENGTH,
        neighbours=small_neighbours(),
    )


def small_neighbours() -> ItemNeighbours:
    """Returns two neighbours for each of the items 1 to 6, a quarter and three quarters of the weight."""
    items = np.zeros((N_ITEMS + 1, 2), dtype=np.int64)
    weights = np.zeros((N_ITEMS + 1, 2), dtype=np.float32)
    for item in range(1, N_TRAINED_ITEMS + 1):
        items[item] = [item % N_TRAINED_ITEMS + 1, (item + 1) % N_TRAINED_ITEMS + 1]
        weights[item] = [0.25, 0.75]
    return ItemNeighbours(items, weights)


def small_model(config: ModelConfig, seed: int = 0) -> TwoTower:
    """Returns a model with no parameter at its starting value, in evaluation mode."""
    torch.manual_seed(seed)
    model = config.build(small_inputs()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
        for part in model.modules():
            if isinstance(part, nn.Embedding):
                part.weight[0] = 0.0
    return model


def small_queries(batch: int, length: int = LENGTH, seed: int = 0) -> QueryBatch:
    """Returns random queries; row 0 has an empty history, the others one of any length."""
    rng = np.random.default_rng(seed)
    features = query_encoder().encode(
        {"region": rng.choice(["north", "south", "unheard of"], batch).tolist(), "age": [30.0] * batch}, batch
    )
    sizes = np.where(np.arange(batch) == 0, 0, rng.integers(1, max(length, 1) + 1, size=batch))
    is_event = np.arange(length)[None, :] >= length - sizes[:, None]
    return QueryBatch(
        torch.from_numpy(rng.integers(0, N_USERS + 1, size=batch)),
        torch.from_numpy(features.tokens).long(),
        torch.from_numpy(features.numeric),
        torch.from_numpy(rng.integers(1, N_ITEMS + 1, size=(batch, length)) * is_event),
        torch.from_numpy(rng.integers(1, N_KINDS + 1, size=(batch, length)) * is_event),
    )


def embed(model: TwoTower, query: QueryBatch) -> Tensor:
    """Returns query embeddings with the history's vectors taken from the model itself."""
    vectors = model.embed_items(torch.arange(model.n_items + 1))
    return model.embed_queries(query, vectors[query.history_items])


def small_batch(batch: int = 3, seed: int = 0) -> TrainingBatch:
    """Returns queries with one target each, and a second target for the last one."""
    rng = np.random.default_rng(seed)
    target = torch.from_numpy(1 + np.arange(batch + 1) % N_TRAINED_ITEMS)
    row = torch.tensor([*range(batch), batch - 1])
    return TrainingBatch(
        small_queries(batch, seed=seed), target, row, torch.from_numpy(rng.random(batch + 1)).float()
    )


def negatives_of(items: list[int], n_targets: int) -> Negatives:
    """Returns candidates that were all to be expected once."""
    n = len(items)
    return Negatives(
        torch.tensor(items), torch.zeros(n), torch.zeros(n_targets), torch.ones(n), torch.ones(n_targets)
    )
