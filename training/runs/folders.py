"""Run folders: where a run writes, and how a later command finds what it wrote."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from marquee.store.files import replace_file
from training.choices import config_of_text, config_text
from training.config import TrainConfig
from training.fitting.checkpoints import CONFIG_FILE, best_checkpoint, find_run
from training.fitting.warm_start import WarmStartConfig

LATEST_FILE = "latest"
STARTED_IN = "started_in"
BACKTEST = "backtest"
LEARNING_CURVE = "learning_curve"


@dataclass(frozen=True)
class RunFolder:
    """One execution of an experiment, on disk.

    Attributes:
        path: `runs/<data.name>/<UTC time of the start>`.
    """

    path: Path

    @classmethod
    def open(cls, config: TrainConfig) -> "RunFolder":
        """Returns a new folder that holds the config."""
        # To the millisecond: processes of a search begin in the same second.
        started = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")[:-3]
        folder = cls(Path(config.runs) / config.data.name / started)
        # No `exist_ok`: two runs in one folder would write over each other.
        folder.path.mkdir(parents=True)
        folder.write_config(config)
        # After the config is written: whoever opens `latest` must find a run.
        folder._become_latest()
        return folder

    @classmethod
    def find(cls, path: str) -> "RunFolder":
        """Returns the run folder at a path; `latest` stands for the folder that it names.

        Raises:
            ConfigError: If there is no run.
        """
        return cls(find_run(path))

    def _become_latest(self) -> None:
        """Makes `latest` beside the folder a link to it, or a file that holds its name."""
        pointer = self.path.parent / LATEST_FILE
        beside = pointer.with_name(f".{LATEST_FILE}-{self.path.name}")
        try:
            beside.symlink_to(self.path.name, target_is_directory=True)
        except OSError:  # file systems and accounts without links
            beside.write_text(self.path.name, encoding="utf-8")
        # Renamed into place: at no moment is there no `latest`.
        beside.replace(pointer)

    def write_config(self, config: TrainConfig) -> None:
        """Writes the resolved config, with the name of each choice."""
        replace_file(self.path / CONFIG_FILE, config_text(config, {STARTED_IN: str(Path.cwd())}).encode())

    def read_config(self, overrides: Sequence[str] = ()) -> TrainConfig:
        """Returns the run's config, with `key=value` overrides on top.

        Raises:
            ConfigError: If an override names no key of the config, or the file was edited into nonsense.
        """
        facts = {STARTED_IN: ""}
        text = (self.path / CONFIG_FILE).read_text(encoding="utf-8")
        config = config_of_text(text, facts, overrides)
        return _anchored(config, facts[STARTED_IN] or None)

    def trials_file(self, name: str) -> Path:
        """Returns where the trials of a section lie, `BACKTEST` or `LEARNING_CURVE`, if they were made."""
        return self.path / f"{name}.json"

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of the best epoch, or of the last one where no validation chose.

        Raises:
            ConfigError: If training has not kept one.
        """
        return best_checkpoint(self.path)


def _anchored(config: TrainConfig, started_in: str | None) -> TrainConfig:
    """Returns the config with relative paths as they were meant: seen from where the run was started.

    Args:
        config: Of a run.
        started_in: Absolute path of that folder; None in runs of earlier versions.
    """
    # The config stays as written, relative paths included, where they mean the same.
    if started_in is None or Path.cwd() == Path(started_in):
        return config
    root = Path(started_in) / config.data.root
    # Run and data may have moved together: then the folder of the start says nothing.
    data = replace(config.data, root=str(root)) if root.exists() else config.data
    start = config.start
    if isinstance(start, WarmStartConfig) and (earlier := Path(started_in) / start.run).exists():
        start = replace(start, run=str(earlier))
    return replace(config, data=data, start=start)
