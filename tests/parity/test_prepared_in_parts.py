"""A data set prepared in parts is the one that is prepared as a whole, in every array."""

from dataclasses import replace
from pathlib import Path

import pytest

from marquee.core.event_kinds import EventKinds
from marquee.data.config import DataConfig
from marquee.data.dataset import Dataset
from marquee.data.prepared.dataset import read_dataset
from marquee.data.prepared.folder import PreparedFolder
from marquee.data.reading.tables import read_tables
from marquee.data.splits import SplitConfig, SplitMethod, split_events
from marquee.world import World
from tests.support.preparing import differences, in_files, prepare_here
from tests.support.small_data import write_shop, write_tiny_world

SPLITS = {
    "time": SplitConfig(),
    "time_asked_after": SplitConfig(ask_after=1),
    "time_validation_merged": SplitConfig(fit_on_validation=True),
    "leave_last": SplitConfig(method=SplitMethod.leave_last),
    "last_fraction": SplitConfig(method=SplitMethod.last_fraction, test_fraction=0.2),
}


@pytest.fixture(scope="module")
def tiny(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    return write_tiny_world(tiny_world, tmp_path_factory.mktemp("tiny") / "world")


def require_same(config: DataConfig, folder: PreparedFolder) -> None:
    """Compares all that a run reads of a data set."""
    tables = read_tables(config)
    split = split_events(tables.events, config.split, config.time)
    dataset = Dataset.prepare(tables, split, config)
    found_split = folder.split()
    found = read_dataset(folder, config, found_split)

    assert differences(split, found_split) == []
    assert differences(dataset, found) == []
    for name in ("validation", "test"):
        before, part = getattr(split, f"before_{name}"), getattr(split, name)
        if len(part):
            judged, found_part = (of.judged_part(before, part) for of in (dataset, found))
            assert differences(judged, found_part) == [], name
    assert differences(dataset.known_users(split.events), found.known_users(found_split.events)) == []


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS.keys())
def test_every_split_gives_the_arrays_of_one_table(
    tiny: DataConfig, tmp_path: Path, split: SplitConfig
) -> None:
    config = replace(in_files(tiny, tmp_path / "events", 5), split=split)

    require_same(config, prepare_here(config, tmp_path / "prepared"))


def test_items_and_users_in_no_table_keep_their_places(tmp_path: Path) -> None:
    config = write_shop(tmp_path)

    require_same(config, prepare_here(config, tmp_path / "prepared", rows_per_part=4))


def test_arrays_depend_on_no_number_of_files_or_buckets(tiny: DataConfig, tmp_path: Path) -> None:
    folders = []
    for n_files, n_buckets, text in ((1, 4, False), (7, 3, False), (64, 1, True)):
        config = in_files(tiny, tmp_path / f"events-{n_files}", n_files, text=text)
        folders.append(prepare_here(config, tmp_path / f"prepared-{n_files}", n_buckets))
    first, *others = (
        folder.interactions(EventKinds(tiny.kinds), ("train",), folder.n_users) for folder in folders
    )

    assert [differences(first, other) for other in others] == [[], []]
    assert {tuple(folder.user_ids().ids) for folder in folders} == {tuple(folders[0].user_ids().ids)}
