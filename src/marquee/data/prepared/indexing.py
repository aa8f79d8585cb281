"""The users and the items of a bucket as indices of the whole data set."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from marquee.data.prepared.layout import (
    GROUP,
    ID,
    UNCOUNTED,
    codes,
    read_array,
    read_facts,
    read_frame,
    write_array,
)


def index_bucket(out: Path, inputs: Sequence[Path], *, bucket: int, n_ranges: int) -> None:
    """Writes the indices of a bucket's users, and of the items of its events.

    Args:
        out: Folder: `user_index`, of each user, (n,) int32; `item_index`, of each event, (n,) int32.
        inputs: The folder of the bucket; the names of the items; for each range of users the bucket's users
            with their groups, then their ranks; then the counts of each range.
        bucket: Its number.
        n_ranges: Ranges of users.
    """
    folder, items = inputs[0], inputs[1]
    groups, ranks, counts = (
        inputs[2 + number * n_ranges : 2 + (number + 1) * n_ranges] for number in range(3)
    )
    assert all(path.name == f"rank-{bucket:05d}.npy" for path in ranks), f"ranks of {bucket}, got {ranks}"
    sizes = np.array([read_facts(path)["counts"] for path in counts])  # (n_ranges, n_groups)
    # Behind all of earlier groups, and those of this group in earlier ranges.
    ahead = np.concatenate(([0], np.cumsum(sizes.sum(axis=0))[:-1])) + np.cumsum(sizes, axis=0) - sizes
    user_index = [
        read_array(rank.parent, rank.stem) + ahead[number][read_frame(group)[GROUP].to_numpy()] + 1
        for number, (group, rank) in enumerate(zip(groups, ranks, strict=True))
    ]
    local = read_frame(folder / "items.arrow")[ID]
    item_index = (codes(local, read_frame(items)[ID]) + 1).astype(np.int32)
    assert ahead.shape[1] == UNCOUNTED + 1, f"expected {UNCOUNTED + 1} groups, got {ahead.shape}"
    assert item_index.all(), (
        f"all items of bucket {bucket} must have a name, got {local[int(item_index.argmin())]!r}"
    )
    out.mkdir()
    write_array(out, "user_index", np.concatenate(user_index).astype(np.int32))
    write_array(out, "item_index", item_index[read_array(folder, "item")])
