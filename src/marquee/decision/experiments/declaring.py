"""The file of experiments: its form, and what is wrong with it in words.

```yaml
holdout: {share: 0.02, metrics: {clicks: {value: clicked_at IS NOT NULL}}}
experiments:
  variety:
    surfaces: [home]
    start: 2026-12-01T00:00:00Z
    end: 2026-12-15T00:00:00Z
    arms:
      control: {weight: 0.5}
      varied: {weight: 0.5, reranking: {diversity: mmr}}
    metrics:
      clicks: {value: clicked_at IS NOT NULL}
    minimum_effect: 0.02
```

One file says who is in which arm, to a service, and what will be judged by, to a report: neither can drift
from the other, and what decides is on record before the first unit is drawn. Decides nothing about what an
arm changes (the service does) nor about what came of it (`marquee.evaluation.experiments`).
"""

import math
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from marquee.core.catalog import ItemKind
from marquee.decision.experiments.assignment import HOLDOUT, Experiment, Holdout, Unit
from marquee.errors import ConfigError

CANARY = "canary"
"""The experiment of a candidate release, which a service declares by itself."""

MAX_EXPERIMENTS = 64

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
_Text = Annotated[str, Meta(min_length=1)]
_Quantile = Annotated[float, Meta(gt=0, lt=1)]


class Better(StrEnum):
    """Which way a metric should go."""

    more = "more"
    less = "less"


def zone_named(name: str) -> ZoneInfo:
    """Returns a zone; raises ConfigError if there is none of the name."""
    try:
        return ZoneInfo(name)
    # An absolute path is a ValueError here, the name of a folder such as Europe an OSError.
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(f"zone {name!r} is not known; use a name as Europe/Berlin") from error


class DeclaredMetric(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One metric over the exposures of the log: a mean per unit, or a ratio of two sums.

    Attributes:
        value: Column of the training table, or SQL over its columns, that is added up per unit.
        per: What it is counted per, for a ratio; empty for a mean per unit.
        better: Which way it should go.
        winsorise: Quantile at which sums of units are capped, shown beside the raw effect.
        quantiles: Quantiles over units to compare beside the mean.
    """

    value: _Text
    per: str = ""
    better: Better = Better.more
    winsorise: _Quantile | None = None
    quantiles: list[_Quantile] = []


class _Judged(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The metrics that an experiment will be judged by, declared before it begins.

    Attributes:
        metrics: Name → metric; the first decides.
        guardrails: Metrics that no arm may worsen.
        slices: Columns whose values the first metric is shown by.
        minimum_effect: Smallest improvement of the first metric that matters, in its unit.
        window_days: How long after its first exposure a unit counts; null until the end.
        zone: Zone in which days begin and end.
        tuned_for: Units at which the interval for daily looks is shortest; null for the usual number.
    """

    metrics: dict[_Text, DeclaredMetric] = {}
    guardrails: list[str] = []
    slices: list[str] = []
    minimum_effect: Annotated[float, Meta(ge=0)] = 0.0
    window_days: Annotated[float, Meta(gt=0)] | None = None
    zone: str = "UTC"
    tuned_for: Annotated[int, Meta(ge=1)] | None = None

    def validate_judging(self) -> None:
        """Raises ConfigError if a report could not judge by it: weeks later it would be too late."""
        zone_named(self.zone)
        unknown = sorted(set(self.guardrails) - set(self.metrics))
        if unknown:
            raise ConfigError(
                f"guardrails must be among the metrics {list(self.metrics)}, got {unknown[0]!r}; declare it, "
                "or leave it out"
            )
        twice = sorted(name for name, one in self.metrics.items() if one.per and one.quantiles)
        if twice:
            raise ConfigError(
                f"metrics.{twice[0]} is a ratio and has no quantiles over units; leave per or quantiles out"
            )
        if self.minimum_effect and not self.metrics:
            raise ConfigError(
                f"minimum_effect is one of the first metric, got {self.minimum_effect:g} and no metrics; "
                "declare metrics"
            )


class DeclaredArm(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One arm: its weight, and the settings in which it differs from its surface.

    Attributes:
        weight: Share among those who take part.
        release: Version that answers; null for the current one.
        k: Items of an answer where a request does not say.
        kind: Kind of item where a request does not say.
        filters: Hold beside the surface's own.
        reranking: How an answer is ordered.
        policy: How places are drawn.
    """

    weight: Annotated[float, Meta(gt=0, le=1)]
    release: str | None = None
    k: Annotated[int, Meta(ge=1)] | None = None
    kind: ItemKind | None = None
    filters: dict[str, dict[str, object]] | None = None
    reranking: dict[str, object] | None = None
    policy: dict[str, object] | None = None


class DeclaredExperiment(_Judged, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One experiment of the file; the keys are those of `Experiment`, and what it is judged by."""

    arms: Annotated[dict[Name, DeclaredArm], Meta(min_length=2)]
    surfaces: list[str] = []
    unit: Unit = Unit.user_id
    phase: Annotated[int, Meta(ge=1)] = 1
    seed: Annotated[str, Meta(pattern=r"^[^;@'%]*\Z", max_length=128)] = ""
    layer: str = ""
    layer_range: tuple[float, float] = (0.0, 1.0)
    coverage: float = 1.0
    start: datetime | None = None
    end: datetime | None = None

    def experiment(self, name: str) -> Experiment:
        """Returns it as units are drawn by it; raises ConfigError if it is impossible."""
        if name in (CANARY, HOLDOUT):
            raise ConfigError(f"{name} is the name of an experiment of every service; choose another")
        for key, moment in (("start", self.start), ("end", self.end)):
            if moment is not None and moment.tzinfo is None:
                raise ConfigError(f"{key} must say its zone, got {moment.isoformat()}; add Z for UTC")
        self.validate_judging()
        return Experiment(
            name=name,
            arms=tuple(self.arms),
            weights=tuple(arm.weight for arm in self.arms.values()),
            surfaces=tuple(self.surfaces),
            unit=self.unit,
            phase=self.phase,
            declared_seed=self.seed,
            layer=self.layer,
            layer_range=self.layer_range,
            coverage=self.coverage,
            start=self.start.timestamp() if self.start else -math.inf,
            end=self.end.timestamp() if self.end else math.inf,
        )


class DeclaredHoldout(_Judged, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The holdout of the file: its share, and what the whole programme is judged by."""

    share: float
    seed: Annotated[str, Meta(pattern=r"^[^;@'%]*\Z", max_length=128)] = HOLDOUT

    def holdout(self) -> Holdout:
        """Returns it as users are drawn by it; raises ConfigError if it is impossible."""
        self.validate_judging()
        return Holdout(share=self.share, seed=self.seed)


class ExperimentFile(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    experiments: Annotated[dict[Name, DeclaredExperiment], Meta(max_length=MAX_EXPERIMENTS)] = {}
    holdout: DeclaredHoldout | None = None

    @classmethod
    def read(cls, path: Path) -> "ExperimentFile":
        """Reads a file of experiments.

        Raises:
            ConfigError: If it is none; the message names the key.
        """
        try:
            return msgspec.yaml.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"MARQUEE_EXPERIMENTS must name a file of experiments, got {path}: {error}"
            ) from error
