"""The releases that lie in the folder of a channel."""

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from marquee.bundle.manifest import MANIFEST, Manifest
from marquee.bundle.releases import Role, resolve
from marquee.errors import MarqueeError
from serving.releases.answering import Answering

MAX_LISTED = 100


@dataclass(frozen=True, slots=True)
class Release:
    """One version in the folder of a channel.

    Attributes:
        version: Its name.
        manifest: The facts of its bundle, None if they cannot be read.
        is_current: Whether `CURRENT` names it.
        is_answering: Whether this worker answers from it, as the current release.
        canary_share: Share of the users that it answers in this worker as the canary.
        shadow_share: Share of the requests that it is asked in this worker as the shadow.
    """

    version: str
    manifest: Manifest | None
    is_current: bool
    is_answering: bool
    canary_share: float
    shadow_share: float


def list_releases(home: Path, answering: Answering | None) -> list[Release]:
    """Lists the releases of a channel, newest first, at most `MAX_LISTED`.

    Args:
        home: Folder of the channel, or of one of its versions.
        answering: What answers in this worker, None for nothing yet.
    """
    current = None
    # A broken pointer must not hide the releases among which another is to be chosen.
    with suppress(MarqueeError, OSError):
        current = resolve(home).name
    channel = home.parent if (home / MANIFEST).exists() else home
    folders = [folder for folder in channel.iterdir() if not folder.name.startswith(".")]
    releases = [_described(one, current, answering) for one in folders if _may_be_release(one)]
    # The version parts releases of the same second: the order must not change between two calls.
    releases.sort(key=lambda release: (_created(release), release.version), reverse=True)
    return releases[:MAX_LISTED]


def names_of_releases(home: Path) -> Iterator[str]:
    """Yields the name of a channel that each manifest in its folder carries, as far as they can be read."""
    for release in list_releases(home, None):
        if release.manifest is not None:
            yield release.manifest.name


def held_items(home: Path, item_ids: Collection[str]) -> set[str]:
    """Returns those of some items that a release in the folder of a channel holds.

    All of them, where the folder or a catalog cannot be read: it may hold any.
    """
    held: set[str] = set()
    try:
        # No glob: that passes over folders which it may not read.
        catalogs = [folder / "catalog.parquet" for folder in home.iterdir()]
        for catalog in catalogs:
            if not catalog.exists():  # raises unless it is sure
                continue
            rows = pl.read_parquet(catalog, columns=["item_id"])
            held.update(rows.filter(pl.col("item_id").is_in(list(item_ids)))["item_id"].to_list())
    except (OSError, PolarsError):
        return set(item_ids)
    return held


def _described(folder: Path, current: str | None, answering: Answering | None) -> Release:
    """Describes the release in a folder."""
    name = folder.name
    return Release(
        version=name,
        manifest=_manifest(folder),
        is_current=name == current,
        is_answering=answering is not None and answering.current.version == name,
        canary_share=answering.share(Role.canary, name) if answering else 0.0,
        shadow_share=answering.share(Role.shadow, name) if answering else 0.0,
    )


def _may_be_release(folder: Path) -> bool:
    """Tells whether a folder holds a manifest; also if nobody may look: then it is listed without."""
    try:
        return (folder / MANIFEST).is_file()
    except OSError:
        # A folder that nobody may read is shown rather than lost.
        return True


def _manifest(folder: Path) -> Manifest | None:
    """Reads the manifest of a release; None if it cannot be read."""
    try:
        return Manifest.from_json((folder / MANIFEST).read_bytes())
    except (MarqueeError, OSError):
        return None


def _created(release: Release) -> int:
    """Returns when a release was made, 0 if that is not known."""
    return release.manifest.created if release.manifest else 0
