"""Reads the rules of surfaces from the file that a service is started with, to ask the judged users there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from marquee.core.catalog import ItemKind
from marquee.core.filters import Filters
from marquee.decision.reranking import Diversity, Reranking
from marquee.errors import ConfigError, DataError
from marquee.evaluation.analyses.served_surfaces import SurfaceRules

Declared = Mapping[str, Any]  # Any: whatever YAML holds


def read_surfaces(file: str, bundle: str) -> tuple[SurfaceRules, ...]:
    """Returns the rules of the surfaces that answer from a bundle, where a request says nothing else.

    Args:
        file: As `MARQUEE_SURFACES` names it; the service reads it more strictly than is done here.
        bundle: A bundle, or the folder of its versions.

    Raises:
        ConfigError: If there is no such file, a rule is not as expected, or no surface is of the bundle.
    """
    try:
        content = OmegaConf.to_container(OmegaConf.load(file))
    except (OSError, YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"surfaces must name a file of surfaces, got {file!r}: {error}") from error
    declared = content.get("surfaces") if isinstance(content, dict) else None
    if not isinstance(declared, dict) or not all(isinstance(one, dict) for one in declared.values()):
        raise ConfigError(f"{file} must hold a mapping `surfaces`, got {content!r}; see the examples")
    # A surface names the folder of versions, and `bundle` may be one version in it.
    own = Path(bundle).resolve()
    rules = tuple(
        _rules(file, str(name), surface)
        for name, surface in declared.items()
        if Path(str(surface.get("bundle", ""))).resolve() in (own, own.parent)
    )
    if not rules:
        bundles = sorted({str(surface.get("bundle", "")) for surface in declared.values()})
        raise ConfigError(f"no surface of {file} is of bundle {bundle!r}, got {bundles}; name one of those")
    return rules


def _rules(file: str, name: str, surface: Declared) -> SurfaceRules:
    """Returns the rules of one surface."""
    defaults: Declared = surface.get("defaults") or {}
    # A surface's own kind cannot be overruled by a request, its default kind can.
    kind = surface.get("kind") or defaults.get("kind")
    try:
        return SurfaceRules(
            name=name,
            kind=None if kind is None else ItemKind(kind),
            filters=Filters.of(surface.get("filters") or {}) & Filters.of(defaults.get("filters") or {}),
            reranking=_reranking(surface.get("reranking") or {}),
            exclude_seen=bool(defaults.get("exclude_seen", True)),
        )
    except (TypeError, ValueError, ConfigError, DataError) as error:
        raise ConfigError(f"surfaces.{name} in {file}: {error}; correct it") from error


def _reranking(declared: Declared) -> Reranking:
    """Returns the re-ranking that a surface declares."""
    settings = dict(declared)
    if settings.get("diversity") is not None:
        # YAML holds the word; the dataclass does not convert it.
        settings["diversity"] = Diversity(settings["diversity"])
    return Reranking(**settings)
