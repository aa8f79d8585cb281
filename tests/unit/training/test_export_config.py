"""The settings of an export, as they are composed from a command line."""

import pytest
from hydra import compose, initialize_config_dir

from training.cli.command import as_object
from training.cli.menu import CONFIGS
from training.distributed.config import LocalClusterConfig, RayClusterConfig
from training.export import ExportConfig


@pytest.mark.parametrize(("cluster", "schema"), [("local", LocalClusterConfig), ("ray", RayClusterConfig)])
def test_export_composes_with_either_cluster(cluster: str, schema: type) -> None:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        overrides = [
            "run=latest",
            f"cluster={cluster}",
            "cluster.processes=3",
            "index.kind=ivf",
            "index.shards=2",
        ]
        config = as_object(compose("export", overrides), ExportConfig)
    assert type(config.cluster) is schema
    assert (config.cluster.processes, config.index.shards) == (3, 2)
