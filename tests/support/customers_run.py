"""A run of customers written by hand, with traits that a test can choose."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from marquee.bundle.traits.run import AudienceFacts, RunManifest, write_run_manifest

STARTED = 1_600_000_000


def write_run(
    folder: Path,
    rows: pl.DataFrame,
    audiences: Mapping[str, Mapping[str, str]] | None = None,
    *,
    pseudonyms: str = "",
    refused: tuple[str, ...] = (),
) -> Path:
    """Returns a folder that holds a run, made if need be.

    Args:
        folder: Of the run.
        rows: `user_id` and traits.
        audiences: Name -> user -> `contact` or `holdout`.
        pseudonyms: Variable with the key that the ids of `rows` were hashed with.
        refused: Audiences that are told to nobody.
    """
    (folder / "audiences").mkdir(parents=True)
    rows.write_parquet(folder / "traits.parquet")
    facts = {}
    for name, members in (audiences or {}).items():
        table = {
            "user_id": list(members),
            "group": list(members.values()),
            "position": list(range(1, len(members) + 1)),
        }
        if name not in refused:
            pl.DataFrame(table).write_csv(folder / "audiences" / f"{name}.csv")
        facts[name] = AudienceFacts(len(members), "", "t", "too few" if name in refused else "")
    manifest = RunManifest(
        name="shop",
        version="v1",
        started=STARTED,
        as_of=None,
        columns=[],
        refused={},
        audiences=facts,
        files={},
        pseudonyms=pseudonyms,
    )
    write_run_manifest(folder, manifest)
    return folder
