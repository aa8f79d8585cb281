"""The one door between Hydra and the code: `resolve` turns a composed config into validated dataclasses.

Python owns the schema and the defaults, YAML owns the names of choices. Nothing behind `resolve` ever
sees a DictConfig.
"""

import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from omegaconf import DictConfig

from marquee.core.arrays import BoolArray
from marquee.core.schema import TimeMeaning
from marquee.data.config import DataConfig
from marquee.data.dataset import JudgedPart
from marquee.data.split_config import SplitMethod
from marquee.errors import ConfigError
from marquee.evaluation.baselines import BaselinesConfig
from marquee.evaluation.evaluation import EvaluationTask
from marquee.nn.architectures import ModelConfig
from marquee.nn.history_pooling import HistoryPooling
from marquee.nn.initialisation.tables import InitialisationConfig
from marquee.nn.losses import LOSSES, LossConfig
from marquee.nn.negatives import CatalogNegativesConfig, NegativesConfig
from marquee.nn.optimizers import OptimizerConfig
from marquee.nn.probabilities import ProbabilitiesConfig
from training.cli.command import as_object

HIDDEN_FRACTION = 0.5


class ExampleUnit(StrEnum):
    """The definition of a training example."""

    next = "next"
    future = "future"
    whole = "whole"
    sequence = "sequence"


@dataclass(kw_only=True)
class ExamplesConfig:
    """How interactions become examples.

    Attributes:
        unit: See `ExampleUnit`; None for `whole` where the data has no time, for `sequence` where the model
            reads histories as a transformer, else `next`.
        batch_size: Queries per batch; `sequence`: about as many, for a history is not parted.
        max_gap: `next`: the history ends up to this many events before the target, at random: the model
            then learns what comes soon, not only what comes next.
        max_targets: `future`: how many of the following events are targets.
        hidden_fraction: `whole`: share of the events that are hidden from the history, others in each pass: a
            target that stands in its own history teaches nothing. None for `HIDDEN_FRACTION` where the unit
            is left open as well; else 0.
        target_decay: How much less a user's old events count as targets: one that a share s of the user's
            events came after weighs e^(-target_decay · s). What is liked drifts, and what is asked for comes
            after all of them. Left out where lists have no order.
        equal_queries: Whether the weights of a query's targets are made to sum to 1, so that each query
            counts alike, however many targets it has.
        half_life_days: How fast events age as targets: one that lies this long before the last event of
            training counts half; 0 for never. None where the split is by time follows the data, see
            `training.fitting.ageing.half_life_days`: there everybody is asked after that event, and what is
            popular follows the season. Where it is not, None is 0.
    """

    unit: ExampleUnit | None = None
    batch_size: int = 1024
    max_gap: int = 0
    max_targets: int = 20
    hidden_fraction: float | None = None
    target_decay: float = 0.0
    equal_queries: bool = False
    half_life_days: float | None = None

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if a size is out of range or belongs to another unit."""
        if self.batch_size < 1 or self.max_targets < 1:
            raise ConfigError(
                "examples.batch_size and examples.max_targets must be 1 or more, got "
                f"{self.batch_size} and {self.max_targets}"
            )
        if self.hidden_fraction is not None and not 0 <= self.hidden_fraction < 1:
            raise ConfigError(f"examples.hidden_fraction must be in [0, 1), got {self.hidden_fraction}")
        if self.target_decay < 0:
            raise ConfigError(f"examples.target_decay must be 0 or more, got {self.target_decay}")
        if self.half_life_days is not None and self.half_life_days < 0:
            raise ConfigError(f"examples.half_life_days must be 0 or more, got {self.half_life_days}")
        if self.max_gap < 0 or (self.max_gap and self.unit not in (None, ExampleUnit.next)):
            raise ConfigError(
                f"examples.max_gap must be 0 or more and needs examples.unit=next, got {self.max_gap} with "
                f"{self.unit}"
            )


class TablePlacement(StrEnum):
    """Where the learned rows of users and items lie."""

    replicated = "replicated"
    sharded = "sharded"


@dataclass(kw_only=True)
class TrainerConfig:
    """How long and on what.

    Attributes:
        epochs: Passes over the examples, at most; None for as many as make `steps`, so that a small data
            set is passed more often than a large one, and both take about as long.
        steps: Batches that a model sees where `epochs` is None; the last pass is a whole one.
        patience: Rankings without a better validation NDCG before training stops; 0 to never stop early.
        validate_every: Epochs from one ranking of the validation users to the next.
        validation_users: Users who are ranked each time, the same ones; 0 for all. The report asks all.
        average_half_life_epochs: Epochs after which the weights of a step count half in the moving average
            that is ranked, kept and exported; 0 for the latest weights alone.
        overfit_batches: Batches that are trained on, the same in every epoch, to see whether a model learns
            them by heart; 0 for all batches of the data.
        accelerator: Lightning's word: auto, cpu, gpu, …
        devices: Processes on each machine, with a device or a CPU thread each; they step on parts of one
            batch, so that results do not depend on how many there are.
        nodes: Machines; more than one are started by torchrun.
        tables: Whether each process holds the learned rows of all users and items, or a part of them.
        restarts: How often training goes on from its last checkpoint when one of its processes is lost.
        precision: Lightning's word: 32-true, bf16-mixed, … Weights and what is exported are float32 in both.
        compile: Whether torch compiles the loss; needs a C++ compiler, and its first steps take long.
        threads: CPU threads of torch; 0 for its own choice. Steps are small, so a second thread gains little
            on an idle machine and, waiting for the first, costs most of the speed on a busy one.
        workers: Processes that cut batches while the device steps; 0 cuts each in between. Nothing to gain on
            a CPU; a GPU with large batches waits for one process alone.
    """

    epochs: int | None = None
    steps: int = 1000
    patience: int = 6
    validate_every: int = 1
    validation_users: int = 0
    average_half_life_epochs: float = 0.0
    overfit_batches: int = 0
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    tables: TablePlacement = TablePlacement.replicated
    restarts: int = 3
    precision: str = "32-true"
    compile: bool = False
    threads: int = 1
    workers: int = 0

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if a number is out of range."""
        for name in ("epochs", "steps", "validate_every", "devices", "nodes"):
            size = getattr(self, name)
            if size is not None and size < 1:
                raise ConfigError(f"trainer.{name} must be 1 or more, got {size}")
        for name in (
            "patience",
            "threads",
            "workers",
            "average_half_life_epochs",
            "overfit_batches",
            "validation_users",
            "restarts",
        ):
            # Not `<`: a NaN of a fraction must fail, and compares false with everything.
            if not getattr(self, name) >= 0:
                raise ConfigError(f"trainer.{name} must be 0 or more, got {getattr(self, name)}")

    @property
    def n_ranks(self) -> int:
        """Processes that train together."""
        return self.devices * self.nodes

    def n_epochs(self, n_batches: int) -> int:
        """Returns how many passes over `n_batches` there are at most.

        Example:
            >>> TrainerConfig(steps=1000).n_epochs(300), TrainerConfig(epochs=2).n_epochs(300)
            (4, 2)
        """
        # A run that overfits passes its few batches so often that it makes as many steps.
        n_trained = min(n_batches, self.overfit_batches or n_batches)
        return math.ceil(self.steps / n_trained) if self.epochs is None else self.epochs


