"""The question to a bundle for each user: by the command, and by the surface that it names.

Decides what an answer of the service on that surface would go by. Leaves out what only a moment or a store
knows: draws of a policy, rules of people, live items.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from marquee.core.catalog import ItemKind
from marquee.core.filters import Filters
from marquee.decision.batch.terms import BatchTerms
from marquee.decision.reranking import NO_RERANKING
from marquee.decision.surfaces.declared import DeclaredSurface, read_reranking, read_surfaces
from marquee.errors import ConfigError
from training.score.config import ScoreConfig

_DEFAULT_K = 10


class ScoreTerms(msgspec.Struct, frozen=True, kw_only=True):
    """The terms as they travel to a task; see `BatchTerms`.

    Attributes:
        timestamp: As there, and so are k, surface, kind and exclude_seen.
        k: As above.
        surface: As above; empty for none.
        kind: As above; empty for both.
        exclude_seen: As above.
        filters: As they are declared; all of them hold.
        reranking: As it is declared; empty for none.
        exact: Whether all items are compared.
    """

    timestamp: int
    k: int
    surface: str = ""
    kind: str = ""
    exclude_seen: bool = True
    filters: list[dict[str, dict[str, object]]] = []
    reranking: dict[str, object] = {}
    exact: bool = False

    @classmethod
    def of(cls, config: ScoreConfig, timestamp: int) -> "ScoreTerms":
        """Returns the terms of a command.

        Raises:
            ConfigError: If the surface is not declared, or shows no items of the kind.
        """
        declared = _declared(config)
        own = declared.kind or declared.defaults.kind
        kind = config.kind or (str(own) if own else "")
        if kind and kind not in ItemKind.__members__:
            raise ConfigError(f"kind must be one of {list(ItemKind.__members__)}, got {kind!r}")
        if declared.kind and kind != declared.kind:
            raise ConfigError(
                f"surface {config.surface} shows items of kind {declared.kind}, got kind {kind}; leave it out"
            )
        seen = config.exclude_seen
        # Filters of a request take the place of the defaults, never of those of the surface.
        asked = config.filters or declared.defaults.filters
        return cls(
            timestamp=timestamp,
            k=config.k or declared.defaults.k or _DEFAULT_K,
            surface=config.surface,
            kind=kind,
            exclude_seen=declared.defaults.exclude_seen if seen is None else seen,
            filters=[one for one in (declared.filters, asked) if one],
            reranking=dict(declared.reranking),
            exact=config.exact,
        )

    def for_columns(self, columns: frozenset[str]) -> BatchTerms:
        """Returns the terms for a bundle.

        Args:
            columns: What its answers depend on (see `Bundle.columns`).

        Raises:
            ConfigError: If a filter or the re-ranking is none.
        """
        filters = Filters.of({})
        for one in self.filters:
            filters = filters & Filters.of(one)
        # As the service says it: only what the release reads.
        context: Mapping[str, object] = (
            {"surface": self.surface} if self.surface and "surface" in columns else {}
        )
        return BatchTerms(
            timestamp=self.timestamp,
            k=self.k,
            surface=self.surface or None,
            context=context,
            kind=ItemKind(self.kind) if self.kind else None,
            filters=filters,
            exclude_seen=self.exclude_seen,
            reranking=read_reranking(self.reranking) or NO_RERANKING,
        )


def _declared(config: ScoreConfig) -> DeclaredSurface:
    """Returns the declaration of the surface; that of a surface without one declares nothing."""
    if not config.surfaces:
        return DeclaredSurface(bundle=config.bundle)
    surfaces = read_surfaces(Path(config.surfaces), "surfaces").surfaces
    if config.surface not in surfaces:
        raise ConfigError(
            f"surface must be one of {sorted(surfaces)} of {config.surfaces}, got {config.surface!r}"
        )
    return surfaces[config.surface]


def not_scored(config: ScoreConfig) -> list[str]:
    """Returns in words what the surface declares and scores do not have."""
    declared = _declared(config)
    words = {
        "policy": declared.policy and "its policy draws no place here: each goes to the highest gain",
        "traits": declared.traits
        and f"its traits are not looked up: give {sorted(declared.traits)} as columns of users=…",
        "creatives": declared.creatives and "no creative is chosen",
        "slots": declared.slots and "no slot is sold",
    }
    return [f"surface {config.surface}: {said}" for said in words.values() if said]
