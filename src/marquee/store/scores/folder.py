"""The layout of a folder of scores, and which of its files hold a user.

```
scores/2026-12-01/
  scores.json                   what was asked, of which release, when; written first
  parts/part-00000.parquet …    a row per user; a user is in the bucket of their hash
  changes/part-00000.parquet …  what differs from an earlier folder, where that was asked for
  summary.json                  counts, once all parts are there
```

Decides where a user is looked for. Leaves to `training.score` how parts are made.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from marquee.core.user_hash import buckets_of, hash_ids
from marquee.errors import DataError
from marquee.store.files import replace_file

MANIFEST, SUMMARY = "scores.json", "summary.json"
PARTS, CHANGES = "parts", "changes"
FORMAT = 1


class ScoreManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a folder of scores.

    Attributes:
        format: Of the folder.
        version: Release that scored.
        timestamp: Moment that was asked for, seconds since 1970 UTC.
        n_buckets: Into how many the users are parted.
        terms: What was asked, as JSON.
    """

    format: int = FORMAT
    version: str
    timestamp: int
    n_buckets: int
    terms: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ScoreFolder:
    """A folder of scores.

    Attributes:
        path: Of the folder.
        manifest: What it holds.
    """

    path: Path
    manifest: ScoreManifest

    @classmethod
    def read(cls, path: Path) -> "ScoreFolder":
        """Returns the folder at a path.

        Raises:
            DataError: If there is none, or it has a format that this release does not read.
        """
        try:
            manifest = msgspec.json.decode((path / MANIFEST).read_bytes(), type=ScoreManifest)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(
                f"{path} must be a folder of scores with a {MANIFEST}, got {error}; name a folder that "
                "python -m training.score wrote"
            ) from error
        if manifest.format != FORMAT:
            raise DataError(
                f"{path} must have format {FORMAT}, got {manifest.format}; read it with the release that "
                "wrote it"
            )
        return cls(path, manifest)

    def write_manifest(self) -> None:
        """Writes the manifest, before any part."""
        self.path.mkdir(parents=True, exist_ok=True)
        replace_file(self.path / MANIFEST, msgspec.json.format(msgspec.json.encode(self.manifest)) + b"\n")

    def part(self, bucket: int) -> Path:
        """Returns the file of the scores of a bucket."""
        return self.path / PARTS / part_name(bucket)

    def changes(self, bucket: int) -> Path:
        """Returns the file of what differs in a bucket."""
        return self.path / CHANGES / part_name(bucket)

    def files_of(self, user_id: str) -> Iterator[Path]:
        """Yields the files that there are of the bucket of a user, whether they hold a row of them or not."""
        (bucket,) = buckets_of(hash_ids([user_id]), self.manifest.n_buckets).tolist()
        for file in (self.part(bucket), self.changes(bucket)):
            if file.exists():
                yield file


def part_name(bucket: int) -> str:
    """Returns the name of the file of a bucket."""
    return f"part-{bucket:05}.parquet"


def folders_in(home: Path) -> Iterator[ScoreFolder]:
    """Yields the folders of scores that stand in a folder, and itself if it is one, by name."""
    for path in (home, *sorted(entry for entry in home.iterdir() if entry.is_dir())):
        if (path / MANIFEST).is_file():
            yield ScoreFolder.read(path)
