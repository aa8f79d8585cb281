"""Named models: which parts their towers have, and which of these are knobs.

Every one is a `TwoTower`: a config says which towers it is built of.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from marquee.nn.history_pooling import HistoryPooling
from marquee.nn.models import ModelInputs, TwoTower
from marquee.nn.towers import TowersConfig


@dataclass(kw_only=True)
class ModelConfig:
    """Base of the model configs: the group `model` holds one file per subclass."""

    def towers(self) -> TowersConfig:
        """Returns the parts of this model's towers."""
        raise NotImplementedError(f"{type(self).__name__} must define towers")

    def build(self, inputs: ModelInputs) -> TwoTower:
        """Returns the model, with random weights."""
        return TwoTower(self.towers(), inputs)


@dataclass(kw_only=True)
class TwoTowerConfig(TowersConfig, ModelConfig):
    """Every part of the towers is a knob."""

    def towers(self) -> TowersConfig:
        """Returns itself."""
        return self


@dataclass(kw_only=True)
class MatrixFactorizationConfig(ModelConfig):
    """One learned vector per user and per item, and nothing else.

    Attributes:
        dim: Length of embeddings, without the bias.
        normalise: Embeddings of length 1.
        item_bias: Whether items have a learned bias.

    Source:
        Koren et al. 2009, IEEE Computer 42(8), "Matrix Factorization Techniques for Recommender
        Systems", eq. 1 and 3. Differs from the paper: trained by ranking, not by squared error.
    """

    dim: int = 64
    normalise: bool = True
    item_bias: bool = True

    def __post_init__(self) -> None:
        self.towers()  # refuses what no tower can have

    def towers(self) -> TowersConfig:
        """Returns towers that hold the id tables alone."""
        return TowersConfig(
            dim=self.dim,
            normalise=self.normalise,
            item_bias=self.item_bias,
            query_features=False,
            item_features=False,
            history=False,
            user_id_dropout=0.0,
            item_id_dropout=0.0,
            history_dropout=0.0,
        )


@dataclass(kw_only=True)
class ELSAConfig(ModelConfig):
    """A linear autoencoder in two factors: a user is the sum of the directions of its items.

    ```
    scores of a user = x · A · Aᵀ - x      x: 1 where the user had an item      A: rows of length 1
    ```

    As towers: items normalise, queries do not, and the history is a sum. What an item says of itself, the x
    that is taken away, concerns the loss alone (`loss=normalised_squared_error`): items that a user had are
    left out of its answers. Meant for `negatives=catalog examples.unit=whole examples.equal_queries=true`.

    Attributes:
        dim: Length of embeddings: the rank of the autoencoder.

    Source:
        Vančura et al. 2022, RecSys, "Scalable Linear Shallow Autoencoder for Collaborative Filtering".
        Differs from the paper: a learned common vector stands beside the sum, so that a user without history
        has an answer, and a history is cut to the length that serving keeps.
    """

    dim: int = 256

    def __post_init__(self) -> None:
        self.towers()  # refuses what no tower can have

    def towers(self) -> TowersConfig:
        """Returns towers that sum the history and hold nothing else."""
        return TowersConfig(
            dim=self.dim,
            history_pooling=HistoryPooling.sum,
            normalise_queries=False,
            item_bias=False,
            user_id=False,
            query_features=False,
            item_features=False,
            history_dropout=0.0,
            user_id_dropout=0.0,
            item_id_dropout=0.0,
        )


@dataclass(kw_only=True)
class SASRecConfig(ModelConfig):
    """A causal transformer over the items of the history, and nothing else.

    Attributes:
        dim: Length of embeddings, without the bias.
        n_blocks: Layers of attention and feed-forward.
        n_heads: Parts of a vector that attend by themselves; they divide `dim`.
        expansion: Width of a feed-forward layer, in multiples of `dim`.
        rotary: Whether every block also sees how many events lie between two of them.
        dropout: Of the inputs, and of what each half of a block adds.
        history_dropout: Probability with which a past event is left out in training.
        item_features: Whether item features and text enter.
        normalise: Embeddings of length 1.
        item_bias: Whether items have a learned bias.

    Source:
        Kang and McAuley 2018, ICDM, "Self-Attentive Sequential Recommendation"; with the softmax over the
        catalog after Klenitskiy and Vasilev 2023, RecSys, "Turning Dross Into Gold Loss: is BERT4Rec really
        better than SASRec?". Differs from them as `CausalTransformer` says; cosines, an item bias and
        item features are knobs.
    """

    dim: int = 64
    n_blocks: int = 2
    n_heads: int = 1
    expansion: int = 4
    rotary: bool = False
    dropout: float = 0.1
    history_dropout: float = 0.0
    item_features: bool = False
    normalise: bool = True
    item_bias: bool = True

    def __post_init__(self) -> None:
        self.towers()  # refuses what no tower can have

    def towers(self) -> TowersConfig:
        """Returns towers that read the history alone."""
        return TowersConfig(
            dim=self.dim,
            n_blocks=self.n_blocks,
            n_heads=self.n_heads,
            expansion=self.expansion,
            rotary=self.rotary,
            dropout=self.dropout,
            history_dropout=self.history_dropout,
            item_features=self.item_features,
            normalise=self.normalise,
            item_bias=self.item_bias,
            history_pooling=HistoryPooling.transformer,
            user_id=False,
            query_features=False,
            item_id_dropout=0.0,
        )


MODELS: Mapping[str, type[ModelConfig]] = MappingProxyType(
    {
        "two_tower": TwoTowerConfig,
        "elsa": ELSAConfig,
        "matrix_factorization": MatrixFactorizationConfig,
        "sasrec": SASRecConfig,
    }
)
"""The models by the name that a config chooses them by."""
