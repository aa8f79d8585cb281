"""Scores users by a bundle: parts, differences, and what came of it."""

import time
from collections.abc import Mapping
from math import ceil
from pathlib import Path

import msgspec
import polars as pl
from rich.console import Console

from marquee.bundle.manifest import MANIFEST, Manifest
from marquee.bundle.releases import resolve
from marquee.errors import ConfigError
from marquee.store.files import read_regular_file, replace_file
from marquee.store.scores.folder import MANIFEST as SCORES
from marquee.store.scores.folder import SUMMARY, ScoreFolder, ScoreManifest
from training.distributed.cluster import open_cluster
from training.distributed.progress import task_progress
from training.score.asked import rejects_of, scan_users
from training.score.changes import count_changes
from training.score.config import ScoreConfig
from training.score.parts import comparing_tasks, scoring_tasks
from training.score.terms import ScoreTerms, not_scored

USERS_PER_BUCKET = 50_000


def score_bundle(config: ScoreConfig, console: Console) -> None:
    """Writes the folder of scores that a config asks for, as far as it is not there.

    Raises:
        ConfigError: If the folder is one of other scores.
        BundleError: If there is no bundle.
        TaskError: If a part cannot be made.
    """
    release = resolve(Path(config.bundle))
    manifest = Manifest.from_json(read_regular_file(release / MANIFEST))
    users = Path(config.users) if config.users else None
    rejected = rejects_of(scan_users(users)) if users else {}
    n_asked = _n_named(users) if users else manifest.n_users
    before = ScoreFolder.read(Path(config.against)) if config.against else None
    folder, terms = _opened(config, manifest.version, n_asked, before)
    for words in not_scored(config):
        console.print(f"note: {words}")
    leave_out = Path(config.leave_out) if config.leave_out else None
    keys = config.trusted_keys
    tasks = scoring_tasks(folder, release / MANIFEST, terms, users=users, leave_out=leave_out, keys=keys)
    with open_cluster(config.cluster) as cluster, task_progress(console) as progress:
        outcome = cluster.run("scoring", tasks, progress)
        if before is not None:
            cluster.run("comparing", comparing_tasks(folder, before), progress)
    counts = _counts(folder, n_asked, rejected, is_compared=before is not None)
    replace_file(folder.path / SUMMARY, msgspec.json.format(msgspec.json.encode(counts)) + b"\n")
    _tell(console, folder, counts, outcome.skipped)


def _n_named(users: Path) -> int:
    """Returns how many different ids a table of users has."""
    ids = pl.col("user_id")
    return int(scan_users(users).select(ids.filter(ids != "").drop_nulls().n_unique()).collect().item())


def _opened(
    config: ScoreConfig, version: str, n_asked: int, before: ScoreFolder | None
) -> tuple[ScoreFolder, ScoreTerms]:
    """Returns the folder to fill, which says what it is to hold, and the terms."""
    path = Path(config.to)
    known = ScoreFolder.read(path).manifest if (path / SCORES).exists() else None
    timestamp = config.at or (known.timestamp if known else int(time.time()))
    terms = ScoreTerms.of(config, timestamp)
    n_buckets = config.buckets or (
        before.manifest.n_buckets if before else max(1, ceil(n_asked / USERS_PER_BUCKET))
    )
    if before is not None and before.manifest.n_buckets != n_buckets:
        raise ConfigError(
            f"buckets must be those of against={before.path}, {before.manifest.n_buckets}, got {n_buckets}; "
            "leave buckets out"
        )
    if before is not None and before.path.resolve() == path.resolve():
        raise ConfigError(f"against must be another folder than to, got {path} for both")
    said = msgspec.json.decode(msgspec.json.encode(terms))
    wanted = ScoreManifest(version=version, timestamp=timestamp, n_buckets=n_buckets, terms=said)
    if known is not None and known != wanted:
        names = ("version", "timestamp", "n_buckets", "terms")
        name = next(name for name in names if getattr(known, name) != getattr(wanted, name))
        raise ConfigError(
            f"{path} holds scores with {name} {getattr(known, name)}, got {getattr(wanted, name)}; name "
            "another folder in to, or ask for the same"
        )
    folder = ScoreFolder(path, wanted)
    if known is None:
        folder.write_manifest()
    return folder, terms


def _counts(
    folder: ScoreFolder, n_asked: int, rejected: Mapping[str, int], *, is_compared: bool
) -> dict[str, object]:
    """Returns the counts of a folder whose parts are all there."""
    buckets = range(folder.manifest.n_buckets)
    scores = pl.scan_parquet([folder.part(bucket) for bucket in buckets], glob=False)
    totals = scores.select(
        users=pl.len(),
        items=pl.col("items").list.len().sum(),
        short=pl.col("short_reason").count(),
        unknown_users=pl.col("unknown_user").sum(),
        unknown_history=pl.col("unknown_history").sum(),
    ).collect()
    sources = scores.group_by("source").len().sort("source").collect()
    counts: dict[str, object] = {
        **totals.row(0, named=True),
        "sources": dict(sources.iter_rows()),
        "left_out": n_asked - totals["users"].item(),
        "rejected": dict(rejected),
    }
    if is_compared:
        counts["changes"] = dict(count_changes(folder.changes(bucket) for bucket in buckets))
    return counts


def _tell(console: Console, folder: ScoreFolder, counts: Mapping[str, object], n_skipped: int) -> None:
    """Prints what a folder holds."""
    n_parts = folder.manifest.n_buckets
    there = f", {n_skipped:,} of them were there" if n_skipped else ""
    console.print(
        f"scored {counts['users']:,} users by {folder.manifest.version} in {n_parts:,} parts{there}: "
        f"{folder.path}"
    )
    sources = counts["sources"]
    assert isinstance(sources, dict), "sources are counted by name"
    console.print(
        f"  {counts['items']:,} items; by source: "
        + ", ".join(f"{name} {count:,}" for name, count in sources.items())
    )
    console.print(
        f"  short lists {counts['short']:,}, unknown users {counts['unknown_users']:,}, unknown events of "
        f"histories {counts['unknown_history']:,}, left out {counts['left_out']:,}"
    )
    rejected = counts["rejected"]
    assert isinstance(rejected, dict), "rejects are counted by reason"
    for reason, count in rejected.items():
        console.print(f"  not scored, {reason.replace('_', ' ')}: {count:,} rows")
    changes = counts.get("changes")
    if isinstance(changes, dict):
        told = ", ".join(f"{name} {changes[name]:,}" for name in ("entered", "left", "moved"))
        console.print(f"  items since before: {told}; of {changes['users']:,} users")
