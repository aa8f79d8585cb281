"""Who takes part in `train_speed`, each at the best settings that its grid found on the validation part.

    python -m benchmarks.train_speed --grid implicit-als    goes through one grid, and prints what it found

The grids were run once on Gowalla, on the dates below; the race runs the best setting of each alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.train_speed_race import Entry

DIM = 64
DATA = ("data=gowalla", "~data.events.paths.test")
"""Overrides: the data set of the race, without its test part: nobody reads it."""


@dataclass(frozen=True)
class Peer:
    """A peer at its best, and the grid that found it.

    Attributes:
        entry: At its best settings.
        grid: Knob → values that were tried, every combination.
        found: When, and what the grid said.
        is_required: Whether the comparison is claimed: without it the check fails.
    """

    entry: Entry
    grid: Mapping[str, Sequence[Any]]  # Any: knobs are the peer's own
    found: str
    is_required: bool = False

    def trials(self) -> Iterator[Entry]:
        """Yields every combination of the grid."""
        for values in product(*self.grid.values()):
            settings = {**self.entry.settings, **dict(zip(self.grid, values, strict=True))}
            yield replace(self.entry, settings=settings)


@dataclass(frozen=True)
class Plan:
    """The settings of a run of the benchmark.

    Attributes:
        data: Overrides of the training command that name the race's data.
        peers: Who is raced against.
        equal: Ours, with the settings for equal quality.
        best: Ours, with the settings for the best quality; a step and the growth are measured with them.
        interactions: Sizes of the growth in interactions, ascending, over the middle number of items.
        items: Sizes of the growth in items, ascending, over the middle number of interactions.
    """

    data: Sequence[str]
    peers: Sequence[Peer]
    equal: Entry
    best: Entry
    interactions: Sequence[int]
    items: Sequence[int]


ALS = {"model": "als", "factors": DIM, "alpha": 60.0, "regularization": 1.0, "iterations": 8}
BPR = {"model": "bpr", "factors": DIM, "learning_rate": 0.02, "regularization": 0.001, "iterations": 100}
RECBOLE = {
    "embedding_size": DIM,
    "train_batch_size": 2048,
    "learning_rate": 0.001,
    "weight_decay": 0.0,
    "epochs": 20,
}
AS_IMPLICIT = "as implicit's own, which it wraps"

PEERS = (
    Peer(
        Entry("implicit-als", "implicit_models", "implicit", ALS),
        {"alpha": (2.0, 10.0, 40.0, 60.0, 80.0, 160.0, 320.0), "regularization": (0.1, 1.0, 10.0)},
        "2026-11-25: 0.0897 after 5 passes at alpha 60 and 0.0896 at 40, whatever the regularization; from "
        "there on it falls. alpha 2: 0.071, 10: 0.083, 80: 0.089, 160: 0.085, 320: 0.079.",
        is_required=True,
    ),
    Peer(
        Entry("implicit-bpr", "implicit_models", "implicit", BPR, every=10),
        {"learning_rate": (0.02, 0.05), "regularization": (0.001, 0.01)},
        "2026-11-26: 0.0575 after 100 passes at 0.02 and 0.001, and still rising; with regularization 0.01 "
        "at most 0.0457 after 80 at 0.02, and 0.0397 after 120 at 0.05. The fourth was not run.",
        is_required=True,
    ),
    Peer(Entry("rectools-als", "rectools_models", "rectools", ALS), {}, AS_IMPLICIT),
    Peer(Entry("rectools-bpr", "rectools_models", "rectools", BPR), {}, AS_IMPLICIT),
    Peer(
        Entry("recbole-bpr", "recbole_bpr", "recbole", RECBOLE, every=5),
        {"learning_rate": (0.001, 0.003), "weight_decay": (0.0,)},
        "The grid has not been run; 2026-11-26, at 0.001: 0.0690 after 20 passes, and still rising.",
    ),
)

SHORT = (
    "start=spectral",
    "start.scale=1",
    "start.item_exponent=0.5",
    "start.n_passes=2",
    "start.bias_per_log_user=0.06",
    "model.item_neighbours=0",
    "optimizer.learning_rate=0.001",
    "loss.temperature=0.2",
    "trainer.epochs=2",
)
"""Ours for equal quality, chosen on the validation part on 2026-11-25: small steps from a spectral start."""

FULL = Plan(
    data=DATA,
    peers=PEERS,
    equal=Entry("marquee, to equal", "marquee_model", "torch", {"overrides": [*DATA, *SHORT]}),
    best=Entry("marquee, to its best", "marquee_model", "torch", {"overrides": [*DATA]}, every=5),
    interactions=(10**5, 10**6, 10**7),
    items=(10**4, 10**5, 10**6),
)
"""The claims. A schedule needs to know its end: ours has one run as short as equal quality takes, chosen
on the validation part as the peers' settings are, and one with the tuned settings of the data set."""


def quick_plan(folder: Path) -> Plan:
    """Returns a plan of seconds, which proves that the parts fit together, on data written into `folder`."""
    write_groups(folder)
    small = ("data.history_length=20", "model.dim=16", "negatives.n_uniform=50", "examples.batch_size=64")
    data = (*DATA, f"data.root={folder}", *small)
    ours = Entry("marquee", "marquee_model", "torch", {"overrides": [*data, "trainer.epochs=3"]})
    als, bpr = (replace(peer, entry=_shortened(peer.entry)) for peer in PEERS[:2])
    return Plan(data, (als, bpr), ours, ours, (2_000, 4_000, 8_000), (100, 200, 400))


def _shortened(entry: Entry) -> Entry:
    """Returns a contestant with few epochs and dimensions."""
    return replace(entry, settings={**entry.settings, "factors": 16, "iterations": 3}, every=1)


def write_groups(folder: Path, n_users: int = 300, n_groups: int = 4, n_liked: int = 30) -> None:
    """Writes a split of users who like the items of their group, one of which each validates."""
    rng = np.random.default_rng(0)
    lines: dict[str, list[str]] = {"train.txt": [], "valid.txt": []}
    for user in range(n_users):
        liked = (user % n_groups) * n_liked + rng.permutation(n_liked)[:9]
        lines["train.txt"].append(" ".join(map(str, (user, *liked[1:]))))
        lines["valid.txt"].append(f"{user} {liked[0]}")
    for name, rows in lines.items():
        (folder / name).write_text("\n".join(rows) + "\n", encoding="ascii")
