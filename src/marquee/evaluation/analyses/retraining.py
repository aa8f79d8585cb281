"""The same model trained and judged several times, on other data each time: what came out, and its spread.

A rolling-origin back-test varies the cutoff, a learning curve the amount of training data. Both leave a
series of retrainings that the report draws and a file can hold.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TypeVar

import msgspec
import numpy as np

from marquee.errors import DataError
from marquee.evaluation.intervals import Estimate

RETRAININGS_FORMAT = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Retraining:
    """One training and its judgement.

    Attributes:
        label: What sets it apart, e.g. `2011-09-01 to 2011-10-01` or `25% of the events`.
        position: Where it stands in the series: number of the window, or fraction of the training data.
        n_train_events: What it learned from.
        n_users: Users judged.
        n_targets: Their targets.
        seconds: Wall time of training.
        estimates: Model → the metric.
        differences: Other model → judged model minus it, paired.
    """

    label: str
    position: float
    n_train_events: int
    n_users: int
    n_targets: int
    seconds: float
    estimates: Mapping[str, Estimate]
    differences: Mapping[str, Estimate]

    @classmethod
    def from_json_dict(cls, fields: object) -> "Retraining":
        """Returns the retraining that `asdict` wrote.

        Raises:
            DataError: If a field is missing or of another type.
        """
        return _converted(fields, cls)


@dataclass(frozen=True, slots=True)
class Spread:
    """One model's metric over the retrainings.

    Attributes:
        mean: Of the retrainings.
        deviation: Standard deviation between retrainings; None for one alone.
        low: The worst retraining.
        high: The best retraining.
    """

    mean: float
    deviation: float | None
    low: float
    high: float


@dataclass(frozen=True)
class RetrainingSeries:
    """Trials that belong together.

    Attributes:
        metric: E.g. `ndcg@10`.
        model: The model under judgement.
        design: What was varied and what was judged, in words.
        retrainings: In the order of their position.
    """

    metric: str
    model: str
    design: str
    retrainings: tuple[Retraining, ...]

    def __post_init__(self) -> None:
        if not self.retrainings:
            raise DataError(f"a series of retrainings must hold one or more, got none for {self.metric!r}")

    @property
    def names(self) -> tuple[str, ...]:
        """The models that every retraining has, the one under judgement first."""
        return tuple(
            name
            # A model that one retraining lacks has no spread over all of them.
            for name in self.retrainings[0].estimates
            if all(name in retraining.estimates for retraining in self.retrainings)
        )

    def spread(self, name: str) -> Spread:
        """Returns the metric of one model over the retrainings."""
        means = np.array([retraining.estimates[name].mean for retraining in self.retrainings])
        # One retraining has none: 0 would claim that results never vary.
        deviation = float(means.std(ddof=1)) if len(means) > 1 else None
        return Spread(float(means.mean()), deviation, float(means.min()), float(means.max()))

    def n_better(self, name: str) -> int:
        """Returns in how many retrainings the interval of the difference to another model lies above 0."""
        return sum(retraining.differences[name].low > 0 for retraining in self.retrainings)

    def to_json_dict(self) -> dict[str, object]:
        """Returns everything, ready for `json.dumps`."""
        fields = asdict(self)
        return {
            "trials_format": RETRAININGS_FORMAT,
            # The key of the first format, which readers of the file know.
            "trials": fields.pop("retrainings"),
            **fields,
            "spread": {name: asdict(self.spread(name)) for name in self.names},
            "n_better": {name: self.n_better(name) for name in self.names if name != self.model},
        }

    @classmethod
    def from_json_dict(cls, fields: Mapping[str, object]) -> "RetrainingSeries":
        """Returns the series that `to_json_dict` wrote.

        Raises:
            DataError: If it has another format, or a field is missing or of another type.
        """
        if fields.get("trials_format") != RETRAININGS_FORMAT:
            raise DataError(
                f"trials must have format {RETRAININGS_FORMAT}, got {fields.get('trials_format')!r}; "
                "run them again"
            )
        return _converted({**fields, "retrainings": fields.get("trials")}, cls)


def _converted(fields: object, kind: type[T]) -> T:
    """Returns plain JSON as one of the classes above.

    Raises:
        DataError: If a field is missing or of another type.
    """
    try:
        # Checks the types of all fields, which a call of the class would not.
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise DataError(
            f"a file of retrainings must hold {kind.__name__}, got: {error}; run them again"
        ) from error
