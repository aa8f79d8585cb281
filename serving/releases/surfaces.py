"""The surfaces of one service: places in an app, each with its bundle, defaults, filters and limits.

`MARQUEE_SURFACES` names a YAML that declares them; without it there is one, of `MARQUEE_BUNDLE`. Decides
what a request means that names a surface. Two surfaces of one bundle share what is loaded.

```yaml
default: home
surfaces:
  home: {bundle: bundles/world, defaults: {k: 12}}
  sponsored: {bundle: bundles/world, kind: ad, reranking: {caps: {category: 1}}, limits: {max_k: 5}}
```
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs

import msgspec
from msgspec import UNSET, Meta, UnsetType

from marquee.bundle.bundle import Bundle
from marquee.core.catalog import ItemKind
from marquee.core.filters import NO_FILTERS, Filters
from marquee.decision.policies.config import NO_EXPLORATION, Exploration
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request
from marquee.decision.reranking import NO_RERANKING, Reranking
from marquee.errors import BundleError, ConfigError, DataError, MarqueeError
from marquee.store.signing import TrustedKeys
from serving.config import Settings
from serving.http.errors import Problem, Refusal, unavailable
from serving.recording.policies import read_policy, read_policy_text
from serving.releases.answering import Answering
from serving.releases.channel import Channel
from serving.releases.following import first_usable
from serving.releases.loading import Loader, LoadLimits
from serving.telemetry.metrics import Metrics

DEFAULT = "default"
"""The one surface of a service that declares none."""

DEFAULT_K = 10
_MAX_SURFACES = 64
_Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]


class _Defaults(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The defaults of a request."""

    k: Annotated[int, Meta(ge=1)] | None = None
    kind: ItemKind | None = None
    filters: dict[str, dict[str, object]] = {}
    exclude_seen: bool = True


