"""Where a run keeps its checkpoints, and the weights in one."""

from pathlib import Path

import torch
from torch import Tensor

from marquee.errors import ConfigError

CONFIG_FILE = "config.yaml"
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
    for name in (BEST, LAST):
        path = run / CHECKPOINTS / f"{name}.ckpt"
        if path.is_file():
            return path
    raise ConfigError(
        f"run {str(run)!r} holds no checkpoint, expected {CHECKPOINTS}/{BEST}.ckpt; finish it with "
        f"`python -m training.train resume={run}`"
    )


def read_state(checkpoint: Path) -> dict[str, Tensor]:
    """Returns the module's weights in a checkpoint: the averages, where there are any."""
    found = torch.load(checkpoint, map_location="cpu", weights_only=True)
    state: dict[str, Tensor] = {**found["state_dict"], **found.get(AVERAGED, {})}
    return state


def read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """Returns the model's weights in a checkpoint, by their names within the model."""
    return {name.removeprefix("model."): weights for name, weights in read_state(checkpoint).items()}
