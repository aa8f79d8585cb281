"""Run folders: where a run writes, and how a later command finds what it wrote."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from marquee.errors import ConfigError
from training.config import SCHEMAS, TrainConfig, as_plain, resolve

CONFIG_FILE = "config.yaml"
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
        (folder.path.parent / LATEST_FILE).write_text(started, encoding="utf-8")
        return folder

    @classmethod
    def find(cls, path: str) -> "RunFolder":
        """Returns the run folder at a path; a `latest` file stands for the folder that it names.

        Raises:
            ConfigError: If there is no run.
        """
        folder = Path(path)
        if folder.is_file():
            folder = folder.parent / folder.read_text(encoding="utf-8").strip()
        if not (folder / CONFIG_FILE).is_file():
            raise ConfigError(
                f"run must be a folder that training wrote, got {path!r} without {CONFIG_FILE}; "
                "start one with `python -m training.train`"
            )
        return cls(folder)

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
        for name in ("best.ckpt", "last.ckpt"):
            if (self.path / "checkpoints" / name).is_file():
                return self.path / "checkpoints" / name
        raise ConfigError(
            f"run {str(self.path)!r} holds no checkpoint, expected checkpoints/best.ckpt; finish it with "
            f"`python -m training.train resume={self.path}`"
        )
