"""The model: two towers, the id tables they draw on, and how a batch runs through them.

Every model embeds queries and items; every score is their inner product. A model knows no loss and no
sampler.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marquee.core.arrays import FloatArray
from marquee.core.cooccurrence import ItemNeighbours
from marquee.errors import ConfigError
from marquee.features import FeatureArrays, FeatureEncoder
from marquee.nn.bags import distinct_rows
from marquee.nn.batches import HistoryViews, QueryBatch, TrainingBatch
from marquee.nn.logits import Logits
from marquee.nn.negatives import Negatives
from marquee.nn.ranks.files import RowFiles
from marquee.nn.ranks.tables import MappedTable, ShardedTable, Tables
from marquee.nn.scoring import EmbeddedBatch
from marquee.nn.towers import ItemTower, QueryTower, TowersConfig
from marquee.nn.transformer import CausalTransformer


@dataclass(frozen=True)
class ModelInputs:
    """The facts of a data set that a model is built for.

    Attributes:
        n_users: Users with a row, without the unknown one.
        n_trained_items: Items with a learned row; those behind them have features only.
        query_encoder: Of user and context features.
        item_encoder: Of item features.
        item_features: Features of all items, (n_items + 1) rows; row 0 is padding.
        n_kinds: Rows of `EventKinds`.
        history_length: Longest history.
        neighbours: Nearest items of the trained ones; None for a model that does not lean on them.
        tables: How the learned rows are held.
    """

    n_users: int
    n_trained_items: int
    query_encoder: FeatureEncoder
    item_encoder: FeatureEncoder
    item_features: FeatureArrays
    n_kinds: int
    history_length: int
    neighbours: ItemNeighbours | None = None
    tables: Tables = field(default_factory=Tables)

    @property
    def n_items(self) -> int:
        """Items of the catalog, without padding."""
        return len(self.item_features.tokens) - 1


class TwoTower(nn.Module):
    """A query tower and an item tower over learned id tables.

    Args:
        config: Which parts there are.
        inputs: What they are built for.

    Source:
        Covington et al. 2016, RecSys, "Deep Neural Networks for YouTube Recommendations", section 3
        (history as a mean of item vectors); Yi et al. 2019, RecSys, section 3 (two towers, in-batch
        softmax); He et al. 2020, SIGIR, "LightGCN", section 3.1 (neighbours' vectors added, without a
        transformation). Differs from them: the history shares the item tower's output, items carry a bias,
        and the graph is that of items found together, its weighted sum a part of the id's vector: what is
        exported holds no graph.
    """

    item_tokens: Tensor
    item_numeric: Tensor
    neighbour_items: Tensor
    neighbour_weights: Tensor
    linear_table: Tensor

    def __init__(self, config: TowersConfig, inputs: ModelInputs) -> None:
        super().__init__()
        self.config = config
        self.n_items = inputs.n_items
        self.n_trained_items = inputs.n_trained_items
        self.history_length = inputs.history_length
        self.query_encoder = inputs.query_encoder
        # Without features nothing would be left of an item whose id is dropped.
        has_item_features = config.item_features and bool(inputs.item_encoder.features)
        self.drops_item_ids = config.item_id_dropout > 0 and has_item_features
        self.item_tower = ItemTower(config, inputs.item_encoder)
        self.query_tower = QueryTower(config, inputs.query_encoder, inputs.n_kinds, inputs.history_length)
        build = inputs.tables.build
        n_user_rows = inputs.n_users + 1 if config.user_id else 1
        n_item_rows = inputs.n_trained_items + 1
        user_std = config.user_scale * config.dim**-0.5
        self.user_table = build("user_table", n_user_rows, config.dim, std=user_std)
        self.item_table = build("item_table", n_item_rows if config.item_id else 1, config.dim)
        self.bias_table = build("bias_table", n_item_rows, 1, std=0.0) if config.item_bias else None
        self.register_buffer("item_tokens", torch.from_numpy(inputs.item_features.tokens), persistent=False)
        self.register_buffer("item_numeric", torch.from_numpy(inputs.item_features.numeric), persistent=False)
        if config.item_neighbours:
            self._register_neighbours(inputs.neighbours)

    def _register_neighbours(self, neighbours: ItemNeighbours | None) -> None:
        """Keeps the graph of items, which moves with the model and is found anew when it is loaded.

        Raises:
            ConfigError: If the inputs hold no graph.
        """
        if neighbours is None:
            raise ConfigError(
                f"model.item_neighbours is {self.config.item_neighbours}, got inputs without neighbours; "
                "find them from the training interactions, or set it to 0"
            )
        weights = self.config.neighbour_weight * torch.from_numpy(neighbours.weights)
        self.register_buffer("neighbour_items", torch.from_numpy(neighbours.items), persistent=False)
        self.register_buffer("neighbour_weights", weights, persistent=False)

    @property
    def out_dim(self) -> int:
        """Length of the vectors whose inner product is the score."""
        return self.config.dim + self.item_tower.linear_rank + (1 if self.config.item_bias else 0)

    def attach_linear(self, vectors: Tensor) -> None:
        """Puts a linear model of items from items beside what was learned; training goes on without it.

        Args:
            vectors: `LinearItems.vectors` of the trained items, times the root of what its scores count,
                (n_trained_items + 1, rank) float32; takes the place of what was attached before.
        """
        self.register_buffer("linear_table", vectors, persistent=False)
        self.item_tower.linear_rank = self.query_tower.linear_rank = vectors.shape[1]

    @torch.no_grad()
    def centre_biases(self, odds_unit: float) -> None:
        """Makes an item without a row as likely as the mean of those that have one, features aside.

        What the learned biases have in common moves into the base, which is all that a new item has of them:
        scores of known items stay as they are. Left alone, the base is wherever training put it, for a
        softmax over known items does not see it; new items then stand far below what their features deserve.
        All stays as it is where features never stand alone in training: there nobody has learned how far a
        new item can be trusted, and without features nothing tells new items apart.

        Args:
            odds_unit: See `LossConfig.odds_unit`.
        """
        base = self.item_tower.base_bias
        if self.bias_table is None or base is None or not self.drops_item_ids or not self.n_trained_items:
            return
        common = self.bias_table.log_mean_exp(odds_unit)
        base.add_(common)
        self.bias_table.subtract_(common)

    def id_vectors(self, item_index: Tensor) -> Tensor:
        """Returns the learned vector of each item's id, (n, id_dim) float32; zeros without a row."""
        # Items behind the trained ones have no row: they share the zeros of row 0.
        known = torch.where(item_index <= self.n_trained_items, item_index, 0)
        if self.training and self.drops_item_ids:
            known = known * _keep(known, self.config.item_id_dropout)
        rows = known if self.config.item_id else torch.zeros_like(known)
        vector: Tensor = self._joined(rows) if self.config.item_neighbours else self.item_table(rows)
        if self.item_tower.linear_rank and not self.training:
            vector = torch.cat([vector, self.linear_table[known]], dim=1)
        if self.bias_table is None:
            return vector
        return torch.cat([vector, self.bias_table(known)], dim=1)

    def _joined(self, item_index: Tensor) -> Tensor:
        """Returns the rows of the item table joined by those of their neighbours, (n, dim) float32."""
        company, weights = self.neighbour_items[item_index], self.neighbour_weights[item_index]
        index = torch.cat([item_index[:, None], company], dim=1)  # (n, 1 + n_neighbours)
        weight = F.pad(weights, (1, 0), value=1.0)  # (n, 1 + n_neighbours); the item's own row counts in full
        sizes = torch.full_like(item_index, index.shape[1])
        return self.item_table.sum_rows(index.view(-1), weight.view(-1), sizes)

    def embed_items(self, item_index: Tensor) -> Tensor:
        """Returns item embeddings, (n, out_dim) float32; zeros for index 0."""
        vectors: Tensor = self.item_tower(
            self.id_vectors(item_index), self.item_tokens[item_index].long(), self.item_numeric[item_index]
        )
        # Features, layers and bias would give padding a vector.
        return vectors * (item_index > 0)[:, None]

    def embed_queries(self, query: QueryBatch, history_vectors: Tensor) -> Tensor:
        """Returns query embeddings as the exported tower computes them, without dropout.

        Args:
            query: The queries, `batch` rows.
            history_vectors: Embeddings of `query.history_items`, (batch, length, out_dim) float32.

        Returns:
            (batch, out_dim) float32.
        """
        embedded: Tensor = self.query_tower(
            self.user_vectors(query.user_index),
            query.tokens,
            query.numeric,
            history_vectors,
            query.history_kinds,
        )
        return embedded

    def user_vectors(self, user_index: Tensor) -> Tensor:
        """Returns the rows of the user table, (batch, dim) float32; zeros where there are no user ids."""
        vectors: Tensor = self.user_table(user_index if self.config.user_id else torch.zeros_like(user_index))
        return vectors

    def user_array(self) -> FloatArray:
        """Returns the rows of the user table, (n_users + 1, dim) float32; mapped where they lie in files."""
        assert not isinstance(self.user_table, ShardedTable), "expected a trained table, got a rank's part"
        rows: FloatArray = self.user_table.weight.detach().cpu().numpy()
        return rows

    @contextmanager
    def mapped(self, files: Mapping[str, RowFiles]) -> Iterator[None]:
        """Reads tables out of files inside the block, in place of those that are being trained."""
        held = {name: getattr(self, name) for name in files}
        for name, of_table in files.items():
            setattr(self, name, MappedTable(of_table))
        try:
            yield
        finally:
            for name, table in held.items():
                setattr(self, name, table)

    def _training_queries(self, query: QueryBatch, table: Tensor, place: Tensor) -> Tensor:
        """Returns query embeddings with users and past events dropped at random, (batch, out_dim) float32.

        Args:
            query: The queries, `batch` rows.
            table: Embeddings of the distinct items of the batch, (n_distinct, out_dim) float32.
            place: Row of `table` of each past event, in the shape of the histories, int64.
        """
        user_index, kinds, pooled = query.user_index, query.history_kinds, None
        if self.config.user_id_dropout:
            # Index 0 is the unknown user.
            user_index = user_index * _keep(user_index, self.config.user_id_dropout)
        if self.query_tower.history is not None:
            # Kind 0 is padding: a dropped event is as if it had not been.
            kinds = kinds * _keep(kinds, self.config.history_dropout)
            pooled = self._pooled(table[:, : self.config.dim], place, kinds, query.views)
        return self.query_tower.combine(self.user_vectors(user_index), query.tokens, query.numeric, pooled)

    def _pooled(self, table: Tensor, place: Tensor, kinds: Tensor, views: HistoryViews | None) -> Tensor:
        """Returns the pooled history of each query, (batch, dim) float32."""
        history = self.query_tower.history
        assert history is not None, "expected a query tower with a history, got one without"
        if views is None:
            return history.pool(table, place, kinds)
        assert isinstance(history, CausalTransformer), f"expected a transformer, got {type(history)}"
        return history.pool_views(table, place, kinds, views.row, views.end)

    def forward(self, batch: TrainingBatch, negatives: Negatives) -> Logits:
        """Returns the logits of targets and candidates; see `embed_batch`."""
        return self.embed_batch(batch, negatives).logits()

    def embed_batch(self, batch: TrainingBatch, negatives: Negatives) -> EmbeddedBatch:
        """Returns queries, targets and candidates as vectors.

        Each item of the batch is embedded once, wherever it occurs: the cost follows the number of
        distinct items in the batch, not the size of the catalog.
        """
        past = batch.query.history_items
        past = past if self.config.history else past[:, :0]
        is_event = past > 0
        padding = past.new_zeros(1)  # row 0 of what is distinct: the many empty places need no search
        parts = (batch.target_item, negatives.items, past[is_event], padding)
        distinct, place = distinct_rows(torch.cat(parts), self.n_items + 1)
        vectors = self.embed_items(distinct)  # (n_distinct, out_dim)
        # (n_targets,), (n_candidates,), (n_events,)
        target, candidate, of_event, _ = torch.split(place, [len(part) for part in parts])
        # (batch, length); padding keeps place 0
        past_place = torch.zeros_like(past).masked_scatter(is_event, of_event)
        return EmbeddedBatch(
            queries=self._training_queries(batch.query, vectors, past_place),
            targets=F.embedding(target, vectors),
            candidates=F.embedding(candidate, vectors),
            target_item=batch.target_item,
            target_row=batch.target_row,
            negatives=negatives,
        )


def _keep(values: Tensor, dropout: float) -> Tensor:
    """Returns True with probability 1 - dropout, same shape as `values`, bool."""
    return torch.rand(values.shape, device=values.device) >= dropout
