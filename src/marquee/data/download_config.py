"""The declaration of a data set's download: addresses, checksums, and the tables to make of them."""

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError

TABLE = "source"
"""Name of the downloaded table in the query of a derived one."""

# MD5 finds damage and not malice, but some publishers state nothing else.
_HASH_LENGTHS = {"md5": 32, "sha256": 64}


@dataclass(kw_only=True)
class DownloadedFileConfig:
    """One address, and where what it serves goes.

    Attributes:
        url: Address, http or https.
        checksum: Of what it serves: `sha256:…` or `md5:…`, as the publisher states it. May be empty if
            each member has a checksum of its own.
        path: Where the file goes, relative to the folder; empty if it is a zip archive.
        members: What is taken out of the archive: path in the folder → name in the archive.
        member_checksums: Checksums of members, by path in the folder.
    """

    url: str
    checksum: str = ""
    path: str = ""
    members: dict[str, str] = field(default_factory=dict)
    member_checksums: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if an address, a checksum or a path cannot be used, or none is given."""
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise ConfigError(
                f"url must begin with https:// or http://, got {self.url!r} (config data.download.files)"
            )
        if bool(self.path) == bool(self.members):
            raise ConfigError(
                f"a download needs either path or members, got path={self.path!r} and "
                f"members={dict(self.members)} (config data.download.files)"
            )
        # Some publishers state checksums of the members, not of the archive.
        own_checksums = bool(self.members) and set(self.member_checksums) == set(self.members)
        if not self.checksum and not own_checksums:
            raise ConfigError(
                f"{self.url} needs a checksum, or one for each of {list(self.members)}, got "
                f"{list(self.member_checksums)} (config data.download.files)"
            )
        if not set(self.member_checksums) <= set(self.members):
            raise ConfigError(
                f"member_checksums must be of members {list(self.members)}, got "
                f"{list(self.member_checksums)} (config data.download.files)"
            )
        for checksum in filter(None, [self.checksum, *self.member_checksums.values()]):
            _validate_checksum(checksum)
        # A config may come from somebody else: it must not write outside its folder.
        for path in self.targets:
            _validate_inside(path)

    @property
    def targets(self) -> list[str]:
        """Where its files go, relative to the folder."""
        return [self.path] if self.path else list(self.members)


@dataclass(kw_only=True)
class DerivedTableConfig:
    """A table made of a downloaded file, for a publisher whose format differs from what is read.

    Attributes:
        path: Where the table goes: a .csv, .csv.gz or .parquet.
        source: How the downloaded file is written; only what `sources` reads counts, not the mapping.
        query: Polars SQL over the table `source`, whose columns are texts unless it is Parquet.
    """

    path: str
    source: TableConfig
    query: str = f"SELECT * FROM {TABLE}"

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if the path cannot be written."""
        _validate_inside(self.path)
        # `download` writes by the end of the name, and knows no other.
        if not self.path.endswith((".csv", ".csv.gz", ".parquet")):
            raise ConfigError(
                f"path must end in .csv, .csv.gz or .parquet, got {self.path!r} (config "
                "data.download.derived)"
            )


@dataclass(kw_only=True)
class DownloadConfig:
    """Where a data set comes from.

    Attributes:
        page: The publisher's page: what the set is, its terms, how to cite it.
        files: What to fetch.
        derived: What to make of it.
        manual: In place of files: why nobody but the user can fetch the set, and what to put where.
    """

    page: str
    files: list[DownloadedFileConfig] = field(default_factory=list)
    derived: list[DerivedTableConfig] = field(default_factory=list)
    manual: str = ""

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError unless the set can either be fetched or says why not."""
        if bool(self.files) == bool(self.manual):
            raise ConfigError(
                f"data.download needs either files or manual, got {len(self.files)} files and "
                f"manual={self.manual!r}"
            )


def _validate_checksum(checksum: str) -> None:
    """Raises ConfigError unless a checksum names its algorithm and has its length."""
    algorithm, _, digest = checksum.partition(":")
    length = _HASH_LENGTHS.get(algorithm)
    if length is None or not re.fullmatch(f"[0-9a-f]{{{length}}}", digest):
        raise ConfigError(
            f"a checksum must be one of {[f'{name}:<{n} hex digits>' for name, n in _HASH_LENGTHS.items()]}, "
            f"got {checksum!r} (config data.download.files)"
        )


def _validate_inside(path: str) -> None:
    """Raises ConfigError unless a path stays inside the folder."""
    if not is_inside(path):
        raise ConfigError(f"a path must stay inside data.root, got {path!r} (config data.download)")


def is_inside(path: str) -> bool:
    """Returns whether a relative path leads nowhere outside of where it starts."""
    pure = PurePosixPath(path.replace("\\", "/"))
    # A colon in the first part may name a drive of Windows, where a backslash separates too.
    return not pure.is_absolute() and ".." not in pure.parts and ":" not in (pure.parts or ("",))[0]
