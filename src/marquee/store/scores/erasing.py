"""Removes people from folders of scores, and folders that are too old: as the log's rows and files.

A part is written anew without the person and renamed into its place; the receipt by which scoring knows a
whole part follows. Killed in between, the part has no receipt: scoring that is started again for the same
folder makes it anew, from whatever its bundle knows.
"""

import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any  # a receipt is JSON, of which one field is changed

import msgspec
import polars as pl
from polars.exceptions import PolarsError

from marquee.errors import DataError, EventLogError
from marquee.store.files import FileFacts, announce_step, replace_file, sync_folder, write_file
from marquee.store.scores.folder import ScoreFolder, folders_in

_USER_ID = "user_id"
_EXPIRED = ".expired"


def files_holding(home: Path, user_id: str) -> Iterator[Path]:
    """Yields the files of scores in a folder of them that hold a row of a user.

    Args:
        home: Folder of scores, or of folders of scores; one that is not there holds nobody.
        user_id: As the bundle names them.

    Raises:
        EventLogError: If a file cannot be read.
    """
    if not home.is_dir():
        return
    try:
        for folder in folders_in(home):
            for file in folder.files_of(user_id):
                rows = pl.scan_parquet(file, glob=False).select((pl.col(_USER_ID) == user_id).any())
                if rows.collect().item():
                    yield file
    except (DataError, OSError, PolarsError) as error:
        raise _refused(home, error) from error


def erase_from_scores(home: Path, user_ids: Collection[str]) -> int:
    """Removes users from all scores of a folder, and returns how many rows they had.

    Args:
        home: As in `files_holding`.
        user_ids: All names that they may have there.

    Raises:
        EventLogError: If a file cannot be read or written; what is done stays, and a retry goes on.
    """
    files = {file: None for user_id in user_ids for file in files_holding(home, user_id)}
    try:
        return sum(_rewrite(file, user_ids) for file in files)
    except (OSError, PolarsError, msgspec.DecodeError) as error:
        raise _refused(home, error) from error


def expire_scores(home: Path, before: int) -> int:
    """Deletes the folders of scores of moments before one, and returns how many.

    Args:
        home: Of folders of scores; one that is a folder of scores itself stays.
        before: Seconds since 1970 UTC.

    Raises:
        EventLogError: If one cannot be read or deleted.
    """
    if not home.is_dir():
        return 0
    try:
        # Of a deletion that was cut off: without a manifest nobody else would find the people in it.
        for left in home.glob(f".*{_EXPIRED}"):
            shutil.rmtree(left)
        old = [one for one in folders_in(home) if one.path != home and one.manifest.timestamp < before]
        for folder in old:
            _delete(folder)
    except (DataError, OSError) as error:
        raise _refused(home, error) from error
    return len(old)


def _delete(folder: ScoreFolder) -> None:
    """Deletes a folder under another name, so that nobody takes half of it for a whole."""
    aside = folder.path.with_name(f".{folder.path.name}{_EXPIRED}")
    announce_step("rename old scores")
    folder.path.rename(aside)
    announce_step("delete old scores")
    shutil.rmtree(aside)


def _rewrite(file: Path, user_ids: Collection[str]) -> int:
    """Writes a file without some users, and returns how many rows they had."""
    frame = pl.read_parquet(file, glob=False)
    kept = frame.filter(~pl.col(_USER_ID).is_in(list(user_ids)))
    receipt = file.parent / f".{file.name}.receipt"
    said: dict[str, Any] | None = None
    if receipt.is_file():
        said = msgspec.json.decode(receipt.read_bytes(), type=dict[str, Any])
    aside = file.parent / f".{file.name}.new"
    facts = write_file(aside, lambda out: kept.write_parquet(out, compression="zstd", statistics=False))
    # First: a receipt of what is no longer there would call the file damaged, for good.
    receipt.unlink(missing_ok=True)
    announce_step(f"rename {file.name}")
    aside.rename(file)
    sync_folder(file.parent)
    if said is not None:
        replace_file(receipt, _renewed(said, facts))
    return frame.height - kept.height


def _renewed(receipt: dict[str, Any], facts: FileFacts) -> bytes:
    """Returns a receipt of one file with size and checksum of another content."""
    files = {"": {"sha256": facts.sha256, "bytes": facts.bytes}}
    return msgspec.json.encode({**receipt, "files": files}, order="sorted")


def _refused(home: Path, error: Exception) -> EventLogError:
    """Returns the error of scores from which somebody cannot be removed."""
    return EventLogError(
        f"scores in {home} cannot be read or written ({error}); correct or remove the folder, and try again"
    )
