"""Starts: the towers say what the start asked for, whichever parts they have."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from marquee.core.cooccurrence import ItemNeighbours
from marquee.data.dataset import Dataset
from marquee.errors import ConfigError
from marquee.nn.architectures import MatrixFactorizationConfig, ModelConfig, TwoTowerConfig
from marquee.nn.initialisation.tables import InitialisationConfig, SpectralInitialisationConfig, place_items
from marquee.nn.losses import SampledSoftmaxConfig
from marquee.nn.models import TwoTower
from marquee.nn.negatives import MixedNegativesConfig
from marquee.nn.optimizers import LazyAdamConfig
from marquee.world import World
from tests.support.small_data import Prepared, write_tiny_world
from tests.support.small_models import N_ITEMS, N_TRAINED_ITEMS, small_inputs, small_neighbours
from training.config import TrainConfig
from training.fitting.building import build_module
from training.fitting.module import RetrievalModule

DIM = 6
TRAINED = torch.arange(1, N_TRAINED_ITEMS + 1)


def directions(seed: int = 0) -> Tensor:
    """Returns a vector of length 1 for each item, (n_items + 1, DIM); zeros for padding."""
    drawn = torch.randn(N_ITEMS + 1, DIM, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=1) * (torch.arange(N_ITEMS + 1) > 0)[:, None]


def placed(config: ModelConfig, vectors: Tensor, neighbours: ItemNeighbours | None = None) -> TwoTower:
    """Returns a model whose items were placed at `vectors`, with a tenth of the item_index as bias."""
    torch.manual_seed(1)
    model = config.build(replace(small_inputs(), neighbours=neighbours or small_neighbours())).eval()
    place_items(model, vectors.numpy(), np.linspace(0, N_ITEMS / 10, N_ITEMS + 1, dtype=np.float32))
    return model


@pytest.mark.parametrize(
    "config",
    [
        TwoTowerConfig(dim=DIM),
        TwoTowerConfig(dim=DIM, hidden=5),
        TwoTowerConfig(dim=DIM, item_features=False, normalise=False),
        TwoTowerConfig(dim=DIM, item_neighbours=2, neighbour_weight=0.5),
        MatrixFactorizationConfig(dim=DIM, item_bias=False),
    ],
    ids=["features", "hidden", "raw", "neighbours", "matrix_factorization"],
)
def test_items_lie_where_they_are_placed(config: ModelConfig) -> None:
    vectors = directions()
    model = placed(config, vectors)
    torch.testing.assert_close(model.embed_items(TRAINED)[:, :DIM], vectors[TRAINED], atol=1e-4, rtol=0)
    assert not model.item_table.weight[0].any()


def test_bias_is_placed_for_items_with_a_row() -> None:
    bias = placed(TwoTowerConfig(dim=DIM), directions()).embed_items(torch.arange(N_ITEMS + 1))[:, -1]
    assert bias.tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0, 0])


def test_item_without_a_row_lies_among_its_like() -> None:
    vectors = directions()
    vectors[4] = vectors[1].clone()  # the red ones of training; item 7 is red as well, item 8 green
    model = placed(TwoTowerConfig(dim=DIM), vectors)
    model.item_tokens[:, 1:] = 0  # colours alone
    seventh, eighth = model.embed_items(torch.tensor([7, 8]))[:, :DIM]
    torch.testing.assert_close(seventh, vectors[1])
    green = torch.nn.functional.normalize(vectors[2] + vectors[5], dim=0)
    torch.testing.assert_close(eighth, green)


def test_item_that_the_start_does_not_know_keeps_its_random_row() -> None:
    vectors = directions()
    vectors[3] = 0
    torch.manual_seed(1)
    before = TwoTowerConfig(dim=DIM).build(small_inputs()).item_table.weight
    after = placed(TwoTowerConfig(dim=DIM), vectors).item_table.weight
    assert [torch.equal(before[item], after[item]) for item in (2, 3, 4)] == [False, True, False]


def test_company_that_outweighs_the_item_leaves_rows_finite() -> None:
    model = placed(TwoTowerConfig(dim=DIM, item_neighbours=2, neighbour_weight=50.0), directions())
    assert model.item_table.weight.abs().max() < 10


def test_base_start_leaves_the_random_weights(prepared: Prepared) -> None:
    module = module_of(prepared, TwoTowerConfig(dim=DIM))
    before = {name: weights.clone() for name, weights in module.model.state_dict().items()}
    assert InitialisationConfig().apply(module.model, prepared.dataset, seed=1) == ""
    nothing = SpectralInitialisationConfig(scale=0.0)
    assert nothing.apply(module.model, prepared.dataset, seed=1) == "random start: start.scale is 0"
    assert all(torch.equal(before[name], weights) for name, weights in module.model.state_dict().items())


@pytest.fixture(scope="module")
def prepared(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.read(write_tiny_world(tiny_world, tmp_path_factory.mktemp("tiny") / "world"))


def module_of(prepared: Prepared, model: ModelConfig) -> RetrievalModule:
    config = TrainConfig(
        data=prepared.config,
        model=model,
        loss=SampledSoftmaxConfig(),
        negatives=MixedNegativesConfig(),
        optimizer=LazyAdamConfig(),
    )
    return build_module(prepared.dataset, config)


def spectral(prepared: Prepared, model: ModelConfig, start: SpectralInitialisationConfig) -> TwoTower:
    module = module_of(prepared, model)
    assert "spectral start: " in start.apply(module.model, prepared.dataset, seed=1)
    return module.model.eval()


def users_of_items(dataset: Dataset) -> list[set[int]]:
    """Returns the users of each item in training."""
    users: list[set[int]] = [set() for _ in range(dataset.n_items + 1)]
    for user in range(1, dataset.n_users + 1):
        events = slice(dataset.train.offsets[user], dataset.train.offsets[user + 1])
        for item in dataset.train.item_index[events].tolist():
            users[item].add(user)
    return users


def test_spectral_bias_grows_with_the_log_of_an_items_users(prepared: Prepared) -> None:
    model = spectral(prepared, TwoTowerConfig(dim=DIM), SpectralInitialisationConfig(bias_per_log_user=0.3))
    assert model.bias_table is not None
    n_users = [max(len(users), 1) for users in users_of_items(prepared.dataset)]
    n_rows = prepared.dataset.n_trained_items + 1
    expected = 0.3 * np.log(n_users[:n_rows])
    assert model.bias_table.weight[:, 0].tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_spectral_lengths_grow_with_an_items_users_where_nothing_normalises(prepared: Prepared) -> None:
    config = TwoTowerConfig(dim=DIM, normalise=False, item_features=False)
    starts = (SpectralInitialisationConfig(scale=1.0, length_exponent=power) for power in (0.0, 1.0))
    flat, steep = (spectral(prepared, config, start).item_table.weight[1:] for start in starts)
    n_users = torch.tensor([len(users) for users in users_of_items(prepared.dataset)])
    ratio = steep.norm(dim=1) / flat.norm(dim=1) / n_users[1 : len(flat) + 1]
    torch.testing.assert_close(ratio, ratio[0].expand(len(ratio)))
    assert steep.square().sum(dim=1).mean().item() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_spectral_vectors_have_the_length_of_the_scale(prepared: Prepared, scale: float) -> None:
    config = TwoTowerConfig(dim=DIM, item_features=False, user_scale=0.1)
    model = spectral(prepared, config, SpectralInitialisationConfig(scale=scale))
    torch.testing.assert_close(model.item_table.weight[1:].norm(dim=1).mean().item(), scale)
    torch.testing.assert_close(model.user_table.weight[1:].norm(dim=1).mean().item(), 0.1 * scale)


def test_users_lie_in_the_midst_of_their_items(prepared: Prepared) -> None:
    model = spectral(prepared, MatrixFactorizationConfig(dim=DIM), SpectralInitialisationConfig(scale=1.0))
    users = users_of_items(prepared.dataset)
    items = model.embed_items(torch.arange(prepared.dataset.n_items + 1))[:, :DIM]
    for user in (1, 7):
        midst = sum((items[item] for item, who in enumerate(users) if user in who), torch.zeros(DIM))
        expected = midst / midst.norm()
        torch.testing.assert_close(model.user_table.weight[user], expected, atol=1e-5, rtol=0)


def test_features_of_a_query_say_nothing_at_a_spectral_start(prepared: Prepared) -> None:
    model = spectral(prepared, TwoTowerConfig(dim=DIM), SpectralInitialisationConfig())
    assert model.query_tower.features is not None
    assert not model.query_tower.features.table.weight.any()


def test_spectral_start_without_users_or_items_places_what_there_is(prepared: Prepared) -> None:
    model = spectral(
        prepared, TwoTowerConfig(dim=DIM, user_id=False, item_id=False), SpectralInitialisationConfig()
    )
    items = model.embed_items(torch.arange(1, prepared.dataset.n_trained_items + 1))
    assert items.isfinite().all()
    assert len(model.user_table.weight) == len(model.item_table.weight) == 1


def test_impossible_start_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"start\.n_passes must be 1 or more, got 0"):
        SpectralInitialisationConfig(n_passes=0)
    with pytest.raises(ConfigError, match=r"start\.scale must be 0 or more, got -1"):
        InitialisationConfig(scale=-1.0)
