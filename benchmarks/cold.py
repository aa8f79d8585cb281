"""Items and users that training never saw: the two-tower beside popularity, and beside chance.

    python -m benchmarks.cold                        online-retail and world, on the test part
    python -m benchmarks.cold world --part validation    what settings are chosen on
    python -m benchmarks.cold --check                exit status 1 where it is not as good as it must be

**Items.** A random tenth of the items that were ever bought or clicked before the part is held out: every
event of theirs before the part is taken away, from training and from the histories that queries carry. To
the model they are items with features and text alone, new at the moment when the part begins. The part's
users are judged by the held-out items that they chose next, ranked once among all items and once among the
held-out ones. A query knows the user, the user's features, the request, and the earlier events with other
items.

**Users.** A random half of those who have at least five events before the part and some in it are held out:
none of their earlier events is trained on. Asked when the part begins for them, they are unknown users with
a history of their latest 1, 3 or 5 events. A query knows these, the user's features and the request, no id.
The same users stand behind the three numbers, but for those whose targets are all known already.

Clearly better is where the 95 % interval of the paired difference lies above 0: than popularity and than
chance it must be that. Beside recent popularity, which for somebody unknown is hard to beat where tastes
follow the season, it must not be clearly worse. The model is that of
`python -m training.train data=…`, with its settings, fitted on all events before the part.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from benchmarks.fits import fit_on, read_data
from marquee.core.arrays import BoolArray, FloatArray
from marquee.core.schema import TimeMeaning
from marquee.data.dataset import Dataset, JudgedPart
from marquee.data.reading.tables import Tables
from marquee.data.splits import Split, split_events
from marquee.errors import DataError, MarqueeError
from marquee.evaluation.baselines import fit_baselines
from marquee.evaluation.evaluation import EvaluationTask, evaluate
from marquee.evaluation.intervals import Estimate
from marquee.index.ranking import ScoreBlock
from marquee.nn.embed import score_queries
from marquee.nn.models import TwoTower
from training.config import TrainConfig

DATA = ("online-retail", "world")
K = 20
METRIC = f"ndcg@{K}"
ITEMS_FRACTION = 0.1
USERS_FRACTION = 0.5
N_KNOWN = (1, 3, 5)
RECENT = "recent_popularity"


@dataclass(frozen=True)
class Parted:
    """A data set before and in the part that is judged.

    Attributes:
        tables: As they were read.
        config: Of the model.
        split: Where `before` and `judged` come from.
        before: What may be known, the training events among it.
        judged: What comes next.
    """

    tables: Tables
    config: TrainConfig
    split: Split
    before: pl.DataFrame
    judged: pl.DataFrame

    @classmethod
    def read(cls, data: str, part: str, overrides: Sequence[str]) -> "Parted":
        """Returns a data set up to a part, `validation` or `test`, and the events of that part."""
        tables, config = read_data(data, overrides)
        split = split_events(tables.events, config.data.split, config.data.time)
        if part == "validation":
            return cls(tables, config, split, split.train, split.validation)
        return cls(tables, config, split, pl.concat([split.train, split.validation]), split.test)

    def dataset(self, train: pl.DataFrame) -> Dataset:
        """Returns the data set that learns from `train`; items that it lacks have features alone."""
        return Dataset.prepare(self.tables, replace(self.split, train=train), self.config.data)


@dataclass(frozen=True)
class Line:
    """The model beside one reference.

    Attributes:
        what: Who or what was judged, and among what.
        reference: What stands beside the model.
        model: Metric of the model.
        other: Metric of the reference.
        difference: Model minus reference, paired by user.
        n_users: Users judged.
    """

    what: str
    reference: str
    model: Estimate
    other: Estimate
    difference: Estimate
    n_users: int

    @property
    def is_clear(self) -> bool:
        """Whether the model is better beyond what chance makes."""
        return self.difference.low > 0

    @property
    def is_good_enough(self) -> bool:
        """Whether the check lets it pass; see the module."""
        return self.is_clear or (self.reference == RECENT and self.difference.high >= 0)

    def text(self) -> str:
        """Returns the line to print."""
        gap = self.difference
        verdict = "" if self.is_clear else "cannot tell" if self.is_good_enough else "NOT GOOD ENOUGH"
        return (
            f"  {self.what:<34}{self.n_users:>6,}{self.model.mean:>9.4f}{self.other.mean:>9.4f} "
            f"{self.reference:<18}{gap.mean:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})  "
            f"{verdict}"
        ).rstrip()


def held_out_items(parted: Parted, seed: int) -> list[str]:
    """Returns a random tenth of the items that have events before the part and stand in the items table."""
    items = parted.tables.items
    if items is None:
        raise DataError(f"{parted.config.data.name} has no items table, expected features of cold items")
    known = parted.before.filter(pl.col("kind").is_in(list(parted.config.data.kinds)))["item_id"].unique()
    candidates = known.filter(known.is_in(items["item_id"].implode())).sort()
    return _draw(candidates, ITEMS_FRACTION, seed)


def held_out_users(parted: Parted, seed: int) -> list[str]:
    """Returns a random half of the users who have enough events before the part, and some in it."""
    counts = pl.col("kind").is_in(list(parted.config.data.kinds))
    n_events = parted.before.filter(counts).group_by("user_id").len().filter(pl.col("len") >= max(N_KNOWN))
    judged = parted.judged.filter(counts)["user_id"].unique()
    return _draw(judged.filter(judged.is_in(n_events["user_id"].implode())).sort(), USERS_FRACTION, seed)


def _draw(names: pl.Series, fraction: float, seed: int) -> list[str]:
    """Returns a random share of names, at least one."""
    n = max(1, round(fraction * len(names)))
    if len(names) < 2:
        raise DataError(f"at least 2 must be there to hold some of them out, got {len(names)}")
    chosen = np.random.default_rng(seed).choice(len(names), n, replace=False)
    return [str(name) for name in names.gather(np.sort(chosen))]


def without_items(parted: Parted, held: Sequence[str]) -> tuple[Dataset, JudgedPart, BoolArray]:
    """Returns the data as if some items came when the part begins, its queries, and which items these are.

    The queries' targets are those items alone.
    """
    before = parted.before.filter(~pl.col("item_id").is_in(held))
    dataset = parted.dataset(before)
    part = dataset.judged_part(before, parted.judged)
    is_held = np.zeros(dataset.n_items + 1, dtype=np.bool_)
    is_held[dataset.item_ids.encode(held)] = True
    keep = is_held[part.targets.item_index]
    part = replace(
        part,
        targets=part.targets.take(keep),
        target_times=part.target_times[keep],
        had_outside=part.had_outside[keep],
    )
    return dataset, part, is_held


def judge_items(parted: Parted, seed: int) -> Iterator[Line]:
    """Yields the model beside its references on items that training never saw."""
    held = held_out_items(parted, seed)
    dataset, part, is_held = without_items(parted, held)
    scorers = _scorers(dataset, part, parted.config)
    chance = np.random.default_rng(seed).random((len(part.queries), dataset.n_items + 1), dtype=np.float32)
    scorers["chance"] = lambda rows: chance[rows].copy()
    task = parted.config.evaluation.task(part, dataset.n_items, [K])
    yield from compare("held-out items, among all", scorers, task)
    among = {name: _among(scorers[name], is_held) for name in ("model", "popularity", "chance")}
    yield from compare(f"held-out items, among these {len(held):,}", among, task)


def with_latest(parted: Parted, dataset: Dataset, held: Sequence[str], n: int) -> JudgedPart:
    """Asks about held users whose only known events are the latest n before the part."""
    is_held = pl.col("user_id").is_in(held)
    counting = parted.before.filter(is_held & pl.col("kind").is_in(list(parted.config.data.kinds)))
    latest = counting.filter(pl.int_range(pl.len()).reverse().over("user_id") < n)
    return dataset.judged_part(latest, parted.judged.filter(is_held))


def judge_users(parted: Parted, seed: int) -> Iterator[Line]:
    """Yields the model beside its references on users that training never saw."""
    held = held_out_users(parted, seed)
    dataset = parted.dataset(parted.before.filter(~pl.col("user_id").is_in(held)))
    model = fit_on(dataset, None, parted.config).model
    for n in N_KNOWN:
        part = with_latest(parted, dataset, held, n)
        scorers = _scorers(dataset, part, parted.config, model)
        task = parted.config.evaluation.task(part, dataset.n_items, [K])
        yield from compare(f"new users, {n} event{'s' * (n > 1)} known", scorers, task)


def _scorers(
    dataset: Dataset, part: JudgedPart, config: TrainConfig, model: TwoTower | None = None
) -> dict[str, ScoreBlock]:
    """Returns the model, fitted if there is none yet, popularity, and popularity of late."""
    model = model or fit_on(dataset, None, config).model
    baselines = fit_baselines(
        dataset.train,
        dataset.n_items,
        replace(config.evaluation.baselines, als=False),
        histories=part.known,
        has_absolute_time=config.data.time is TimeMeaning.absolute,
        seed=config.seed,
    )
    scorers = {"model": score_queries(model, part.queries)}
    for name in ("popularity", RECENT):
        if name in baselines.models:
            baseline = baselines.models[name]
            scorers[name] = lambda rows, b=baseline: b.scores(np.arange(rows.start + 1, rows.stop + 1))  # type: ignore[misc]
    return scorers


def _among(score: ScoreBlock, members: BoolArray) -> ScoreBlock:
    """Returns a scorer that never returns any but the members."""

    def score_members(rows: slice) -> FloatArray:
        scores = score(rows)
        scores[:, ~members] = -np.inf
        return scores

    return score_members


def compare(what: str, scorers: Mapping[str, ScoreBlock], task: EvaluationTask) -> Iterator[Line]:
    """Yields the first scorer beside each of the others."""
    found = evaluate(scorers, task, np.random.default_rng(0))
    for name, differences in found.differences.items():
        yield Line(
            what=what,
            reference=name,
            model=found.models[found.model].estimates[METRIC],
            other=found.models[name].estimates[METRIC],
            difference=differences[METRIC],
            n_users=found.counts.n_queries,
        )


def main() -> int:
    """Prints the model beside its references; returns the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("data", nargs="*", help=f"{' and '.join(DATA)} if left out")
    parser.add_argument("--part", choices=("validation", "test"), default="test")
    parser.add_argument("--seed", type=int, default=1, help="of who is held out")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="other settings")
    parser.add_argument(
        "--check", action="store_true", help="exit status 1 where it is not as good as it must be"
    )
    options = parser.parse_args()
    passes = True
    print(f"{METRIC} on the {options.part} part; the model, its reference, and the difference by user")
    try:
        for data in options.data or DATA:
            print(data)
            parted = Parted.read(data, options.part, options.set)
            for judge in (judge_items, judge_users):
                for line in judge(parted, options.seed):
                    print(line.text(), flush=True)
                    passes &= line.is_good_enough
    except MarqueeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("passed" if passes else "FAILED")
    return int(options.check and not passes)


if __name__ == "__main__":
    sys.exit(main())
