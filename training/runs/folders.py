"""Run folders: where a run writes, and how a later command finds what it wrote."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from training.choices import SCHEMAS
from training.config import TrainConfig, as_plain, resolve
from training.fitting.checkpoints import CONFIG_FILE, best_checkpoint, find_run

LATEST_FILE = "latest"
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
        """Returns a new folder that holds the config, or the folder that `config.resume` names."""
        if config.resume:
            return cls.find(config.resume)
        started = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")[:-3]
        folder = cls(Path(config.runs) / config.data.name / started)
        folder.path.mkdir(parents=True)
        folder.write_config(config)
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
        beside.replace(pointer)

    def write_config(self, config: TrainConfig) -> None:
        """Writes the resolved config, with the name of each choice."""
        choices = {
            group: name
            for group, schemas in SCHEMAS.items()
            for name, schema in schemas.items()
            if type(getattr(config, group)) is schema
        }
        text = OmegaConf.to_yaml(OmegaConf.create({"choices": choices, **as_plain(config)}))
        (self.path / CONFIG_FILE).write_text(text, encoding="utf-8")

    def read_config(self, overrides: list[str] | None = None) -> TrainConfig:
        """Returns the run's config, with `key=value` overrides on top.

        Raises:
            ConfigError: If an override names no key of the config, or the file was edited into nonsense.
        """
        raw = OmegaConf.load(self.path / CONFIG_FILE)
        assert isinstance(raw, DictConfig), f"expected a mapping in {CONFIG_FILE}, got {type(raw)}"
        choices = raw.pop("choices")
        schema = OmegaConf.structured(TrainConfig)
        for group, name in choices.items():
            schema[group] = OmegaConf.structured(SCHEMAS[str(group)][name])
        merged = OmegaConf.merge(schema, raw, OmegaConf.from_dotlist(overrides or []))
        assert isinstance(merged, DictConfig), f"expected a mapping, got {type(merged)}"
        return resolve(merged)

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
