"""The part of each event of a bucket, by the same rules as for whole tables; and who stands in training."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from marquee.core.arrays import BoolArray, IndexArray
from marquee.data.config import DataConfig
from marquee.data.prepared.declared import from_text
from marquee.data.prepared.layout import (
    GROUP,
    ID,
    KINDS,
    LATER,
    TRAINED,
    UNCOUNTED,
    read_array,
    read_facts,
    read_frame,
    write_array,
    write_facts,
    write_frame,
)
from marquee.data.split_config import SplitConfig, SplitMethod
from marquee.data.splits import PART, Split, part_events

PARTS = ("train", "validation", "test", "asked_validation", "asked_test")
"""Parts by their numbers."""


def split_bucket(out: Path, inputs: Sequence[Path], *, declared: str) -> None:
    """Writes the part of each event of a bucket.

    Args:
        out: Folder: `part`, place in `PARTS` of each event, uint8; for each range of names
            `users/<range>.arrow`, users with their group, and `items/<range>.arrow`, items with whether any
            event of theirs stands in training; `split.json`, counts and how the events were parted.
        inputs: The folder of the bucket, and the survey.
        declared: Declaration of the data set.
    """
    folder, survey = inputs[0], read_facts(inputs[1])
    config = from_text(declared)
    split = part_events(_events(folder, config), _with_cutoffs(config.split, survey), config.time)
    part = _part_numbers(split)
    kind, user, item = read_array(folder, "kind"), users_of(folder), read_array(folder, "item")
    counted = np.isin(kind, kinds_of(config))
    users, items = read_frame(folder / "users.arrow")[ID], read_frame(folder / "items.arrow")[ID]
    is_trained = counted & (part == PARTS.index("train"))
    group = np.where(
        _any(user, is_trained, len(users)),
        TRAINED,
        np.where(_any(user, counted, len(users)), LATER, UNCOUNTED),
    )
    out.mkdir()
    write_array(out, "part", part)
    trained = pl.Series("is_trained", _any(item, is_trained, len(items)))
    _write_ranges(out / "items", items.to_frame(ID).with_columns(trained), survey["items"])
    groups = pl.Series(GROUP, group.astype(np.uint8))
    _write_ranges(out / "users", users.to_frame(ID).with_columns(groups), survey["users"])
    write_facts(
        out / "split.json", _counts(part, counted, user, kind, group) | {"description": split.description}
    )


def kinds_of(config: DataConfig) -> list[int]:
    """Returns the numbers of the kinds that count."""
    return [KINDS.categories.to_list().index(kind) for kind in config.kinds]


def users_of(folder: Path) -> IndexArray:
    """Returns the user of each event of a bucket, as a place in its names, (n,) int64."""
    sizes = np.diff(read_array(folder, "offsets"))
    return np.repeat(np.arange(len(sizes)), sizes)


def _events(folder: Path, config: DataConfig) -> pl.DataFrame:
    """Returns the columns of a bucket's events that a split reads, with places for names."""
    columns: dict[str, pl.Series] = {
        "user_id": pl.Series(users_of(folder).astype(np.uint32)),
        "timestamp": pl.Series(read_array(folder, "timestamp")),
    }
    # Where events stand here, so that a part says which they are.
    columns["event_id"] = pl.Series(np.arange(len(columns["user_id"]), dtype=np.uint32))
    needs_items = config.split.method is SplitMethod.given
    if needs_items:
        columns["item_id"] = pl.Series(read_array(folder, "item"))
        columns[PART] = read_frame(folder / "extra.arrow")[PART]
    if config.split.ask_after or needs_items:
        # Texts, which sessions and proofs compare.
        columns["kind"] = pl.Series(KINDS.categories).gather(read_array(folder, "kind"))
    return pl.DataFrame(columns)


def _with_cutoffs(config: SplitConfig, survey: Mapping[str, int]) -> SplitConfig:
    """Returns a split whose shares of all events are moments, as the survey found them."""
    if config.method is not SplitMethod.time:
        return config
    return replace(config, validation_from=str(survey["validation"]), test_from=str(survey["test"]))


def _part_numbers(split: Split) -> npt.NDArray[np.uint8]:
    """Returns the part of each event by its place, (n,) uint8."""
    frames = {name: getattr(split, name) for name in PARTS}
    places = {name: frame["event_id"].to_numpy() for name, frame in frames.items() if frame is not None}
    part = np.zeros(sum(map(len, places.values())), dtype=np.uint8)
    for name, rows in places.items():
        part[rows] = PARTS.index(name)
    return part


def _any(places: IndexArray, holds: BoolArray, n: int) -> BoolArray:
    """Returns for which of n places any entry holds, (n,) bool."""
    found = np.zeros(n, dtype=np.bool_)
    found[places[holds]] = True
    return found


def _write_ranges(folder: Path, named: pl.DataFrame, bounds: Sequence[str]) -> None:
    """Writes names with their facts, sorted by name, as one table for each range."""
    names = named[ID]
    starts = [0, *(int(names.search_sorted(bound, side="left")) for bound in bounds), len(names)]
    for number, (start, end) in enumerate(pairwise(starts)):
        write_frame(folder / f"{number:05d}.arrow", named.slice(start, end - start))


def _counts(
    part: npt.NDArray[np.uint8],
    counted: BoolArray,
    user: IndexArray,
    kind: npt.NDArray[np.uint8],
    group: npt.NDArray[np.int64],
) -> dict[str, object]:
    """Returns events and users of each part, and events of each kind."""
    n_groups = np.bincount(group, minlength=UNCOUNTED + 1)
    return {
        "events": dict(zip(PARTS, np.bincount(part, minlength=len(PARTS)).tolist(), strict=True)),
        "users": {
            name: len(np.unique(user[(part == number) & counted])) for number, name in enumerate(PARTS)
        },
        "kinds": dict(
            zip(
                KINDS.categories.to_list(),
                np.bincount(kind, minlength=len(KINDS.categories)).tolist(),
                strict=True,
            )
        ),
        "groups": n_groups.tolist(),
    }
