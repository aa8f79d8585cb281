"""The two towers: what is known of an item, and of a query, becomes a vector.

Both take vectors of the large id tables as *inputs*. The tables themselves stay outside, so that the
exported graphs hold arithmetic alone and the tables are memory-mapped files, shared between workers.
A history enters as item vectors: whatever has an item vector can stand in a history, also an item added
after training.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from marquee.errors import ConfigError
from marquee.features import FeatureEncoder, TokenBlock
from marquee.nn.autograd import Context
from marquee.nn.history_pooling import HistoryEncoder, HistoryPooling, HistorySum
from marquee.nn.transformer import CausalTransformer, TransformerSizes

SHORTEST = 1e-2


class TokenBag(nn.Module):
    """Sums the features of a row: the mean embedding of each block of tokens, plus a linear map of numbers.

    Args:
        encoder: Says which columns and table rows belong to which feature.
        dim: Length of the result.
    """

    def __init__(self, encoder: FeatureEncoder, dim: int) -> None:
        super().__init__()
        self.blocks: tuple[TokenBlock, ...] = encoder.blocks
        self.table = nn.Embedding(encoder.n_token_rows, dim, padding_idx=0, sparse=True)
        nn.init.normal_(self.table.weight, std=dim**-0.5)
        with torch.no_grad():
            # So do rows of unknown values: where training knows every value, nothing would move them.
            self.table.weight[[0, *(block.unknown_row for block in self.blocks)]] = 0.0
        self.numeric = nn.Linear(encoder.n_numeric, dim, bias=False) if encoder.n_numeric else None

    def forward(self, tokens: Tensor, numeric: Tensor) -> Tensor:
        """Returns one vector per row.

        Args:
            tokens: (batch, n_token_columns) int64, 0 = padding.
            numeric: (batch, n_numeric) float32.

        Returns:
            (batch, dim) float32; zeros where everything is padding and 0.
        """
        total = torch.zeros(tokens.shape[0], self.table.embedding_dim, device=tokens.device)
        for block in self.blocks:
            # (batch, n_columns)
            columns = tokens[:, block.first_column : block.first_column + block.n_columns]
            total = total + self._mean(columns)
        if self.numeric is not None:
            total = total + self.numeric(numeric)
        return total

    def _mean(self, columns: Tensor) -> Tensor:
        """Returns the mean row of the tokens that are not padding, (batch, dim) float32.

        The fused operator is several times faster in training and has no ONNX form; the plain one
        computes the same and is what is exported. Trap: test_token_bag_is_the_same_in_both_modes.
        """
        if self.training:
            return F.embedding_bag(columns, self.table.weight, mode="mean", padding_idx=0, sparse=True)
        mask = (columns > 0).to(self.table.weight.dtype)
        total: Tensor = (self.table(columns) * mask[:, :, None]).sum(dim=1)  # (batch, dim)
        return total / mask.sum(dim=1, keepdim=True).clamp_min(1.0)


def residual_mlp(dim: int, hidden: int, dropout: float) -> nn.Module:
    """Returns a two-layer map (batch, dim) → (batch, dim) that starts at zero, to be added to its input."""
    last = nn.Linear(hidden, dim)
    # The map begins as nothing, so that its input passes unchanged.
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), last)


def to_direction(vector: Tensor) -> Tensor:
    """Returns each vector, (batch, dim), divided by its length, or by `SHORTEST` where that is more.

    A query of which nothing is known begins at zero, and a direction changes ever faster towards zero.
    Trap: with a smaller floor its first gradient is so large that second moments never forget it;
    test_first_gradient_of_an_unknown_query_is_moderate.
    """
    if torch.is_grad_enabled() and vector.requires_grad:
        direction: Tensor = _Direction.apply(vector)  # type: ignore[no-untyped-call] # torch's own
        return direction
    return F.normalize(vector, dim=1, eps=SHORTEST)


class _Direction(torch.autograd.Function):
    """`F.normalize` with a gradient of three passes: torch's takes a dozen."""

    @staticmethod
    def forward(ctx: Context, vector: Tensor) -> Tensor:
        """Returns the directions, (batch, dim) float32."""
        length = torch.linalg.vector_norm(vector, dim=1, keepdim=True).clamp_min_(SHORTEST)  # (batch, 1)
        direction: Tensor = vector / length
        ctx.save_for_backward(direction, length)
        return direction

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, gradient: Tensor) -> Tensor:
        """Returns the gradient across each direction; all of it where the length is the floor."""
        direction, length = ctx.saved_tensors
        # A direction moves only across itself; below the floor the map is a plain division.
        along = (gradient * direction).sum(dim=1, keepdim=True) * (length > SHORTEST)
        across: Tensor = torch.addcmul(gradient, direction, along, value=-1).div_(length)
        return across


