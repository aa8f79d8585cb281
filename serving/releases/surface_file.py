"""The file of surfaces: its form, and what is wrong with it in words.

```yaml
default: home
surfaces:
  home: {bundle: bundles/world, defaults: {k: 12}}
  sponsored: {bundle: bundles/world, kind: ad, reranking: {caps: {category: 1}}, limits: {max_k: 5}}
  shop: {bundle: bundles/world, traits: {segment: group}}  # the trait `group` is the attribute `segment`
  banner:
    bundle: bundles/world
    creatives:
      templates: [{name: price, template: "{title}, now {price:.2f}"}, {name: plain, template: "{title}"}]
      policy: {name: thompson, floor: 0.05}
```
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import msgspec

from marquee.ads.slots import SlotConfig
from marquee.bundle.bundle import Bundle
from marquee.core.catalog import ItemKind
from marquee.core.filters import Filters
from marquee.core.targeting.targeting import CustomerFacts
from marquee.decision.creatives.choosing import CreativeSet, read_creatives
from marquee.decision.policies.config import NO_EXPLORATION, Exploration
from marquee.decision.recommender import Recommender
from marquee.decision.surfaces.declared import (
    DeclaredCreatives,
    DeclaredSurface,
    read_reranking,
    read_surfaces,
)
from marquee.errors import ConfigError, DataError
from marquee.store.signing import TrustedKeys
from serving.config import Settings
from serving.recording.policies import read_policy, read_policy_text
from serving.releases.channel import Channel
from serving.releases.following import first_usable
from serving.releases.loading import Loader, LoadLimits, verified_here
from serving.releases.surfaces import DEFAULT, DEFAULT_K, Surface, Surfaces
from serving.telemetry.metrics import Metrics


@dataclass(frozen=True, kw_only=True)
class SurfaceFile:
    """The declaration of a surface by its operator.

    Attributes:
        surfaces: In the order of the file.
        default: As in `Surfaces`.
    """

    surfaces: tuple[Surface, ...]
    default: str

    @classmethod
    def read(cls, settings: Settings) -> "SurfaceFile":
        """Returns the surfaces that the settings name.

        Raises:
            ConfigError: If there are none, or the file is not what it should be; the message names the place.
        """
        if bool(settings.surfaces) == bool(settings.bundle):
            raise ConfigError(
                "one of MARQUEE_BUNDLE (the folder of a bundle) and MARQUEE_SURFACES (a file of surfaces) "
                f"must be set, got {settings.bundle!r} and {settings.surfaces!r}; set MARQUEE_BUNDLE to "
                "bundles/world, say"
            )
        if settings.bundle:
            surface = Surface(
                name=DEFAULT,
                bundle=settings.bundle,
                settings=settings,
                k=_default_k(settings),
                exploration=read_exploration({}, settings),
            )
            return cls(surfaces=(surface,), default=DEFAULT)
        path = Path(settings.surfaces)
        file = read_surfaces(path, "MARQUEE_SURFACES")
        # Among several nobody can know which one a request without a name means.
        default = file.default or (next(iter(file.surfaces)) if len(file.surfaces) == 1 else "")
        if default and default not in file.surfaces:
            raise ConfigError(f"default in {path} must be one of {list(file.surfaces)}, got {default!r}")
        return cls(
            surfaces=tuple(
                _surface(path, name, declared, settings) for name, declared in file.surfaces.items()
            ),
            default=default,
        )

    def validate_bundles(self, trusted: TrustedKeys | None) -> None:
        """Raises BundleError if neither a current release nor one before it is what its publisher wrote.

        Whether it fits its surfaces every worker finds when it loads it.
        """
        # Once for each bundle: it is verified byte by byte.
        for bundle in dict.fromkeys(surface.bundle for surface in self.surfaces):
            first_usable(Path(bundle), lambda folder: Bundle.load(folder, trusted, verified_here()))

    def validate_traits(self, facts: CustomerFacts) -> None:
        """Raises ConfigError if a surface states a trait that the run of customers has not.

        Args:
            facts: Of the run that is served; `NO_CUSTOMERS` for none.
        """
        for surface in self.surfaces:
            for attribute, trait in surface.traits.items():
                if trait in facts.traits:
                    continue
                place = f"surfaces.{surface.name}.traits.{attribute}"
                if not facts.run:
                    raise ConfigError(
                        f"{place} needs a run of customers, got {trait!r} and none; start with MARQUEE_TRAITS"
                    )
                raise ConfigError(
                    f"{place} must be one of the traits {sorted(facts.traits)} of the run {facts.run}, got "
                    f"{trait!r}; correct it"
                )

    def open(
        self,
        metrics: Metrics,
        trusted: TrustedKeys | None,
        arms: Callable[[Sequence[Surface]], Sequence[Surface]] | None = None,
    ) -> Surfaces:
        """Returns the surfaces with the releases of their bundles, none of which is loaded yet.

        Args:
            metrics: What counts.
            trusted: Whose releases are taken; None: anybody's.
            arms: Returns some surfaces as the arms of experiments have them; None: there are no arms.
        """
        channels: dict[Path, Channel] = {}
        for surface in self.surfaces:
            # Resolved: two spellings of one folder must not load it twice.
            home = Path(surface.bundle).resolve()
            if home not in channels:
                sharing = [one for one in self.surfaces if Path(one.bundle).resolve() == home]
                variants = arms(sharing) if arms else ()
                loader = Loader(
                    trusted,
                    _validator([*sharing, *variants]),
                    _load_limits(surface.settings),
                    verified_here(),
                )
                versions = tuple(dict.fromkeys(one.release for one in variants if one.release))
                channels[home] = Channel(surface.bundle, metrics, loader, arms=versions)
        by_name = {surface.name: channels[Path(surface.bundle).resolve()] for surface in self.surfaces}
        return Surfaces(self.surfaces, self.default, by_name)


def _load_limits(settings: Settings) -> LoadLimits:
    """Returns how long a release may take."""
    return LoadLimits(settings.release_load_ms / 1000, settings.release_rehearsal_ms / 1000)


def _default_k(settings: Settings) -> int:
    """Returns how many items come back where neither a request nor its surface says."""
    return min(DEFAULT_K, settings.max_k)


def _validator(surfaces: Iterable[Surface]) -> Callable[[Recommender], None]:
    """Returns a function that raises BundleError unless a release fits all of the surfaces."""

    def validate(recommender: Recommender) -> None:
        for surface in surfaces:
            # An arm with a release of its own may ask for what others do not have.
            if surface.release in (None, recommender.version):
                surface.validate(recommender)

    return validate


def _surface(path: Path, name: str, declared: DeclaredSurface, settings: Settings) -> Surface:
    """Returns one surface of the file at `path`."""
    limits: dict[str, int] = {
        key: limit for key, limit in msgspec.structs.asdict(declared.limits).items() if limit is not None
    }
    for key, limit in limits.items():
        if limit > getattr(settings, key):
            raise ConfigError(
                f"surfaces.{name}.limits.{key} in {path} must be at most MARQUEE_{key.upper()} "
                f"({getattr(settings, key)}), got {limit}; a surface narrows a limit, it never widens it"
            )
    narrowed = replace(settings, **limits)  # type: ignore[arg-type]  # each limit is an int
    k = declared.defaults.k or _default_k(narrowed)
    if k > narrowed.max_k:
        raise ConfigError(
            f"surfaces.{name}.defaults.k in {path} must be at most its max_k ({narrowed.max_k}), got {k}; "
            "lower it"
        )
    if declared.kind and declared.defaults.kind not in (None, declared.kind):
        raise ConfigError(
            f"surfaces.{name}.defaults.kind in {path} must be its kind {declared.kind}, got "
            f"{declared.defaults.kind}; leave it out"
        )
    try:
        return Surface(
            name=name,
            bundle=declared.bundle,
            settings=narrowed,
            kind=declared.kind,
            k=k,
            default_kind=declared.defaults.kind or declared.kind,
            own_filters=Filters.of(declared.filters) & Filters.of(declared.defaults.filters),
            exclude_seen=declared.defaults.exclude_seen,
            filters=Filters.of(declared.filters),
            reranking=read_reranking(declared.reranking),
            exploration=read_exploration(declared.policy, settings),
            context={"surface": name},
            traits=declared.traits,
            creatives=None if declared.creatives is None else _read_creatives(declared.creatives, settings),
            history_weight=declared.history_weight,
            slots=None if declared.slots is None else _read_slots(declared.slots, declared.kind, settings),
        )
    except (ConfigError, DataError) as error:
        raise ConfigError(f"surfaces.{name} in {path}: {error}") from error


def _read_creatives(declared: DeclaredCreatives, settings: Settings) -> CreativeSet:
    """Returns the creatives of a surface; without a policy the first that may be shown is taken."""
    exploration = read_exploration(declared.policy, settings) if declared.policy else NO_EXPLORATION
    return read_creatives(declared.templates, exploration)


def _read_slots(declared: Mapping[str, object], kind: ItemKind | None, settings: Settings) -> SlotConfig:
    """Returns the slots of a surface; `floor` is in millionths of the currency."""
    if kind is not None:
        raise ConfigError(f"slots need a surface of content and ads, got kind {kind}; leave kind out")
    if not settings.events:
        raise ConfigError("slots are sold on record, got no event log; set MARQUEE_EVENTS")
    known = [one.name for one in fields(SlotConfig)]
    unknown = sorted(declared.keys() - set(known))
    if unknown:
        raise ConfigError(f"slots.{unknown[0]} is unknown, expected one of {known}; correct it")
    try:
        return msgspec.convert(dict(declared), SlotConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"slots are not as expected: {error}") from error


def read_exploration(declared: Mapping[str, object], settings: Settings) -> Exploration:
    """Returns the policy of a surface, the operator's default one if it declares none."""
    exploration = read_policy(declared) if declared else read_policy_text(settings.policy)
    if exploration.explores and not settings.events:
        raise ConfigError(
            f"policy {exploration.policy} draws places, which must be on record, got no event log; set "
            "MARQUEE_EVENTS, or leave the policy out"
        )
    return exploration
