"""Builds an index in shards: centres, then the lists of each shard side by side, then one file of all.

Stands in the folder of the run until the bundle is published: an export that is killed goes on where it was.
"""

import shutil
from pathlib import Path

import numpy as np
from rich.console import Console

from marquee.core.arrays import FloatArray
from marquee.index.building import build_index, validate_vectors
from marquee.index.choice import BuildIndex
from marquee.index.faiss_index import IndexConfig
from marquee.index.index import Index
from marquee.index.shards import plain_config, sample_vectors, shard_bounds
from marquee.store.files import write_file
from training.distributed.cluster import open_cluster
from training.distributed.config import ClusterConfig
from training.distributed.plan import Argument, Task
from training.distributed.progress import task_progress

PARTS = "index-parts"
_MODULE = "marquee.index.shards"


def index_builder(config: IndexConfig, folder: Path, cluster: ClusterConfig, console: Console) -> BuildIndex:
    """Returns the function that builds an index as a config has it: whole, or in `config.shards` parts.

    Args:
        config: Of the index.
        folder: Of the run; the parts stand in `PARTS` there until `remove_parts`.
        cluster: Who builds the shards.
        console: Shows how far it is.
    """
    if config.shards == 1:
        return build_index

    def build(item_vectors: FloatArray, config: IndexConfig) -> Index:
        validate_vectors(item_vectors)
        parts = folder / PARTS
        bounds = _write_inputs(item_vectors, config, parts)
        centres, shards, whole = _plan(parts, bounds, config)
        with open_cluster(cluster) as opened, task_progress(console) as progress:
            opened.run("learning centres", [centres], progress)
            opened.run("building shards", shards, progress)
            opened.run("merging shards", [whole], progress)
        return Index.read(whole.output, item_vectors, config)

    return build


def remove_parts(folder: Path) -> None:
    """Removes the parts of an index whose bundle is published."""
    shutil.rmtree(folder / PARTS, ignore_errors=True)


def _write_inputs(item_vectors: FloatArray, config: IndexConfig, parts: Path) -> list[tuple[int, int]]:
    """Writes what the tasks read, each its own vectors alone; returns the rows of the shards."""
    vectors = parts / "vectors"
    vectors.mkdir(parents=True, exist_ok=True)
    _save(vectors / "sample.npy", sample_vectors(item_vectors, config))
    bounds = shard_bounds(len(item_vectors) - 1, config.shards)
    for number, (first, end) in enumerate(bounds):
        # Row 0 of the array is padding.
        _save(vectors / f"shard-{number:05}.npy", item_vectors[1 + first : 1 + end])
    return bounds


def _save(path: Path, vectors: FloatArray) -> None:
    """Writes an array; what is there of an earlier start has the same bytes and is written again."""
    aside = path.with_name(f".{path.name}.new")
    # Trap: `np.save` writes an array to a real file behind the back of whoever counts its bytes.
    write_file(aside, lambda file: np.lib.format.write_array(file, np.ascontiguousarray(vectors)))
    aside.rename(path)


def _plan(parts: Path, bounds: list[tuple[int, int]], config: IndexConfig) -> tuple[Task, list[Task], Task]:
    """Returns the tasks of the three stages."""
    settings: dict[str, Argument] = {**plain_config(config)}
    centres = Task(
        name="centres",
        function=f"{_MODULE}:centres_of",
        arguments={"n_items": bounds[-1][1], **settings},
        inputs=(parts / "vectors" / "sample.npy",),
        output=parts / "centres.faiss",
        # Another model, or other settings: the parts of an earlier export of the run are of no use.
        renews=True,
    )
    shards = [
        Task(
            name=f"shard {number}",
            function=f"{_MODULE}:lists_of_shard",
            arguments={"first": first, **settings},
            inputs=(centres.output, parts / "vectors" / f"shard-{number:05}.npy"),
            output=parts / "shards" / f"shard-{number:05}.faiss",
            renews=True,
        )
        for number, (first, _) in enumerate(bounds)
    ]
    whole = Task(
        name="index",
        function=f"{_MODULE}:merged",
        inputs=(centres.output, *(shard.output for shard in shards)),
        output=parts / "index.faiss",
        renews=True,
    )
    return centres, shards, whole