def sum_per_root(vectors: Tensor, kinds: Tensor) -> Tensor:
    """Returns the sum of a history's vectors divided by the root of how many there are, (batch, dim) float32.

    Args:
        vectors: (batch, length, dim) float32.
        kinds: (batch, length) int64, 0 = padding.
    """
    # A column of padding in front keeps the product defined for a history of length 0.
    mask = F.pad((kinds > 0).to(vectors.dtype), (1, 0))  # (batch, 1 + length)
    total: Tensor = (mask[:, None, :] @ F.pad(vectors, (0, 0, 1, 0)))[:, 0]  # (batch, dim)
    return total / mask.sum(dim=1, keepdim=True).clamp_min(1.0).sqrt()


class ItemTower(nn.Module):
    """Embeds items from the vector of their id, their features and text.

    Args:
        config: See `TowersConfig`.
        encoder: Of the item features.
    """

    def __init__(self, config: "TowersConfig", encoder: FeatureEncoder) -> None:
        super().__init__()
        self.normalise = config.normalise
        self.features = TokenBag(encoder, config.dim) if config.item_features else None
        self.mlp = residual_mlp(config.dim, config.hidden, config.dropout) if config.hidden else None
        self.base_bias = nn.Parameter(torch.zeros(1)) if config.item_bias else None
        self.bias_scale = config.bias_scale
        self.dim, self.linear_rank = config.dim, 0

    def forward(self, id_vector: Tensor, tokens: Tensor, numeric: Tensor) -> Tensor:
        """Returns item embeddings.

        Args:
            id_vector: (batch, id_dim) float32: the row of the id table, zeros for an item without one; then
                the linear part (if any, and not in training); with a bias, its last column is the item's
                deviation from the common bias.
            tokens: (batch, n_token_columns) int64.
            numeric: (batch, n_numeric) float32.

        Returns:
            (batch, out_dim) float32: the direction of length 1 (if normalised), then the linear part as it
            came (if any), then the bias (if any).
        """
        vector = id_vector[:, : self.dim]  # (batch, dim)
        if self.features is not None:
            vector = vector + self.features(tokens, numeric)
        if self.mlp is not None:
            vector = vector + self.mlp(vector)
        if self.normalise:
            vector = to_direction(vector)
        if self.linear_rank and not self.training:
            vector = torch.cat([vector, id_vector[:, self.dim : self.dim + self.linear_rank]], dim=1)
        if self.base_bias is None:
            return vector
        bias = id_vector[:, -1:] + self.base_bias  # (batch, 1)
        if not self.training:
            # In training the loss must see the bias whole; see `TowersConfig.bias_scale`.
            bias = bias * self.bias_scale
        return torch.cat([vector, bias], dim=1)  # (batch, dim + 1)


