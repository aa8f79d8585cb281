"""Where a run keeps its checkpoints, and the weights in one."""

import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from marquee.errors import ConfigError
from marquee.store.files import sync_folder
from training.fitting.ranks.rows import ROWS, KeptRows, forget_unnamed

CONFIG_FILE = "config.yaml"
LINEAR_FILE = "linear.npy"
CHECKPOINTS = "checkpoints"
BEST, LAST = "best", "last"
AVERAGED = "averaged_state_dict"  # where weights are averaged


def find_run(path: str) -> Path:
    """Returns the run folder at a path; `latest`, a link or a file, stands for the folder that it names.

    Raises:
        ConfigError: If there is no run.
    """
    folder = Path(path)
    if folder.is_symlink():
        # Under its own name: `latest` will stand for another run while this one is still used.
        folder = folder.parent / folder.readlink()
    elif folder.is_file():
        folder = folder.parent / folder.read_text(encoding="utf-8").strip()
    if not (folder / CONFIG_FILE).is_file():
        raise ConfigError(
            f"run must be a folder that training wrote, got {path!r} without {CONFIG_FILE}; "
            "start one with `python -m training.train`"
        )
    return folder


def best_checkpoint(run: Path) -> Path:
    """Returns the checkpoint of a run's best epoch, or of the last one where no validation chose.

    Raises:
        ConfigError: If training has not kept one.
    """
    # A run without a validation part keeps the last epoch alone.
    for name in (BEST, LAST):
        path = run / CHECKPOINTS / f"{name}.ckpt"
        if path.is_file():
            return path
    raise ConfigError(
        f"run {str(run)!r} holds no checkpoint, expected {CHECKPOINTS}/{BEST}.ckpt; finish it with "
        f"`python -m training.train resume={run}`"
    )


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside the one before and renames it: at every moment one of them is whole.

    Lightning writes into the system's folder of temporary files; where that is another file system, it copies
    over the earlier checkpoint, and a full disk leaves neither.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],  # Any: whatever Lightning and torch keep
        path: str | Path,
        storage_options: object | None = None,  # noqa: ARG002 - Lightning's signature
    ) -> None:
        """See `TorchCheckpointIO`."""
        folder = Path(path).parent
        folder.mkdir(parents=True, exist_ok=True)
        beside = Path(path).with_suffix(".writing")
        try:
            with beside.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                # Before the rename: after a power cut the new name must not stand for an empty file.
                os.fsync(file.fileno())
        # Ctrl-C as well: a file half-written would stay and take its room.
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        beside.replace(path)
        # The rename itself is a change of the folder, which must reach the disk too.
        sync_folder(folder)
        # Only now: until the rename the checkpoint before this one named its rows.
        forget_unnamed(Path(path), checkpoint.get(ROWS, {}).get("folder"))


def read_state(checkpoint: Path) -> dict[str, Tensor]:
    """Returns the module's weights in a checkpoint: the averages, where there are any.

    Raises:
        ConfigError: If the file is damaged.
    """
    state, kept = read_parts(checkpoint)
    return state if kept is None else {**state, **kept.whole()}


def read_parts(checkpoint: Path) -> tuple[dict[str, Tensor], KeptRows | None]:
    """Returns the weights that a checkpoint holds, and the tables that it names; see `read_state`.

    Raises:
        ConfigError: If the file is damaged.
    """
    try:
        # Weights alone: a pickle could run code. On the CPU: the machine of the training may have had a GPU.
        found = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, UnpicklingError, ValueError) as error:
        best = checkpoint.with_name(f"{BEST}.ckpt")
        instead = f"copy {best} over it to go on from the best epoch, or " if best.is_file() else ""
        raise ConfigError(
            # Torch's own words advise by guesses; they stay with the error that caused this one.
            f"checkpoint {checkpoint} is damaged: its {checkpoint.stat().st_size:,} bytes are no whole "
            f"file of torch; {instead if checkpoint != best else ''}train again"
        ) from error
    # Only a run that averages has averages; what is ranked and exported is these.
    state: dict[str, Tensor] = {**found["state_dict"], **found.get(AVERAGED, {})}
    return state, KeptRows.of(found, checkpoint.parent)


def read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """Returns the model's weights in a checkpoint, by their names within the model."""
    return {name.removeprefix("model."): weights for name, weights in read_state(checkpoint).items()}


def read_linear_part(run: Path, shape: tuple[int, int]) -> Tensor:
    """Returns the vectors of a run's linear part, as its model holds them.

    Args:
        run: Folder of the run.
        shape: Items with a row and one for padding, and coordinates of each.

    Raises:
        ConfigError: If the file is missing or holds anything else.
    """
    path = run / LINEAR_FILE
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(
            f"{path} must hold {shape} numbers of the linear part of the model, got {error}; train again"
        ) from error
    if vectors.shape != shape:
        raise ConfigError(
            f"{path} must hold {shape} numbers of the linear part of the model, got {vectors.shape}; train "
            "again"
        )
    return torch.from_numpy(vectors)
