"""An export builds the shards of an index on a cluster, goes on where it was killed, and leaves no parts."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from marquee.errors import DataError
from marquee.index.building import build_index
from marquee.index.faiss_index import IndexConfig, IndexKind
from marquee.index.index import Index
from training.distributed.config import ClusterConfig, LocalClusterConfig
from training.exporting.index_shards import PARTS, index_builder, remove_parts

CONFIG = IndexConfig(kind=IndexKind.ivf, n_lists=16, shards=3)
VECTORS = np.random.default_rng(0).normal(size=(9_001, 8)).astype(np.float32)


def built(folder: Path, cluster: ClusterConfig, vectors: np.ndarray = VECTORS) -> Index:
    return index_builder(CONFIG, folder, cluster, Console(quiet=True))(vectors, CONFIG)


def bytes_of(index: Index) -> bytes:
    file = io.BytesIO()
    index.write(file)
    return file.getvalue()


def test_shards_are_built_side_by_side_and_nothing_of_them_stays(tmp_path: Path) -> None:
    assert bytes_of(built(tmp_path, LocalClusterConfig(processes=2))) == bytes_of(
        build_index(VECTORS, CONFIG)
    )
    remove_parts(tmp_path)
    assert not list(tmp_path.iterdir())


def test_export_that_was_killed_goes_on_with_the_shards_that_are_there(tmp_path: Path) -> None:
    built(tmp_path, LocalClusterConfig(processes=1))
    shards = tmp_path / PARTS / "shards"
    before = {path.name: path.stat().st_mtime_ns for path in shards.glob("shard-*")}
    (shards / "shard-00001.faiss").unlink()
    (tmp_path / PARTS / "index.faiss").unlink()

    index = built(tmp_path, LocalClusterConfig(processes=1))

    after = {path.name: path.stat().st_mtime_ns for path in shards.glob("shard-*")}
    assert sorted(name for name in after if after[name] == before[name]) == [
        "shard-00000.faiss",
        "shard-00002.faiss",
    ]
    assert bytes_of(index) == bytes_of(build_index(VECTORS, CONFIG))


def test_parts_of_another_model_are_made_again(tmp_path: Path) -> None:
    built(tmp_path, LocalClusterConfig(processes=1))
    others = VECTORS[::-1]
    index = built(tmp_path, LocalClusterConfig(processes=1), others)
    assert bytes_of(index) == bytes_of(build_index(np.ascontiguousarray(others), CONFIG))


def test_vectors_that_are_no_numbers_are_named_before_anything_is_written(tmp_path: Path) -> None:
    vectors = VECTORS.copy()
    vectors[7, 3] = np.nan
    with pytest.raises(DataError, match="got 1 rows that are not, first item_index 7"):
        built(tmp_path, LocalClusterConfig(processes=1), vectors)
    assert not list(tmp_path.iterdir())


def test_index_of_one_shard_needs_no_cluster(tmp_path: Path) -> None:
    builder = index_builder(IndexConfig(), tmp_path, LocalClusterConfig(), Console(quiet=True))
    assert builder is build_index
