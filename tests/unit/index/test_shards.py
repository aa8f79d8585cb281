"""An index in shards is the index of one build: byte for byte, whatever the number of shards."""

import io
from pathlib import Path

import numpy as np
import pytest

from marquee.core.arrays import FloatArray
from marquee.errors import ConfigError, ShapeError
from marquee.index.building import build_index
from marquee.index.faiss_index import IndexConfig, IndexKind, training_rows
from marquee.index.index import Index
from marquee.index.shards import (
    centres_of,
    lists_of_shard,
    merged,
    plain_config,
    sample_vectors,
    shard_bounds,
)


def vectors_of(n_items: int, dim: int = 6) -> FloatArray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(30, dim))
    vectors = centres[rng.integers(0, 30, n_items + 1)] + 0.5 * rng.normal(size=(n_items + 1, dim))
    vectors[0] = 0
    return vectors.astype(np.float32)


def built_in_shards(vectors: FloatArray, config: IndexConfig, shards: int, folder: Path) -> Path:
    np.save(folder / "sample.npy", sample_vectors(vectors, config))
    n_items, settings = len(vectors) - 1, plain_config(config)
    centres_of(folder / "centres", [folder / "sample.npy"], n_items=n_items, **settings)
    parts = []
    for number, (first, end) in enumerate(shard_bounds(n_items, shards)):
        np.save(folder / f"{number}.npy", vectors[1 + first : 1 + end])
        parts.append(folder / f"shard-{number}")
        lists_of_shard(parts[-1], [folder / "centres", folder / f"{number}.npy"], first=first, **settings)
    merged(folder / "whole", [folder / "centres", *parts])
    return folder / "whole"


@pytest.mark.parametrize("kind", [IndexKind.ivf, IndexKind.pq])
@pytest.mark.parametrize(("n_items", "shards"), [(9_000, 1), (9_000, 3), (70_000, 4), (40, 2), (1, 2)])
def test_merged_shards_are_one_build(kind: IndexKind, n_items: int, shards: int, tmp_path: Path) -> None:
    vectors, config = vectors_of(n_items), IndexConfig(kind=kind, n_lists=32, coordinates_per_code=3)
    one = io.BytesIO()
    build_index(vectors, config).write(one)
    assert built_in_shards(vectors, config, shards, tmp_path).read_bytes() == one.getvalue()


def test_lists_most_of_which_are_empty_are_merged_as_well(tmp_path: Path) -> None:
    # Eight thousand items that are two: FAISS writes the sizes of such lists in another form.
    vectors = np.repeat(np.eye(2, 6, dtype=np.float32), 4_000, axis=0)
    vectors, config = (
        np.vstack([np.zeros((1, 6), np.float32), vectors]),
        IndexConfig(kind=IndexKind.ivf, n_lists=100),
    )
    one = io.BytesIO()
    build_index(vectors, config).write(one)
    assert built_in_shards(vectors, config, 2, tmp_path).read_bytes() == one.getvalue()


def test_merged_index_is_mapped_and_finds_what_one_build_finds(tmp_path: Path) -> None:
    vectors, config = vectors_of(9_000), IndexConfig(kind=IndexKind.pq, n_lists=32, max_ann_cost=1e9)
    queries = vectors_of(50)[1:]
    merged_index = Index.read(built_in_shards(vectors, config, 3, tmp_path), vectors, config)
    found, expected = (one.search(queries, 10) for one in (merged_index, build_index(vectors, config)))
    np.testing.assert_array_equal(found.items, expected.items)
    np.testing.assert_array_equal(found.scores, expected.scores)


@pytest.mark.parametrize(("n_items", "shards"), [(1, 1), (4096, 3), (4097, 3), (1_000_000, 7)])
def test_shards_are_disjoint_complete_and_whole_blocks(n_items: int, shards: int) -> None:
    bounds = shard_bounds(n_items, shards)
    assert [first for first, _ in bounds] == [0, *(end for _, end in bounds[:-1])]
    assert bounds[-1][1] == n_items
    assert len(bounds) <= shards
    assert not [first for first, _ in bounds if first % 4096]


def test_centres_are_learned_from_all_of_a_small_catalog_and_a_sample_of_a_large_one() -> None:
    config = IndexConfig(kind=IndexKind.ivf)
    np.testing.assert_array_equal(training_rows(50_000, config), np.arange(50_000))
    rows = training_rows(100_000_000, config)
    # 64 for each of the 4 · 10⁴ lists, from everywhere.
    assert len(rows) == 64 * 40_000
    assert (np.diff(rows) > 0).all()
    assert rows[0] < 40
    assert 100_000_000 - 40 <= rows[-1] < 100_000_000


def test_shards_of_other_centres_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    vectors = vectors_of(5_000)
    built_in_shards(vectors, IndexConfig(kind=IndexKind.ivf, n_lists=10), 1, tmp_path / "a")
    built_in_shards(vectors, IndexConfig(kind=IndexKind.ivf, n_lists=20), 1, tmp_path / "b")
    with pytest.raises(ShapeError, match=r"shard-0 must have 10 lists of 24 bytes an item, got 20 of 24"):
        merged(tmp_path / "out", [tmp_path / "a" / "centres", tmp_path / "b" / "shard-0"])


@pytest.mark.parametrize("kind", [IndexKind.auto, IndexKind.hnsw, IndexKind.flat])
def test_shards_of_another_kind_are_refused(kind: IndexKind, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"index\.shards=2 needs inverted lists, index\.kind=ivf or pq, got"
    ):
        IndexConfig(kind=kind, shards=2)
    np.save(tmp_path / "sample.npy", vectors_of(10))
    settings = {**plain_config(IndexConfig(kind=IndexKind.ivf)), "kind": kind.value}
    with pytest.raises(ConfigError, match=r"needs index\.kind=ivf or pq"):
        centres_of(tmp_path / "out", [tmp_path / "sample.npy"], n_items=10, **settings)
