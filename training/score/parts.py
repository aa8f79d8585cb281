"""The tasks of scoring: the scores of a bucket of users, and what differs from those of an earlier day."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import polars as pl

from marquee.bundle.bundle import Bundle
from marquee.core.arrays import IndexArray
from marquee.decision.batch.scoring import score_users
from marquee.decision.recommender import Recommender
from marquee.index.faiss_index import IndexConfig
from marquee.index.index import Index
from marquee.marketing.reading.customers import read_ids
from marquee.store.scores.folder import ScoreFolder
from marquee.store.signing import TrustedKeys
from training.distributed.plan import Task
from training.score.asked import rows_by_bucket, scan_users, users_of_bundle, users_of_table, validate_columns
from training.score.changes import changes_between
from training.score.terms import ScoreTerms

_HERE = __name__


def scoring_tasks(
    folder: ScoreFolder,
    manifest: Path,
    terms: ScoreTerms,
    *,
    users: Path | None,
    leave_out: Path | None,
    keys: str,
) -> list[Task]:
    """Returns the tasks that write the parts of a folder.

    Args:
        folder: To be filled.
        manifest: Of the bundle; its checksums stand for the whole.
        terms: What is asked.
        users: Table of users; None for all that the bundle knows.
        leave_out: File of ids; None for none.
        keys: File of public keys that may have signed the bundle; empty for a bundle that is taken unsigned.
    """
    n_buckets = folder.manifest.n_buckets
    given = tuple(path for path in (manifest, users, leave_out) if path is not None)
    return [
        Task(
            name=f"part {bucket}",
            function=f"{_HERE}:score_part",
            arguments={
                "bucket": bucket,
                "n_buckets": n_buckets,
                "terms": msgspec.json.encode(terms, order="sorted").decode(),
                "has_users": users is not None,
                "has_leave_out": leave_out is not None,
                "keys": keys,
            },
            inputs=given,
            output=folder.part(bucket),
        )
        for bucket in range(n_buckets)
    ]


def comparing_tasks(folder: ScoreFolder, before: ScoreFolder) -> list[Task]:
    """Returns the tasks that write what differs from an earlier folder."""
    return [
        Task(
            name=f"part {bucket}",
            function=f"{_HERE}:compare_parts",
            inputs=(before.part(bucket), folder.part(bucket)),
            output=folder.changes(bucket),
            # An erasure changes either side, and both are to be compared again.
            renews=True,
        )
        for bucket in range(folder.manifest.n_buckets)
    ]


def score_part(
    out: Path,
    inputs: Sequence[Path],
    *,
    bucket: int,
    n_buckets: int,
    terms: str,
    has_users: bool,
    has_leave_out: bool,
    keys: str,
) -> None:
    """Writes the scores of a bucket of users; see `scoring_tasks`.

    Raises:
        BundleError: If the bundle is not what its publisher wrote.
        DataError: If the table of users is none, or filters and re-ranking do not fit the bundle.
    """
    manifest, *files = inputs
    users = files.pop(0) if has_users else None
    left_out = read_ids(files.pop(0)) if has_leave_out else frozenset()
    asked = msgspec.json.decode(terms, type=ScoreTerms)
    # The time of the manifest: a process that lives long must not answer by a bundle that was exchanged.
    recommender = _recommender(manifest.parent, manifest.stat().st_mtime_ns, asked.exact, keys)
    bundle = recommender.bundle
    if users is None:
        chosen = users_of_bundle(bundle, _rows(recommender, n_buckets)[bucket])
    else:
        table = scan_users(users)
        validate_columns(table, users, bundle.columns)
        chosen = users_of_table(table, bucket, n_buckets)
    wanted = (user for user in chosen if user.user_id not in left_out)
    scores = score_users(recommender, wanted, asked.for_columns(bundle.columns))
    scores.write_parquet(out, compression="zstd", statistics=False)


def compare_parts(out: Path, inputs: Sequence[Path]) -> None:
    """Writes what differs between two parts of one bucket, the earlier first."""
    before, after = (pl.read_parquet(path, columns=["user_id", "items"], glob=False) for path in inputs)
    changes_between(before, after).write_parquet(out, compression="zstd", statistics=False)


@functools.lru_cache(maxsize=1)
def _recommender(folder: Path, _mtime_ns: int, exact: bool, keys: str) -> Recommender:
    """Returns the recommender of a bundle, once in each process."""
    bundle = Bundle.load(folder, TrustedKeys.read(keys) if keys else None)
    if exact:
        bundle = replace(bundle, index=Index(bundle.index.item_vectors, IndexConfig(), None))
    return Recommender(bundle)


@functools.lru_cache(maxsize=1)
def _rows(recommender: Recommender, n_buckets: int) -> list[IndexArray]:
    """Returns the users of each bucket, once in each process."""
    return rows_by_bucket(recommender.bundle, n_buckets)
