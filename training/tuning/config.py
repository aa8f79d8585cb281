"""Config of a search: the settings it may vary, and how long it goes on."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from optuna import Trial

from marquee.bundle.manifest import validate_name
from marquee.errors import ConfigError
from training.config import TrainConfig, resolve

KnobValue = float | int | str | bool


@dataclass(kw_only=True)
class KnobConfig:
    """The values that one knob may take: a range of numbers, or a list of choices.

    Attributes:
        low: Least value of a range.
        high: Greatest value of a range.
        log: Whether equal ratios are equally likely, rather than equal distances.
        integer: Whether only whole numbers are tried.
        choices: The values of a list; empty for a range.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    integer: bool = False
    choices: list[Any] = field(default_factory=list)  # Any: whatever a knob may be

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError unless there is a range or a list, and not both."""
        is_range = self.low is not None and self.high is not None
        # Also one end of a range beside a list: which of both was meant cannot be known.
        if bool(self.choices) == is_range or (
            self.choices and (self.low is not None or self.high is not None)
        ):
            raise ConfigError(
                f"a knob needs low and high, or choices, got low={self.low}, high={self.high}, "
                f"choices={list(self.choices)}"
            )
        if is_range and not self._low < self._high:
            raise ConfigError(f"low must be below high, got low={self.low}, high={self.high}")
        # The logarithm of 0 is no number.
        if self.log and not self._low > 0:
            raise ConfigError(f"a logarithmic range must begin above 0, got low={self.low}")

    def suggest(self, trial: Trial, key: str) -> KnobValue:
        """Returns the value that a trial is to try."""
        if self.choices:
            value: KnobValue = trial.suggest_categorical(key, list(self.choices))
            return value
        if self.integer:
            return trial.suggest_int(key, round(self._low), round(self._high), log=self.log)
        return trial.suggest_float(key, self._low, self._high, log=self.log)

    def holds(self, value: object) -> bool:
        """Returns whether a value is one that may be tried."""
        if self.choices:
            return value in self.choices
        # `True` is an int to Python, and no number to a person.
        is_number = isinstance(value, float | int) and not isinstance(value, bool)
        return is_number and self._low <= float(value) <= self._high  # type: ignore[arg-type] # a number by the line above

    @property
    def _low(self) -> float:
        """The least value, 0 for a list."""
        return float(self.low or 0.0)

    @property
    def _high(self) -> float:
        """The greatest value, 0 for a list."""
        return float(self.high or 0.0)


@dataclass(kw_only=True)
class SearchConfig:
    """How to search.

    Attributes:
        name: Of the study; the same name goes on where it was left.
        n_trials: Trials in all, those of earlier starts included. Each trains once.
        jobs: Processes that train at the same time.
        seed: Draws the settings; with one job the same seed tries the same settings.
        n_before_pruning: Trials that are never pruned: what the others are compared with.
        epochs_before_pruning: Epochs that a trial always gets.
        space: Key of the training config → the values that it may take.
    """

    name: str = "study"
    n_trials: int = 30
    jobs: int = 1
    seed: int = 1
    n_before_pruning: int = 5
    epochs_before_pruning: int = 1
    space: dict[str, KnobConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if a number is out of range or there is nothing to vary."""
        validate_name(self.name, "search.name")
        for name in ("n_trials", "jobs", "n_before_pruning", "epochs_before_pruning"):
            if getattr(self, name) < 1:
                raise ConfigError(f"search.{name} must be 1 or more, got {getattr(self, name)}")
        if not self.space:
            raise ConfigError(
                "search.space must name at least one knob, got none; choose a file of configs/search, as "
                "search=two_tower does, or write one"
            )


@dataclass(kw_only=True)
class TuneConfig(TrainConfig):
    """A training run, with what of it is to be varied.

    Attributes:
        search: See `SearchConfig`.
    """

    search: SearchConfig

    @property
    def folder(self) -> Path:
        """Where the study is kept."""
        return Path(self.runs) / self.data.name / "studies" / self.search.name

    def trained_alone(self) -> TrainConfig:
        """Returns the training run without the search."""
        return TrainConfig(**{f.name: getattr(self, f.name) for f in fields(TrainConfig)})


ConfigStore.instance().store(name="tune_schema", node=TuneConfig)


def resolve_tune(config: DictConfig) -> TuneConfig:
    """Returns the composed config as validated dataclasses.

    Raises:
        ConfigError: As `resolve`, or if a knob of the space is no key of the config.
    """
    resolved = resolve(config)
    assert isinstance(resolved, TuneConfig), f"expected TuneConfig, got {type(resolved)}"
    for key in resolved.search.space:
        # A value may be null: only a default of our own tells a missing key from it.
        if OmegaConf.select(config, key, default=_ABSENT) is _ABSENT:
            raise ConfigError(
                f"search.space names {key!r}, which is no key of this training run; "
                "`--cfg job` shows all of them"
            )
    return resolved


def with_knobs(config: DictConfig, knobs: dict[str, KnobValue]) -> TrainConfig:
    """Returns the training run with some knobs set.

    Raises:
        ConfigError: If they do not fit together.
    """
    # The composed config is that of all trials.
    changed = config.copy()
    for key, value in knobs.items():
        OmegaConf.update(changed, key, value)
    resolved = resolve(changed)
    assert isinstance(resolved, TuneConfig), f"expected TuneConfig, got {type(resolved)}"
    # Resolved anew: knobs that do not fit together are told before the training.
    return resolved.trained_alone()


_ABSENT = object()
