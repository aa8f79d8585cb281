"""A data set that fits on a screen, read from files like any other.

```
          train (before 100)                     validation (before 200)       test
u1        a 10 click, b 20 view, (d 30 exposure)   a 110 click, d 120 click      z 220 click
u2        a 15 click, c 25 click                                                 (a 230 exposure)
u3                                                 b 105 click                   d 210 click, d 215 view
u4        (a 5 exposure)
```

Exposures do not count. Items d and e stand in the items table only, z in no table at all.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from marquee.core.event_kinds import KindConfig
from marquee.data.config import DataConfig, UnknownItems
from marquee.data.dataset import Dataset
from marquee.data.reading.tables import TableConfig, Tables, TimeMeaning, read_tables
from marquee.data.splits import Split, SplitConfig, SplitMethod, split_events
from marquee.features import FeatureConfig, FeaturesConfig, FeatureType
from marquee.world import ChequerBoard, World, write_world

EVENTS = [
    # user, item, time, kind, device
    ("u4", "a", 5, "exposure", "phone"),
    ("u1", "a", 10, "click", "phone"),
    ("u2", "a", 15, "click", "phone"),
    ("u1", "b", 20, "view", "tablet"),
    ("u2", "c", 25, "click", "desktop"),
    ("u1", "d", 30, "exposure", "phone"),
    ("u3", "b", 105, "click", "car"),
    ("u1", "a", 110, "click", "tablet"),
    ("u1", "d", 120, "click", "phone"),
    ("u3", "d", 210, "click", "desktop"),
    ("u3", "d", 215, "view", "phone"),
    ("u1", "z", 220, "click", "phone"),
    ("u2", "a", 230, "exposure", "phone"),
]
ITEMS = {
    "item_id": ["a", "b", "c", "d", "e"],
    "colour": ["red", "blue", "red", "mauve", "blue"],
    "price": [1.0, 2.0, 3.0, 5.0, 2.0],
}
USERS = {"user_id": ["u1", "u2", "u3", "u4"], "region": ["north", "south", "north", "east"]}


@dataclass(frozen=True)
class Prepared:
    """A data set with all that it was made from."""

    config: DataConfig
    tables: Tables
    split: Split
    dataset: Dataset

    @classmethod
    def read(cls, config: DataConfig) -> "Prepared":
        """Returns the data set of a config."""
        tables = read_tables(config)
        split = split_events(tables.events, config.split, config.time)
        return cls(config, tables, split, Dataset.prepare(tables, split, config))


def write_shop(folder: Path) -> DataConfig:
    """Writes the data set above and returns its config."""
    events = pl.DataFrame(EVENTS, schema=["user_id", "item_id", "timestamp", "kind", "device"], orient="row")
    events.write_parquet(folder / "events.parquet")
    pl.DataFrame(ITEMS).write_parquet(folder / "items.parquet")
    pl.DataFrame(USERS).write_parquet(folder / "users.parquet")
    return DataConfig(
        name="shop",
        root=str(folder),
        events=TableConfig(path="events.parquet"),
        items=TableConfig(path="items.parquet"),
        users=TableConfig(path="users.parquet"),
        kinds={"click": KindConfig(), "view": KindConfig(weight=0.5)},
        features=FeaturesConfig(
            user={"region": FeatureConfig()},
            item={"colour": FeatureConfig(), "price": FeatureConfig(type=FeatureType.numeric)},
            context={"device": FeatureConfig()},
        ),
        split=SplitConfig(validation_from="100", test_from="200"),
        unknown_items=UnknownItems.keep,
        history_length=3,
    )


def write_board(board: ChequerBoard, folder: Path) -> DataConfig:
    """Writes a chequer board and returns a config without features that leaves out each user's last event."""
    for frame, name in ((board.events, "events"), (board.items, "items"), (board.users, "users")):
        frame.write_parquet(folder / f"{name}.parquet")
    return DataConfig(
        name="board",
        root=str(folder),
        events=TableConfig(path="events.parquet"),
        items=TableConfig(path="items.parquet"),
        users=TableConfig(path="users.parquet"),
        time=TimeMeaning.order,
        split=SplitConfig(method=SplitMethod.leave_last),
        history_length=20,
    )


def write_tiny_world(world: World, folder: Path) -> DataConfig:
    """Writes the tables of a small world and returns a config with features of every kind."""
    write_world(world, folder)
    return DataConfig(
        name="tiny",
        root=str(folder),
        events=TableConfig(path="events.parquet"),
        items=TableConfig(path="items.parquet"),
        users=TableConfig(path="users.parquet"),
        kinds={
            "view": KindConfig(weight=0.5),
            "click": KindConfig(),
            "conversion": KindConfig(weight=2.0),
            "rating": KindConfig(),
            "feedback": KindConfig(),
        },
        features=FeaturesConfig(
            user={"region": FeatureConfig(), "age_band": FeatureConfig()},
            item={
                "category": FeatureConfig(),
                "tags": FeatureConfig(type=FeatureType.multi, max_values=3),
                "title": FeatureConfig(type=FeatureType.text, buckets=200, max_tokens=12),
                "price": FeatureConfig(type=FeatureType.numeric),
            },
            context={"device": FeatureConfig()},
        ),
        history_length=10,
    )
