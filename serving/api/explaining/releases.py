"""Finds the release that a decision names: one that answers, or an older one that is loaded for it.

One older release is held beside those that answer, the last one that was asked for, and none that is larger
than the bound: an explanation must not cost the answers their memory.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from marquee.bundle.manifest import MANIFEST, Manifest, validate_name
from marquee.decision.recommender import Recommender
from marquee.errors import MarqueeError
from marquee.store.live_items import LiveItem
from marquee.store.log.event_log import Decision
from marquee.store.signing import TrustedKeys
from serving.releases.channel import Channel
from serving.releases.surfaces import DEFAULT, Surfaces

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Older:
    """An older release, with the live items that it was given."""

    folder: Path
    recommender: Recommender
    items: Mapping[str, LiveItem]


class ReleasesToAsk:
    """The releases that decisions can be asked of again; belongs to one thread.

    Args:
        surfaces: Who answers.
        max_bytes: Largest older release that is loaded; 0: none is.
        trusted: Keys whose releases are taken; None for anybody's.
    """

    def __init__(self, surfaces: Surfaces, max_bytes: int, trusted: TrustedKeys | None = None) -> None:
        self._surfaces = surfaces
        self._max_bytes = max_bytes
        self._trusted = trusted
        self._older: _Older | None = None

    def find(self, decision: Decision) -> Recommender | None:
        """Returns the release that a decision names, with the live items of now; None if nobody has it."""
        # Of bids at an exchange no release is the cause.
        if not decision.release:
            return None
        channels = list(self._channels(decision))
        for channel in channels:
            answering = channel.answering
            if answering and (recommender := answering.of_release(decision.release)):
                return recommender
        for channel in channels:
            if (older := self._find_older(channel, decision.release)) is not None:
                return older
        return None

    def _channels(self, decision: Decision) -> Iterator[Channel]:
        """Yields the channels that may hold a release, that of the decision's surface first."""
        name = decision.surface or DEFAULT
        own = [channel for channel, surfaces in self._surfaces.channels.items() if name in surfaces]
        yield from own
        # A surface may be gone, or answered by another bundle since; two bundles may use one version's name.
        if not own:
            yield from self._surfaces.channels

    def _find_older(self, channel: Channel, version: str) -> Recommender | None:
        """Returns a release that does not answer, loaded if need be; None if it is not to be had."""
        folder, items = channel.home / version, channel.state.items
        if self._older is None or self._older.folder != folder:
            loaded = self._load(folder, version)
            if loaded is None:
                return None
            # In place of the one before, which is let go of first: two would not be within the bound.
            self._older = _Older(folder, loaded.with_live_items(items), items)
        elif self._older.items is not items:
            self._older = _Older(folder, self._older.recommender.with_live_items(items), items)
        return self._older.recommender

    def _load(self, folder: Path, version: str) -> Recommender | None:
        """Loads an older release; returns None, and says why in the log, if that fails."""
        try:
            validate_name(version, "a version")
            # A link could lead out of the folder of releases, and records may come from elsewhere.
            if folder.is_symlink() or not (folder / MANIFEST).is_file():
                return None
            manifest = Manifest.from_json((folder / MANIFEST).read_bytes())
            n_bytes = sum(facts.bytes for facts in manifest.files.values())
            if n_bytes > self._max_bytes:
                logger.info("release %s of %s bytes is not loaded to explain", version[:128], n_bytes)
                return None
            self._older = None
            return Recommender.load(folder, self._trusted)
        except (MarqueeError, OSError) as error:
            logger.warning("release %s cannot be loaded to explain: %s", version[:128], error)
            return None