class QueryTower(nn.Module):
    """Embeds a query from any of: the user's id, user and context features, the history.

    The parts add up, and a common vector stands under them, so that a query of which nothing is known
    still has an answer: what everybody gets.

    Args:
        config: See `TowersConfig`.
        encoder: Of the user and context features.
        n_kinds: Rows of `EventKinds`.
        history_length: Longest history.
    """

    def __init__(
        self, config: "TowersConfig", encoder: FeatureEncoder, n_kinds: int, history_length: int
    ) -> None:
        super().__init__()
        self.normalise = config.normalise and config.normalise_queries
        self.item_bias = config.item_bias
        self.use_id = config.user_id
        self.linear_rank = 0
        self.common = nn.Parameter(torch.zeros(config.dim))
        self.features = TokenBag(encoder, config.dim) if config.query_features else None
        self.history = config.build_history(n_kinds, history_length) if config.history else None
        self.mlp = residual_mlp(config.dim, config.hidden, config.dropout) if config.hidden else None

    def forward(
        self,
        user_vector: Tensor,
        tokens: Tensor,
        numeric: Tensor,
        history_vectors: Tensor,
        history_kinds: Tensor,
    ) -> Tensor:
        """Returns query embeddings.

        Args:
            user_vector: Row of the user table, (batch, dim) float32; zeros for an unknown user.
            tokens: (batch, n_token_columns) int64.
            numeric: (batch, n_numeric) float32.
            history_vectors: Item embeddings of the history, (batch, length, out_dim) float32.
            history_kinds: (batch, length) int64, 0 = padding.

        Returns:
            (batch, out_dim) float32: the direction of length 1 (if normalised), then the linear part (if
            any, and not in training), then a 1 that meets the item's bias (if any).
        """
        pooled, dim = None, len(self.common)
        if self.history is not None:
            # Item vectors come with their bias, which is no part of a direction.
            pooled = self.history(history_vectors[:, :, :dim], history_kinds)
        embedded = self.combine(user_vector, tokens, numeric, pooled)
        if not self.linear_rank or self.training:
            return embedded
        linear = sum_per_root(history_vectors[:, :, dim : dim + self.linear_rank], history_kinds)
        return torch.cat([embedded[:, :dim], linear, embedded[:, dim:]], dim=1)

    def combine(self, user_vector: Tensor, tokens: Tensor, numeric: Tensor, history: Tensor | None) -> Tensor:
        """Returns query embeddings from a history that is already pooled, (batch, dim), if there is one."""
        vector = self.common.expand(tokens.shape[0], -1)  # (batch, dim)
        if self.use_id:
            vector = vector + user_vector
        if self.features is not None:
            vector = vector + self.features(tokens, numeric)
        if history is not None:
            vector = vector + history
        if self.mlp is not None:
            vector = vector + self.mlp(vector)
        if self.normalise:
            vector = to_direction(vector)
        if not self.item_bias:
            return vector
        return torch.cat([vector, torch.ones_like(vector[:, :1])], dim=1)  # (batch, dim + 1)


