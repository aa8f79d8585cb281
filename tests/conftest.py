"""Fixtures that many tests share: the small simulated world, and the published data sets where they are."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from marquee.world import World
from marquee.world import tiny_world as simulate_tiny_world
from tests.support.paths import ROOT
from training.distributed.cluster import Cluster, open_cluster
from training.distributed.config import RayClusterConfig

DEFAULT_DATA_ROOT = ROOT.parent / "shared" / "data"


def pytest_configure() -> None:
    # Test processes share the cores: in each, more threads than one only wait for those of the others.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tiny_world() -> World:
    return simulate_tiny_world()


@pytest.fixture(scope="session")
def data_root() -> Path:
    root = Path(os.environ.get("MARQUEE_DATA", DEFAULT_DATA_ROOT))
    if not root.is_dir():
        pytest.skip(f"no published data sets at {root}; set MARQUEE_DATA to the folder that holds them")
    return root


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Cluster]:
    """A Ray of this machine that all tests of a process share: it takes seconds to start."""
    # Not imported here: what it reads of the environment is set before.
    if find_spec("ray") is None:
        pytest.skip("no Ray; pip install 'marquee[cluster]'")
    with open_cluster(RayClusterConfig(processes=2)) as cluster:
        yield cluster
