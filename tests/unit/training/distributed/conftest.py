"""A cluster of two processes that the tests of this folder share."""

from collections.abc import Iterator

import pytest

from training.distributed.cluster import Cluster, open_cluster
from training.distributed.config import LocalClusterConfig


@pytest.fixture(scope="session")
def local_cluster() -> Iterator[Cluster]:
    with open_cluster(LocalClusterConfig(processes=2, attempts=3)) as cluster:
        yield cluster