@dataclass(kw_only=True)
class EvaluationConfig:
    """How a model is judged.

    Attributes:
        ks: Cutoffs, ascending.
        headline_k: Cutoff of the validation NDCG that picks the checkpoint, and of the report's verdict.
        exclude_seen: Whether items that a user had before are left out of its ranking and its targets.
        test: Whether the test part is read; off while settings are still being chosen.
        protected: Columns of the users table by whose groups the model is judged: metric, calibration,
            exposure, with the largest gap.
        suppliers: Columns of the items table, such as a seller, by whose groups exposure stands beside merit.
        baselines: What stands beside the model.
        memory_mb: Memory of a block of scores.
    """

    ks: list[int] = field(default_factory=lambda: [5, 10, 20, 50])
    headline_k: int = 10
    exclude_seen: bool = True
    test: bool = True
    protected: list[str] = field(default_factory=list)
    suppliers: list[str] = field(default_factory=list)
    baselines: BaselinesConfig = field(default_factory=BaselinesConfig)
    memory_mb: int = 512

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if a cutoff is impossible."""
        if sorted(set(self.ks)) != list(self.ks) or not self.ks or self.ks[0] < 1:
            raise ConfigError(f"evaluation.ks must be ascending cutoffs of 1 or more, got {list(self.ks)}")
        if self.headline_k not in self.ks:
            raise ConfigError(
                f"evaluation.headline_k must be one of evaluation.ks {list(self.ks)}, got {self.headline_k}"
            )

    def task(
        self,
        part: JudgedPart,
        n_items: int,
        ks: list[int] | None = None,
        groups: dict[str, BoolArray] | None = None,
    ) -> EvaluationTask:
        """Returns the ranking task of one part of the split, the same for every model.

        Args:
            part: Who is asked about.
            n_items: Items of the catalog.
            ks: Cutoffs in place of the config's.
            groups: Item groups that get metrics of their own.
        """
        targets, _ = part.wanted(exclude_seen=self.exclude_seen)
        return EvaluationTask(
            targets,
            n_items,
            tuple(ks or self.ks),
            part.seen if self.exclude_seen else None,
            groups,
            part.available,
            n_excluded_outside=len(part.targets.item_index) - len(targets.item_index),
        )


@dataclass(kw_only=True)
class TrainConfig:
    """Everything a run depends on; written whole into the run folder and into the bundle.

    Attributes:
        seed: Of everything random in the run; 0 is a seed.
        runs: Folder of the run folders.
        resume: Run folder to continue, with its own config; empty for a new run.
        objective: File of what a click, a conversion and revenue are worth: the click head weighs the losses
            of its two outcomes by it, and the report counts it; empty for `configs/objective.yaml`.
        left_open: Knobs that nobody has set: the rule of `training.fitting.recipe` does, once data are read.
    """

    seed: int = 1
    runs: str = "runs"
    resume: str = ""
    data: DataConfig
    model: ModelConfig
    examples: ExamplesConfig = field(default_factory=ExamplesConfig)
    loss: LossConfig
    negatives: NegativesConfig
    optimizer: OptimizerConfig
    start: InitialisationConfig = field(default_factory=InitialisationConfig)
    # Runs of earlier versions say nothing of it, and have no head.
    probabilities: ProbabilitiesConfig = field(default_factory=ProbabilitiesConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    objective: str = ""
    left_open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._fill_in_examples()
        self.validate()

    def _fill_in_examples(self) -> None:
        """Sets what is left open of the examples by what the data and the model are."""
        # Before the unit is filled in: whether it was left open decides here.
        if self.examples.hidden_fraction is None:
            is_open = self.examples.unit is None and self.data.time is TimeMeaning.none
            self.examples.hidden_fraction = HIDDEN_FRACTION if is_open else 0.0
        if self.examples.unit is None:
            reads_order = self.data.time is not TimeMeaning.none
            next_unit = ExampleUnit.sequence if self._reads_sequences else ExampleUnit.next
            self.examples.unit = next_unit if reads_order else ExampleUnit.whole
        # With another split people are asked at all times, old ones included: no event is out of date.
        if self.examples.half_life_days is None and self.data.split.method is not SplitMethod.time:
            self.examples.half_life_days = 0.0

    def validate(self) -> None:
        """Raises ConfigError if parts do not fit together."""
        if self.loss.compares_pairs and isinstance(self.negatives, CatalogNegativesConfig):
            # The word that was written on the command line, not the name of the class.
            name = next(name for name, config in LOSSES.items() if isinstance(self.loss, config))
            raise ConfigError(
                f"loss={name} compares each target with every candidate one by one, got negatives=catalog: "
                "choose negatives=mixed, or loss=sampled_softmax"
            )
        if self.examples.unit is ExampleUnit.sequence and not self._reads_sequences:
            towers = self.model.towers()
            raise ConfigError(
                "examples.unit=sequence reads a query off every event of a history, which only "
                "model.history_pooling=transformer can give, got "
                f"{towers.history_pooling.value if towers.history else 'a model without history'}; "
                "choose that, or examples.unit=next"
            )
        if self.examples.half_life_days and self.data.time is not TimeMeaning.absolute:
            raise ConfigError(
                f"examples.half_life_days needs data.time=absolute, got {self.examples.half_life_days} with "
                f"{self.data.time}; set it to 0"
            )

    @property
    def _reads_sequences(self) -> bool:
        """Whether the model gives a query behind every event of a history."""
        towers = self.model.towers()
        return towers.history and towers.history_pooling is HistoryPooling.transformer


def resolve(config: DictConfig) -> TrainConfig:
    """Returns the composed config as validated dataclasses.

    Raises:
        ConfigError: If a value is missing or has the wrong type; the message names the key.
    """
    return as_object(config, TrainConfig)


def as_plain(config: TrainConfig) -> dict[str, Any]:  # Any: whatever JSON can hold
    """Returns the config as plain dictionaries and lists, for manifests and reports."""
    return asdict(config)
