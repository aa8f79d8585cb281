"""Experiments of one service: which arm answers a request, and what that arm changes of its surface.

`MARQUEE_EXPERIMENTS` names a file that declares them (see `marquee.decision.experiments.declaring`).
An arm is a surface with other settings, so whatever answers a surface answers an arm. Decides nothing about
what came of it (`python -m training.experiment` does).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from marquee.bundle.manifest import validate_name
from marquee.bundle.releases import Role
from marquee.core.filters import NO_FILTERS, Filters
from marquee.decision.experiments.assignment import (
    HELD_OUT,
    HOLDOUT,
    SERVED,
    Assigned,
    Experiment,
    Holdout,
    Unit,
    validate_layers,
)
from marquee.decision.experiments.declaring import (
    CANARY,
    DeclaredArm,
    DeclaredExperiment,
    DeclaredHoldout,
    ExperimentFile,
)
from marquee.decision.surfaces.declared import read_reranking
from marquee.errors import ConfigError, DataError
from serving.config import Settings
from serving.releases.answering import Answering
from serving.releases.arms.metrics import ExperimentMetrics
from serving.releases.surface_file import read_exploration
from serving.releases.surfaces import Surface, Surfaces

CONTROL = "control"


@dataclass(frozen=True)
class ArmSettings:
    """The settings of a surface that an arm changes.

    Attributes:
        changes: Fields of `Surface` that it replaces, and their values.
        filters: Hold beside those of the surface: an arm shows nothing that its surface must not show.
    """

    changes: Mapping[str, Any]
    filters: Filters = NO_FILTERS

    @property
    def release(self) -> str | None:
        """The version that answers, None for the one that answers everybody."""
        version: str | None = self.changes.get("release")
        return version

    @property
    def changed(self) -> frozenset[str]:
        """The names of the settings that it changes; filters of two arms hold beside each other."""
        return frozenset(self.changes)

    def on(self, surface: Surface) -> Surface:
        """Returns a surface with these settings."""
        changed = replace(surface, **self.changes)
        if not self.filters:
            return changed
        filters, own = surface.filters & self.filters, surface.own_filters & self.filters
        return replace(changed, filters=filters, own_filters=own)


@dataclass(frozen=True)
class Experiments:
    """All experiments of a service.

    Attributes:
        experiments: In the order of the file.
        settings: Experiment → arm → what it changes.
        holdout: Those who are answered as if nothing were known of them; None for nobody.
    """

    experiments: tuple[Experiment, ...] = ()
    settings: Mapping[str, Mapping[str, ArmSettings]] = field(default_factory=dict)
    holdout: Holdout | None = None

    @classmethod
    def read(cls, settings: Settings, surfaces: Iterable[Surface]) -> "Experiments":
        """Returns the experiments that the settings name, none for an empty name.

        Raises:
            ConfigError: If the file is not what it should be; the message names the place.
        """
        if not settings.experiments:
            return cls()
        path = Path(settings.experiments)
        file = ExperimentFile.read(path)
        known = {surface.name: surface for surface in surfaces}
        experiments: list[Experiment] = []
        changes: dict[str, dict[str, ArmSettings]] = {}
        for name, declared in file.experiments.items():
            try:
                experiments.append(_experiment(name, declared, known))
                changes[name] = {arm: _settings(one, settings) for arm, one in declared.arms.items()}
                for surface in known.values():
                    if experiments[-1].runs_on(surface.name):
                        _validate_arms(declared.arms, surface)
            except (ConfigError, DataError) as error:
                raise ConfigError(f"experiments.{name} in {path}: {error}") from error
        found = tuple(experiments)
        try:
            validate_layers(found)
            _validate_apart(found, changes)
        except ConfigError as error:
            raise ConfigError(f"experiments in {path}: {error}") from error
        return cls(found, changes, _holdout(path, file.holdout))

    @property
    def are_there(self) -> bool:
        """Whether anybody could be in an arm."""
        return bool(self.experiments) or self.holdout is not None

    @property
    def arms(self) -> dict[str, tuple[str, ...]]:
        """The arms of each experiment by name, the canary and the holdout included."""
        held = {HOLDOUT: (HELD_OUT, SERVED)} if self.holdout is not None else {}
        return {**{one.name: one.arms for one in self.experiments}, CANARY: (CANARY, CONTROL), **held}

    @property
    def shares(self) -> dict[str, Mapping[str, float]]:
        """The share of each arm of each experiment by name, the holdout included."""
        held = {HOLDOUT: self.holdout.shares} if self.holdout is not None else {}
        return {**{one.name: one.shares for one in self.experiments}, **held}

    def show(self, surfaces: Surfaces, metrics: ExperimentMetrics, now: float) -> None:
        """Shows which experiments draw units here.

        Args:
            surfaces: Say which releases are loaded.
            metrics: Where it is shown.
            now: Seconds since 1970 UTC.
        """
        every = [surfaces.named(name) for name in surfaces.names]
        for experiment in self.experiments:
            loaded = [surfaces.channel(one).answering for one in every if experiment.runs_on(one.name)]
            is_suspended = any(one is not None and self.is_suspended(experiment, one) for one in loaded)
            is_on = experiment.is_on(now)
            # Before its start, or while the first release is loaded, nobody is missing.
            metrics.show(
                experiment.name,
                is_running=is_on and not is_suspended and None not in loaded,
                is_suspended=is_on and is_suspended,
            )

    def variants(self, surfaces: Iterable[Surface]) -> tuple[Surface, ...]:
        """Returns the surfaces as each arm that runs on them has them."""
        return tuple(
            arm.on(surface)
            for surface in surfaces
            for experiment in self.experiments
            if experiment.runs_on(surface.name)
            for arm in self.settings[experiment.name].values()
        )

    def decides_release(self, experiment: str) -> bool:
        """Tells whether the release that answers follows from an experiment, or the canary."""
        arms = self.settings.get(experiment, {}).values()
        return experiment == CANARY or any(arm.release is not None for arm in arms)

    def surface_for(
        self,
        surface: Surface,
        answering: Answering,
        user_id: str | None,
        request_id: str,
        now: float,
        without: Collection[str] = (),
    ) -> Surface:
        """Returns a surface as the arms of a request have it, with the arms that made it so.

        Args:
            surface: As it is declared.
            answering: The releases that are loaded for it.
            user_id: Who asks, None if nobody may be told apart.
            request_id: Of the request.
            now: Seconds since 1970 UTC.
            without: Experiments in which the request takes no part.
        """
        if self.holdout is not None and user_id:
            is_held_out = self.holdout.includes(user_id)
            assigned = Assigned(HOLDOUT, self.holdout.seed, HELD_OUT if is_held_out else SERVED)
            surface = replace(surface, assigned=(assigned,))
            if is_held_out:  # in no other experiment, and no canary: nothing else may differ for these users
                return replace(surface, release=answering.current.version)
        for experiment in self.experiments:
            if not experiment.runs_on(surface.name) or self.is_suspended(experiment, answering):
                continue
            if experiment.name in without:
                continue
            unit = user_id if experiment.unit is Unit.user_id else request_id
            arm = experiment.arm_of(unit, now) if unit else None
            if arm is not None:
                surface = self.settings[experiment.name][arm].on(surface)
                assigned = Assigned(experiment.name, experiment.seed, arm)
                surface = replace(surface, assigned=(*surface.assigned, assigned))
        return surface

    def is_suspended(self, experiment: Experiment, answering: Answering) -> bool:
        """Tells whether a release that an arm needs is not loaded.

        Nobody takes part then: one arm without its release would be answered as another, and look like it.
        """
        wanted = [arm.release for arm in self.settings[experiment.name].values()]
        return any(version and answering.of_release(version) is None for version in wanted)


NO_EXPERIMENTS = Experiments()


def with_canary(surface: Surface, answering: Answering, caller: str) -> Surface:
    """Returns a surface with the arm of the canary: a canary is an experiment as well.

    Args:
        surface: As the arms of experiments have it; one whose release an arm decides is not changed.
        answering: The releases that are loaded for it.
        caller: A user id, or the id of a request without one.
    """
    canary = answering.candidates.get(Role.canary)
    if canary is None or surface.release is not None:
        return surface
    version = canary.candidate.version
    arm = CANARY if canary.candidate.includes(caller) else CONTROL
    return replace(surface, assigned=(*surface.assigned, Assigned(CANARY, version, arm)))


def _holdout(path: Path, declared: DeclaredHoldout | None) -> Holdout | None:
    """Returns the holdout of the file at `path`, None if it has none."""
    if declared is None:
        return None
    try:
        return declared.holdout()
    except ConfigError as error:
        raise ConfigError(f"holdout in {path}: {error}") from error


def _experiment(name: str, declared: DeclaredExperiment, surfaces: Mapping[str, Surface]) -> Experiment:
    """Returns an experiment of the file; raises ConfigError if it is impossible."""
    unknown = [one for one in declared.surfaces if one not in surfaces]
    if unknown:
        raise ConfigError(f"surfaces must be among {list(surfaces)}, got {unknown[0]!r}")
    return declared.experiment(name)


def _settings(arm: DeclaredArm, settings: Settings) -> ArmSettings:
    """Returns the fields of a surface that an arm changes."""
    changes: dict[str, Any] = {}
    if arm.release is not None:
        validate_name(arm.release, "release")
        changes["release"] = arm.release
    if arm.k is not None:
        changes["k"] = arm.k
    if arm.kind is not None:
        changes["default_kind"] = arm.kind
    if arm.reranking is not None:
        changes["reranking"] = read_reranking(arm.reranking)
    if arm.policy is not None:
        changes["exploration"] = read_exploration(arm.policy, settings)
    return ArmSettings(changes, Filters.of(arm.filters or {}))


def _validate_arms(arms: Mapping[str, DeclaredArm], surface: Surface) -> None:
    """Raises ConfigError if a surface could answer no request of an arm."""
    for name, arm in arms.items():
        most = surface.settings.max_k
        if arm.k is not None and arm.k > most:
            raise ConfigError(
                f"arms.{name}.k must be at most the max_k of surface {surface.name} ({most}), got {arm.k}"
            )
        if arm.kind is not None and surface.kind not in (None, arm.kind):
            raise ConfigError(
                f"arms.{name}.kind must be that of surface {surface.name}, {surface.kind}, got {arm.kind}; "
                "leave it out"
            )


def _validate_apart(
    experiments: tuple[Experiment, ...], settings: Mapping[str, Mapping[str, ArmSettings]]
) -> None:
    """Raises ConfigError if two experiments of different layers change the same setting of one surface.

    One would undo the other for the units of both.
    """
    for number, first in enumerate(experiments):
        for second in experiments[number + 1 :]:
            is_parted = bool(first.layer) and first.layer == second.layer
            both = _changed(settings[first.name]) & _changed(settings[second.name])
            if both and first.meets(second) and not is_parted:
                raise ConfigError(
                    f"experiments {first.name} and {second.name} both change {min(both)} on one "
                    "surface; "
                    "put them into one layer, each with its layer_range"
                )


def _changed(arms: Mapping[str, ArmSettings]) -> set[str]:
    """Returns the settings that some arm changes."""
    return {name for arm in arms.values() for name in arm.changed}
