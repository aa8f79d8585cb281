"""Takes users out of prepared data: the rows that were read, their receipts, and then all that follows."""

from collections.abc import Collection
from pathlib import Path

from marquee.core.schema import USERS
from marquee.data.prepared.erasing import erase_rows, erase_users
from marquee.data.prepared.layout import PARTS, TABLES
from marquee.data.prepared.manifest import MANIFEST, Manifest
from training.distributed.receipts import change_result


def erase(folder: Path, user_ids: Collection[str]) -> int:
    """Takes all rows of some users out of what was read, and returns how many parts held any.

    The next preparation makes the buckets that held them. Until then the folder counts as not prepared.

    Args:
        folder: Of prepared data.
        user_ids: The users.

    Raises:
        DataError: If the folder holds no prepared data.
    """
    n_buckets = Manifest.read(folder).n_buckets
    (folder / MANIFEST).unlink()
    n_held = sum(
        change_result(part, lambda of: erase_rows(of, user_ids, n_buckets))
        for part in sorted((folder / PARTS).glob("[!.]*"))
    )
    table = folder / TABLES / USERS.name
    if table.is_dir():
        change_result(table, lambda of: erase_users(of, user_ids))
    return n_held
