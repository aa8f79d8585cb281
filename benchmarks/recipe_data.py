"""Random splits of public data as lists without time: what the defaults are judged on.

Not a benchmark of its own: `recipe` uses it. An item counts once per user; users and items with few events
are left out until none is left; a fifth of each user's items, drawn with a fixed seed, is test. Lists are
sorted by item, as most published ones are: nobody may read an order off them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.fits import is_there, read_data

SEED = 0
TEST_SHARE = 0.2


@dataclass(frozen=True)
class RandomSplit:
    """How a public set becomes lists.

    Attributes:
        name: Of the data set in `configs/data`.
        fewest: Events that each user and item has at least.
        lowest_value: Events of a lower value are left out; None to keep all.
        is_large: Whether it takes minutes: it runs where it is asked for.
        margin: What ours must be as a multiple of the best reference; 1 for first or tied.
        of: Data set that it is a part of, in place of `name`.
        user_share: Share of its users, drawn with the fixed seed.
    """

    name: str
    fewest: int = 10
    lowest_value: float | None = None
    is_large: bool = False
    margin: float = 1.0
    of: str = ""
    user_share: float = 1.0

    @property
    def is_there(self) -> bool:
        """Whether its events are on this machine, or can be simulated."""
        return is_there(self.of or self.name)

    def pairs(self, root: str = "") -> pl.DataFrame:
        """Returns `user_id`, `item_id` and whether the pair is `test`, sorted.

        Args:
            root: Folder of the data in place of the config's.
        """
        tables, config = read_data(self.of or self.name, [f"data.root={root}"] if root else [])
        events = tables.events.filter(pl.col("kind").is_in(list(config.data.kinds)))
        if self.lowest_value is not None:
            events = events.filter(pl.col("value") >= self.lowest_value)
        pairs = self._some_users(core(events.select("user_id", "item_id").unique(), self.fewest))
        pairs = pairs.sort("user_id", "item_id")
        pairs = pairs.with_columns(draw=pl.Series(np.random.default_rng(SEED).random(pairs.height)))
        place, n = pl.col("draw").rank("ordinal").over("user_id"), pl.len().over("user_id")
        return pairs.select("user_id", "item_id", test=place <= (n * TEST_SHARE).floor())

    def _some_users(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """Returns the pairs of the share of users, with as many events of each user and item as before."""
        if self.user_share == 1:
            return pairs
        users = pairs["user_id"].unique().sort()
        drawn = np.random.default_rng(SEED).permutation(len(users))[: int(self.user_share * len(users))]
        return core(pairs.filter(pl.col("user_id").is_in(users[drawn].implode())), self.fewest)


def core(pairs: pl.DataFrame, fewest: int) -> pl.DataFrame:
    """Returns the pairs whose user and item both stand in `fewest` or more of those that are returned."""
    while True:
        kept = pairs.filter((pl.len().over("user_id") >= fewest) & (pl.len().over("item_id") >= fewest))
        # Who leaves takes others along: until nobody leaves.
        if kept.height == pairs.height:
            return kept
        pairs = kept


def write_lists(pairs: pl.DataFrame, folder: Path) -> None:
    """Writes `train.txt` and `test.txt`, a line of items per user."""
    for name, part in (("train", pairs.filter(~pl.col("test"))), ("test", pairs.filter(pl.col("test")))):
        lists = part.group_by("user_id", maintain_order=True).agg("item_id")
        lines = [" ".join([_word(user), *map(_word, items)]) for user, items in lists.iter_rows()]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf8")


def _word(name: str) -> str:
    """Returns an id without blanks, which part the items of a list."""
    return name.replace(" ", "_")


SPLITS = (
    RandomSplit("deskdrop", fewest=5),
    RandomSplit("movielens-100k", lowest_value=4.0),
    RandomSplit("world", fewest=5),
    RandomSplit("online-retail"),
    RandomSplit("movielens-1m", lowest_value=4.0, is_large=True),
    RandomSplit("gowalla", is_large=True, margin=1.03),
)
OF_SIZES = (
    RandomSplit("gowalla-38000", of="gowalla", user_share=0.205),
    RandomSplit("gowalla-182000", of="gowalla", user_share=0.44),
    SPLITS[-1],
)
"""Of about 38,000, 182,000 and 810,000 events of training."""
