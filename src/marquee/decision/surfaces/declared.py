"""The file of surfaces as it is written: its form, and what is wrong with it in words.

```yaml
default: home
surfaces:
  home: {bundle: bundles/world, defaults: {k: 12}}
  sponsored: {bundle: bundles/world, kind: ad, reranking: {caps: {category: 1}}, limits: {max_k: 5}}
```

Leaves to the service what a surface means there (see `serving.releases.surface_file`, with more examples).
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from marquee.core.catalog import ItemKind
from marquee.decision.requests import HISTORY_WEIGHT
from marquee.decision.reranking import Reranking
from marquee.errors import ConfigError

_MAX_SURFACES = 64
_Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]


class DeclaredDefaults(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The defaults of a request."""

    k: Annotated[int, Meta(ge=1)] | None = None
    kind: ItemKind | None = None
    filters: dict[str, dict[str, object]] = {}
    exclude_seen: bool = True


class DeclaredLimits(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The operator's limits, narrowed for one surface."""

    max_k: Annotated[int, Meta(ge=1)] | None = None
    max_history: Annotated[int, Meta(ge=1)] | None = None
    max_exclude: Annotated[int, Meta(ge=1)] | None = None


class DeclaredCreatives(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How the items of a surface are said."""

    templates: Annotated[list[dict[str, object]], Meta(min_length=1)]
    policy: dict[str, object] = {}


class DeclaredSurface(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One surface of the file."""

    bundle: Annotated[str, Meta(min_length=1)]
    kind: ItemKind | None = None
    defaults: DeclaredDefaults = DeclaredDefaults()
    filters: dict[str, dict[str, object]] = {}
    reranking: dict[str, object] = {}
    policy: dict[str, object] = {}
    limits: DeclaredLimits = DeclaredLimits()
    traits: dict[str, Annotated[str, Meta(min_length=1)]] = {}
    creatives: DeclaredCreatives | None = None
    slots: dict[str, object] | None = None
    history_weight: Annotated[float, Meta(ge=0.0, le=100.0)] = HISTORY_WEIGHT


class DeclaredSurfaces(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    surfaces: Annotated[dict[_Name, DeclaredSurface], Meta(min_length=1, max_length=_MAX_SURFACES)]
    default: str = ""


def read_surfaces(path: Path, setting: str) -> DeclaredSurfaces:
    """Returns the surfaces of a file.

    Args:
        path: Of the file.
        setting: What named it, for messages.

    Raises:
        ConfigError: If it is not what it should be; the message names the place.
    """
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=DeclaredSurfaces)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"{setting} must name a file of surfaces, got {path}: {error}") from error


def read_reranking(declared: Mapping[str, object]) -> Reranking | None:
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
