"""Data sets prepared in parts, by tasks that are done in this process."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from marquee.data.config import DataConfig
from marquee.data.prepared.folder import PreparedFolder
from marquee.data.prepared.sorted_ids import SortedIds
from training.distributed.cluster import Cluster
from training.distributed.config import LocalClusterConfig
from training.distributed.preparing import Sizes, prepare_in_parts
from training.distributed.work import perform


class InThisProcess:
    """Does a task when it is waited for."""

    capacity = 1

    def __init__(self) -> None:
        self.orders: dict[int, bytes] = {}

    def start(self, number: int, order: bytes) -> None:
        """Takes a task."""
        self.orders[number] = order

    def finished(self) -> Iterator[tuple[int, bytes | None, str]]:
        """Does what was taken."""
        for number, order in self.orders.items():
            yield number, perform(order), ""
        self.orders = {}

    def close(self) -> None:
        """Has nothing to end."""


def inline_cluster() -> Cluster:
    """Returns a cluster without processes of its own."""
    return Cluster(InThisProcess(), LocalClusterConfig())


def prepare_here(
    config: DataConfig, to: Path, n_buckets: int = 4, rows_per_part: int = 1000
) -> PreparedFolder:
    """Returns a data set prepared in parts."""
    prepare_in_parts(config, to, Sizes(n_buckets=n_buckets, rows_per_part=rows_per_part), inline_cluster())
    return PreparedFolder(to)


def in_files(config: DataConfig, folder: Path, n_files: int, *, text: bool = False) -> DataConfig:
    """Writes the events of a data set as so many files, and returns the data set that reads these."""
    events = pl.read_parquet(Path(config.root) / config.events.path)
    folder.mkdir(parents=True)
    bounds = np.linspace(0, len(events), n_files + 1).astype(int)
    for number, (start, end) in enumerate(pairwise(bounds)):
        rows, path = events.slice(start, end - start), folder / f"part-{number:03d}"
        if text:
            rows.write_csv(path.with_suffix(".csv"))
        else:
            rows.write_parquet(path.with_suffix(".parquet"))
    return replace(config, events=replace(config.events, path=str(folder)))


def differences(first: object, second: object, place: str = "") -> list[str]:
    """Returns where two results differ: arrays in a value or a type, everything else in being equal."""
    if isinstance(first, SortedIds) or isinstance(second, SortedIds):
        return [] if list(first.ids) == list(second.ids) else [place]  # type: ignore[attr-defined]  # both have ids
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return [] if first.dtype == second.dtype and np.array_equal(first, second) else [place]
    if isinstance(first, pl.DataFrame) and isinstance(second, pl.DataFrame):
        is_equal = first.schema == second.schema and first.equals(second)
        return [] if is_equal else [f"{place}: {first.schema} {second.schema}"]
    if is_dataclass(first) and type(first) is type(second):
        # What a class keeps for itself is a cache of the rest.
        names = [field.name for field in fields(first) if not field.name.startswith("_")]
        return [
            found
            for name in names
            for found in differences(getattr(first, name), getattr(second, name), f"{place}.{name}")
        ]
    if isinstance(first, Mapping) and isinstance(second, Mapping) and first.keys() == second.keys():
        return [found for key in first for found in differences(first[key], second[key], f"{place}.{key}")]
    return [] if first == second else [place]
