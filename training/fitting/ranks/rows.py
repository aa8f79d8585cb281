"""Rows of tables that ranks hold in parts: kept beside a checkpoint, and found again by any number of ranks.

A checkpoint of whole tables is one file. Of parted tables each rank writes its own rows, with the optimizer's
state and the averages of them, into a folder beside it, and the checkpoint names the folder. Whoever goes on,
with however many processes, maps the files and takes its rows out of them.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from marquee.errors import ConfigError
from marquee.nn.ranks.files import RowFiles, own_rows, write_rows
from marquee.nn.ranks.group import Ranks
from marquee.nn.ranks.tables import ShardedTable

ROWS = "rows"
KEPT_FILE = "rows.json"
WEIGHT, AVERAGE = "weight", "average"
MODEL = "model."

Checkpoint = dict[str, Any]  # Any: whatever Lightning and torch keep


@dataclass(frozen=True)
class KeptRows:
    """The tables of a checkpoint that lie in files.

    Attributes:
        folder: Of the files.
        size: Ranks that wrote them.
        n_rows: Of each table, by the name of its weights.
    """

    folder: Path
    size: int
    n_rows: dict[str, int]

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any], folder: Path) -> "KeptRows | None":
        """Returns the tables that a checkpoint names, None if it holds all of its own.

        Args:
            checkpoint: As read.
            folder: That it lies in.

        Raises:
            ConfigError: If some of them are not there.
        """
        said = checkpoint.get(ROWS)
        if said is None:
            return None
        kept = cls(folder / said["folder"], said["size"], said["n_rows"])
        for name in kept.n_rows:
            if not kept.files(name, WEIGHT).exists():
                raise ConfigError(
                    f"a checkpoint of {folder} names the rows of {name} in {said['size']} parts, got less in "
                    f"{kept.folder}; put the folder back beside it, or train again"
                )
        return kept

    def files(self, name: str, what: str) -> RowFiles:
        """Returns the files of one table: its weights, or something that is kept of each of its rows."""
        return RowFiles(self.folder / f"{name}.{what}", self.size, self.n_rows[name])

    def trained(self, name: str) -> RowFiles:
        """Returns the rows that are ranked and exported: the averages, where there are any."""
        averages = self.files(name, AVERAGE)
        return averages if averages.exists() else self.files(name, WEIGHT)

    def mapped(self) -> dict[str, RowFiles]:
        """Returns the trained rows by the name of the table within the model."""
        return {name.removeprefix(MODEL).removesuffix(".weight"): self.trained(name) for name in self.n_rows}

    def whole(self) -> dict[str, Tensor]:
        """Returns the trained tables in memory, by the name of their weights."""
        return {
            name: torch.from_numpy(self.trained(name).take(np.arange(n))) for name, n in self.n_rows.items()
        }


class RowKeeper:
    """Takes a rank's rows out of checkpoints on their way to disk, and puts them back.

    Args:
        folder: Of the checkpoints.
        module: Whose model is trained.
        ranks: All of them.
        averages_key: Name of the averages in a checkpoint.
    """

    def __init__(self, folder: Path, module: nn.Module, ranks: Ranks, averages_key: str) -> None:
        self.folder = folder
        self.ranks = ranks
        self.averages_key = averages_key
        self.tables = {
            f"{name}.weight": table
            for name, table in module.named_modules()
            if isinstance(table, ShardedTable)
        }
        names = [name for name, _ in module.named_parameters() if name.startswith(MODEL)]
        self.number_of = {name: number for number, name in enumerate(names)}
        self.written = ""

    def write(self, step: int, checkpoint: Checkpoint) -> KeptRows:
        """Writes this rank's rows of a step, once, and returns where those of all ranks lie.

        Args:
            step: After which they are what they are.
            checkpoint: Holds this rank's averages and the state of its optimizer.
        """
        kept = KeptRows(
            self.folder / f"{ROWS}-{step:09d}",
            self.ranks.size,
            {name: table.n_rows for name, table in self.tables.items()},
        )
        if self.written != kept.folder.name:
            for name, table in self.tables.items():
                parts = {WEIGHT: table.weight.detach(), **self._of_rows(checkpoint, name)}
                for what, rows in parts.items():
                    stem = kept.files(name, what).stem
                    write_rows(stem, rows.cpu().numpy(), self.ranks.rank, self.ranks.size)
            self.written = kept.folder.name
        # Nobody may name a folder before all of it is there.
        self.ranks.barrier()
        return kept

    def take_out(self, step: int, checkpoint: Checkpoint) -> None:
        """Writes this rank's rows, and has the checkpoint name them in place of holding them."""
        if not self.tables:
            return
        kept = self.write(step, checkpoint)
        checkpoint[ROWS] = {"folder": kept.folder.name, "size": kept.size, "n_rows": kept.n_rows}
        # Copies of what is thinned out: optimizer and averages go on with their own.
        for key in ("state_dict", self.averages_key):
            if key in checkpoint:
                checkpoint[key] = {n: values for n, values in checkpoint[key].items() if n not in self.tables}
        for states in checkpoint.get("optimizer_states", []):
            states["state"] = {**states["state"]}
            for name in self.tables:
                state, of_rows = self._state(checkpoint, name), self._of_rows(checkpoint, name)
                states["state"][self.number_of[name]] = {w: v for w, v in state.items() if w not in of_rows}

    def put_in(self, checkpoint: Checkpoint) -> None:
        """Gives a checkpoint that was read the rows that this rank holds, from wherever they are."""
        kept = KeptRows.of(checkpoint, self.folder)
        for name in {*self.tables, *(kept.n_rows if kept else ())}:
            if kept is None:
                self._part(checkpoint, name)
            else:
                self._read(kept, checkpoint, name)

    def _read(self, kept: KeptRows, checkpoint: Checkpoint, name: str) -> None:
        """Takes this rank's rows out of files."""
        n_rows, table = kept.n_rows[name], self.tables.get(name)
        rows = (
            np.arange(n_rows) if table is None else own_rows(table.n_rows, self.ranks.rank, self.ranks.size)
        )
        checkpoint["state_dict"][name] = _tensor(kept.files(name, WEIGHT), rows)
        state = self._state(checkpoint, name)
        prefix = f"{name}."
        found = {path.name.removeprefix(prefix).split(".")[0] for path in kept.folder.glob(f"{prefix}*.npy")}
        for what in found - {WEIGHT, AVERAGE}:
            if kept.files(name, what).exists():  # and not of another number of ranks, from before
                state[what] = _tensor(kept.files(name, what), rows)
        if AVERAGE in found and self.averages_key in checkpoint:
            checkpoint[self.averages_key][name] = _tensor(kept.files(name, AVERAGE), rows)

    def _part(self, checkpoint: Checkpoint, name: str) -> None:
        """Takes this rank's rows out of a whole table."""
        whole = checkpoint["state_dict"][name]
        own = slice(self.ranks.rank, None, self.ranks.size)
        state = self._state(checkpoint, name)
        for what, values in state.items():
            if isinstance(values, Tensor) and values.shape[:1] == whole.shape[:1]:
                state[what] = values[own].clone()
        checkpoint["state_dict"][name] = whole[own].clone()
        averages = checkpoint.get(self.averages_key, {})
        if name in averages:
            averages[name] = averages[name][own].clone()

    def _of_rows(self, checkpoint: Checkpoint, name: str) -> dict[str, Tensor]:
        """Returns the values that a checkpoint keeps of each row of this rank, weights aside."""
        n_rows = len(self.tables[name].weight)
        state = self._state(checkpoint, name).items()
        kept = {what: v for what, v in state if isinstance(v, Tensor) and v.shape[:1] == (n_rows,)}
        average = checkpoint.get(self.averages_key, {}).get(name)
        return kept if average is None else {**kept, AVERAGE: average}

    def _state(self, checkpoint: Checkpoint, name: str) -> dict[str, Any]:  # Any: of the optimizer
        """Returns the optimizer's state of a table; the optimizer counts parameters."""
        states = checkpoint.get("optimizer_states", [])
        state: dict[str, Any] = states[0]["state"].get(self.number_of[name], {}) if states else {}
        return state


def forget_unnamed(checkpoint: Path, folder_name: str | None) -> None:
    """Deletes the rows that no checkpoint of a folder names any more.

    Args:
        checkpoint: That was just written.
        folder_name: Of its rows, None if it holds all of its own.
    """
    kept_file = checkpoint.with_name(KEPT_FILE)
    if folder_name is None and not kept_file.is_file():
        return
    kept = json.loads(kept_file.read_text(encoding="utf-8")) if kept_file.is_file() else {}
    kept[checkpoint.name] = folder_name
    beside = kept_file.with_suffix(".writing")
    beside.write_text(json.dumps(kept), encoding="utf-8")
    beside.replace(kept_file)
    for folder in checkpoint.parent.glob(f"{ROWS}-*"):
        if folder.name not in kept.values():
            shutil.rmtree(folder)


def _tensor(files: RowFiles, rows: np.typing.NDArray[np.int64]) -> Tensor:
    """Returns some rows of a table in files."""
    return torch.from_numpy(files.take(rows))
