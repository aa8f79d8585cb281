"""Whole catalogs and many queries through a model, in blocks: the arrays that are judged and exported."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch

from marquee.core.arrays import FloatArray
from marquee.data.dataset import QueryArrays
from marquee.index.ranking import ScoreBlock, inner_product_scores
from marquee.nn.batches import QueryBatch
from marquee.nn.models import TwoTower

BLOCK_ROWS = 4096
BLOCK_EVENTS = 16_384


@contextmanager
def evaluation_mode(model: TwoTower) -> Iterator[None]:
    """Switches dropout and gradients off inside the block and restores the mode afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def to_batch(arrays: QueryArrays) -> QueryBatch:
    """Returns the same queries as tensors."""
    return QueryBatch(
        torch.from_numpy(arrays.user_index),
        torch.from_numpy(arrays.tokens).long(),
        torch.from_numpy(arrays.numeric),
        torch.from_numpy(arrays.history_items).long(),
        torch.from_numpy(arrays.history_kinds).long(),
    )


def embed_catalog(model: TwoTower) -> FloatArray:
    """Returns the embedding of every item, (n_items + 1, out_dim) float32; row 0 is zeros."""
    device = model.item_tokens.device
    with evaluation_mode(model):
        blocks = [
            model.embed_items(block).cpu().numpy()
            for block in torch.split(torch.arange(model.n_items + 1, device=device), BLOCK_ROWS)
        ]
    return np.concatenate(blocks)


def embed_queries(model: TwoTower, item_vectors: FloatArray, queries: QueryArrays) -> FloatArray:
    """Returns the embedding of each query, (n_queries, out_dim) float32.

    Args:
        model: The model that also made `item_vectors`.
        item_vectors: `embed_catalog(model)`, (n_items + 1, out_dim) float32.
        queries: The queries.
    """
    device = model.item_tokens.device
    blocks: list[npt.NDArray[np.float32]] = [np.empty((0, model.out_dim), dtype=np.float32)]
    # Histories are the larger part: a block is bounded by its events as well.
    n_rows = max(1, min(BLOCK_ROWS, BLOCK_EVENTS // max(queries.history_items.shape[1], 1)))
    with evaluation_mode(model):
        for start in range(0, len(queries), n_rows):
            block = queries.rows(slice(start, start + n_rows))
            history = torch.from_numpy(item_vectors[block.history_items])
            blocks.append(model.embed_queries(to_batch(block).to(device), history.to(device)).cpu().numpy())
    return np.concatenate(blocks)


def score_queries(model: TwoTower, queries: QueryArrays) -> ScoreBlock:
    """Returns the scorer of a model for some queries: the inner products with every item."""
    items = embed_catalog(model)
    return inner_product_scores(embed_queries(model, items, queries), items)