@dataclass(kw_only=True)
class TowersConfig:
    """Which parts the towers have.

    Attributes:
        dim: Length of embeddings, without the bias.
        user_id: Whether known users have a learned vector.
        item_id: Whether known items have a learned vector.
        query_features: Whether user and context features enter.
        item_features: Whether item features and text enter.
        history: Whether the history enters.
        history_pooling: How.
        n_blocks: `transformer`: layers of attention and feed-forward.
        n_heads: `transformer`: parts of a vector that attend by themselves; they divide `dim`.
        expansion: `transformer`: width of its feed-forward layers, in multiples of `dim`.
        rotary: `transformer`: whether every block also sees how many events lie between two of them.
        hidden: Width of the residual layer of each tower; 0 for none.
        dropout: Inside the residual layers, and in the blocks of a transformer.
        history_dropout: Probability with which a past event is left out in training.
        user_id_dropout: Probability with which a user is treated as unknown in training, so that unknown
            users are served by the rest of the tower.
        item_id_dropout: The same for items without a learned vector.
        normalise: Embeddings of length 1: scores are cosines (plus the bias).
        normalise_queries: Whether those of queries are as well; otherwise only those of items.
        item_bias: Whether items have a learned bias: one more coordinate of the inner product.
        bias_scale: What the bias counts once the model is trained, beside what it counted in training. Below
            1 where training leaves out much of the history: with the whole of it the direction says more,
            and what everybody likes should say less.
        item_neighbours: How many of the items that are found together with it join an item's learned vector
            with theirs; 0 for none. Rare items then learn from their company.
        neighbour_weight: Weight of their mean beside the item's own vector.
        neighbour_user_damping: Where two items meet, a user of n items counts n to minus this.
        user_scale: Length of a user's learned vector before training, beside about 1 for an item's.
        linear_rank: Coordinates beside the learned ones that hold a linear model of items from items, see
            `LinearItems`; they join a trained model. 0 for none.
        linear_weight: What its scores, of a standard deviation of 1, count beside the learned ones; 0 leaves
            it out.
        linear_regularization: Weight of its squared weights.
    """

    dim: int = 64
    user_id: bool = True
    item_id: bool = True
    query_features: bool = True
    item_features: bool = True
    history: bool = True
    history_pooling: HistoryPooling = HistoryPooling.attention
    n_blocks: int = 2
    n_heads: int = 2
    expansion: int = 4
    rotary: bool = False
    hidden: int = 0
    dropout: float = 0.1
    history_dropout: float = 0.2
    user_id_dropout: float = 0.5
    item_id_dropout: float = 0.3
    normalise: bool = True
    normalise_queries: bool = True
    item_bias: bool = True
    bias_scale: float = 1.0
    item_neighbours: int = 0
    neighbour_weight: float = 1.0
    neighbour_user_damping: float = 1.0
    user_scale: float = 1.0
    linear_rank: int = 0
    linear_weight: float = 0.0
    linear_regularization: float = 300.0

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if a number is out of range or a tower would have no input."""
        if self.dim < 1 or self.hidden < 0:
            raise ConfigError(
                f"model.dim must be 1 or more and model.hidden 0 or more, got {self.dim} and {self.hidden}"
            )
        self._validate_transformer()
        for name in ("dropout", "history_dropout", "user_id_dropout", "item_id_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be in [0, 1), got {getattr(self, name)}")
        for name in (
            "bias_scale",
            "item_neighbours",
            "neighbour_weight",
            "neighbour_user_damping",
            "user_scale",
            "linear_rank",
            "linear_weight",
        ):
            if getattr(self, name) < 0:
                raise ConfigError(f"model.{name} must be 0 or more, got {getattr(self, name)}")
        if self.item_neighbours and not self.item_id:
            raise ConfigError(
                f"model.item_neighbours joins learned vectors, got {self.item_neighbours} with "
                "model.item_id=false; switch that on, or set it to 0"
            )
        if self.linear_rank and not (self.history and self.linear_regularization > 0):
            raise ConfigError(
                f"model.linear_rank reads histories: {self.linear_rank} needs model.history=true and "
                f"model.linear_regularization above 0, got {self.history} and {self.linear_regularization}, "
                "or set it to 0"
            )
        if not (self.user_id or self.query_features or self.history):
            raise ConfigError(
                "the query tower has no input: got model.user_id, query_features and history all false; "
                "switch one on"
            )
        if not (self.item_id or self.item_features):
            raise ConfigError(
                "the item tower has no input: got model.item_id and item_features both false; switch one on"
            )

    def _validate_transformer(self) -> None:
        """Raises ConfigError if no transformer could have these sizes."""
        if min(self.n_blocks, self.n_heads, self.expansion) < 1:
            raise ConfigError(
                "model.n_blocks, n_heads and expansion must be 1 or more, got "
                f"{self.n_blocks}, {self.n_heads} and {self.expansion}"
            )
        if self.history_pooling is HistoryPooling.transformer and self.dim % self.n_heads:
            raise ConfigError(
                f"model.n_heads must divide model.dim, got {self.n_heads} heads and {self.dim} dimensions"
            )
        if self.rotary and self.dim // self.n_heads % 2:
            raise ConfigError(
                "model.rotary turns pairs of coordinates: model.dim / model.n_heads must be even, got "
                f"{self.dim} / {self.n_heads}"
            )

    def build_history(
        self, n_kinds: int, history_length: int
    ) -> HistorySum | HistoryEncoder | CausalTransformer:
        """Returns the part that pools a history.

        Args:
            n_kinds: Rows of `EventKinds`.
            history_length: Longest history.
        """
        if self.history_pooling is HistoryPooling.sum:
            return HistorySum()
        if self.history_pooling is not HistoryPooling.transformer:
            return HistoryEncoder(self.history_pooling, self.dim, n_kinds, history_length)
        sizes = TransformerSizes(
            self.dim, self.n_blocks, self.n_heads, self.expansion, self.dropout, self.rotary
        )
        return CausalTransformer(sizes, n_kinds, history_length)
