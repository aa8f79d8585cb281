"""Parts of a config that do not fit together are refused, with the choice that would fit."""

from dataclasses import replace

import pytest

from marquee.data.config import DataConfig
from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError
from marquee.nn.losses import LOSSES
from marquee.nn.negatives import CatalogNegativesConfig
from tests.support.small_config import small_config
from training.config import TrainConfig


def config_of(loss: str) -> TrainConfig:
    return replace(
        small_config(DataConfig(name="shop", events=TableConfig(path="e.csv"))), loss=LOSSES[loss]()
    )


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.compares_pairs])
def test_pairs_with_the_whole_catalog_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"loss={name} compares .* got negatives=catalog: choose"):
        replace(config_of(name), negatives=CatalogNegativesConfig())


def test_other_losses_take_the_whole_catalog() -> None:
    assert replace(config_of("sampled_softmax"), negatives=CatalogNegativesConfig()).loss is not None