class _Limits(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The operator's limits, narrowed for one surface."""

    max_k: Annotated[int, Meta(ge=1)] | None = None
    max_history: Annotated[int, Meta(ge=1)] | None = None
    max_exclude: Annotated[int, Meta(ge=1)] | None = None


class _Declared(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One surface of the file."""

    bundle: Annotated[str, Meta(min_length=1)]
    kind: ItemKind | None = None
    defaults: _Defaults = _Defaults()
    filters: dict[str, dict[str, object]] = {}
    reranking: dict[str, object] = {}
    policy: dict[str, object] = {}
    limits: _Limits = _Limits()


class _File(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    surfaces: Annotated[dict[_Name, _Declared], Meta(min_length=1, max_length=_MAX_SURFACES)]
    default: str = ""


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A place in an app.

    Attributes:
        name: What requests call it.
        bundle: Folder of its bundle, as for `Bundle.load`.
        settings: The operator's limits, narrowed.
        kind: The only kind of item that it shows; None for both.
        k: Items of an answer where the request does not say.
        default_kind: Kind of item where the request does not say.
        own_filters: Hold where the request gives none: `filters` and the default ones.
        exclude_seen: Whether what was seen is left out where the request does not say.
        filters: Hold for every answer, beside those of the request.
        reranking: How an answer is ordered.
        exploration: How its places are drawn.
        context: What is known of the moment by the surface alone, by attribute; a request may say otherwise.
    """

    name: str
    bundle: str
    settings: Settings
    kind: ItemKind | None = None
    k: int = DEFAULT_K
    default_kind: ItemKind | None = None
    own_filters: Filters = NO_FILTERS
    exclude_seen: bool = True
    filters: Filters = NO_FILTERS
    reranking: Reranking | None = None
    exploration: Exploration = NO_EXPLORATION
    context: Mapping[str, str] = field(default_factory=dict)

    def with_context(self, request: Request, columns: Collection[str]) -> Request:
        """Returns a request that also says what the surface knows, as far as answers depend on it."""
        known = {
            name: value
            for name, value in self.context.items()
            if name in columns and name not in request.context
        }
        return replace(request, context={**request.context, **known}) if known else request

    def kind_of(self, wanted: ItemKind | None) -> ItemKind | None:
        """Returns the kind of item that answers a request; raises Refusal if it wants one not shown here."""
        if self.kind is not None and wanted not in (None, self.kind):
            raise Refusal(
                Problem.invalid_request,
                f"surface {self.name!r} shows items of kind {self.kind}, got kind {wanted}; leave it out",
                field="kind",
            )
        return self.kind or wanted

    def validate(self, recommender: Recommender) -> None:
        """Raises BundleError if a release cannot do what the surface asks of it."""
        try:
            asked = Request(
                timestamp=0,
                filters=self.own_filters,
                reranking=self.reranking or NO_RERANKING,
                exploration=self.exploration,
                decision_id="none, for nothing is drawn",
            )
            recommender.validate(asked)
        except MarqueeError as error:
            raise BundleError(
                f"release {recommender.version} does not fit surface {self.name!r}: {error}"
            ) from error


class Surfaces:
    """The surfaces of one process, and the releases that answer for them.

    Args:
        surfaces: In the order of the file.
        default: Name of the one that a request means which names none; empty if every request must.
        channels: The releases of each, by the surface's name; surfaces of one bundle share them.
    """

    def __init__(self, surfaces: Iterable[Surface], default: str, channels: Mapping[str, Channel]) -> None:
        self._surfaces = {surface.name: surface for surface in surfaces}
        self._default = default
        self._is_held = False
        self.is_closed = False
        self._channels = channels

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order of the file."""
        return tuple(self._surfaces)

    @property
    def channels(self) -> Mapping[Channel, tuple[str, ...]]:
        """The releases of each bundle, once, with the names of the surfaces that they answer for."""
        names: dict[Channel, tuple[str, ...]] = {}
        for name, channel in self._channels.items():
            names[channel] = (*names.get(channel, ()), name)
        return names

    def named(self, name: str | UnsetType) -> Surface:
        """Returns the surface that a request means; raises Refusal with the list if there is none."""
        surface = self._surfaces.get(self._default if name is UNSET else name)
        if surface is None:
            came = "none" if name is UNSET else repr(name[:64])
            raise Refusal(
                Problem.invalid_request,
                f"surface must be one of {list(self._surfaces)}, got {came}; name one of them",
                field="surface",
            )
        return surface

    def in_query(self, query: bytes) -> Surface:
        """Returns the surface that the query of a path means; raises as `named` does."""
        given = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("surface")
        return self.named(given[-1] if given else UNSET)

    def channel(self, surface: Surface) -> Channel:
        """Returns the releases that answer for a surface."""
        return self._channels[surface.name]

    def answering(self, surface: Surface) -> Answering:
        """Returns the release that answers for a surface; raises Refusal before it is loaded."""
        answering = self._channels[surface.name].answering
        if answering is None or self._is_held:
            raise unavailable("the bundle is being loaded; retry after a moment")
        return answering

    def validate_ready(self) -> None:
        """Raises Refusal unless every surface has somebody who answers."""
        for surface in self._surfaces.values():
            self.answering(surface)

    def hold(self) -> None:
        """Answers nothing until `admit` is called, however much is loaded."""
        self._is_held = True

    def admit(self) -> None:
        """Answers from now on."""
        self._is_held = False

    @property
    def behind(self) -> tuple[str, ...]:
        """Names of the channels that answer from another release than their `CURRENT` names."""
        return tuple([channel.name for channel in self.channels if channel.is_behind])

    def load(self) -> None:
        """Loads the current release of every bundle; raises as `Channel.load` does."""
        for channel in self.channels:
            channel.load()

    def watch(self, interval_s: float) -> None:
        """Begins to look for other releases, every `interval_s` seconds."""
        for channel in self.channels:
            channel.watch(interval_s)

    def close(self) -> None:
        """Stops looking, and loading: a release that is being loaded is given up."""
        self.is_closed = True
        for channel in self.channels:
            channel.close()


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
                exploration=_exploration({}, settings),
            )
            return cls(surfaces=(surface,), default=DEFAULT)
        path = Path(settings.surfaces)
        try:
            file = msgspec.yaml.decode(path.read_bytes(), type=_File)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"MARQUEE_SURFACES must name a file of surfaces, got {path}: {error}"
            ) from error
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
            first_usable(Path(bundle), lambda folder: Bundle.load(folder, trusted))

    def open(self, metrics: Metrics, trusted: TrustedKeys | None) -> Surfaces:
        """Returns the surfaces with the releases of their bundles, none of which is loaded yet."""
        channels: dict[Path, Channel] = {}
        for surface in self.surfaces:
            # Resolved: two spellings of one folder must not load it twice.
            home = Path(surface.bundle).resolve()
            if home not in channels:
                sharing = [one for one in self.surfaces if Path(one.bundle).resolve() == home]
                loader = Loader(trusted, _validator(sharing), _load_limits(surface.settings))
                channels[home] = Channel(surface.bundle, metrics, loader)
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
            surface.validate(recommender)

    return validate


def _surface(path: Path, name: str, declared: _Declared, settings: Settings) -> Surface:
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
            reranking=_reranking(declared.reranking),
            exploration=_exploration(declared.policy, settings),
            context={"surface": name},
        )
    except (ConfigError, DataError) as error:
        raise ConfigError(f"surfaces.{name} in {path}: {error}") from error


def _reranking(declared: Mapping[str, object]) -> Reranking | None:
    """Returns the re-ranking that a surface declares, None if it declares none."""
    if not declared:
        return None
    known = [one.name for one in fields(Reranking)]
    unknown = sorted(declared.keys() - set(known))
    if unknown:
        raise ConfigError(f"reranking.{unknown[0]} is unknown, expected one of {known}; correct it")
    try:
        return msgspec.convert(dict(declared), Reranking)
    except msgspec.ValidationError as error:
        raise ConfigError(f"reranking is not as expected: {error}") from error


def _exploration(declared: Mapping[str, object], settings: Settings) -> Exploration:
    """Returns the policy of a surface, the operator's default one if it declares none."""
    exploration = read_policy(declared) if declared else read_policy_text(settings.policy)
    if exploration.explores and not settings.events:
        raise ConfigError(
            f"policy {exploration.policy} draws places, which must be on record, got no event log; set "
            "MARQUEE_EVENTS, or leave the policy out"
        )
    return exploration
