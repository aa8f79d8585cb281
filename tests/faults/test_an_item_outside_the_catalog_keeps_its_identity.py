"""Items outside the catalog share the index 0, and are told apart by their ids all the same."""

import numpy as np
import polars as pl
import pytest

from marquee.core.event_kinds import KindConfig
from marquee.data.config import DataConfig
from marquee.data.dataset import JudgedPart
from marquee.data.split_config import SplitConfig
from marquee.data.table_config import TableConfig
from marquee.evaluation import evaluate
from marquee.evaluation.analyses.ageing import first_times
from tests.support.small_data import Prepared
from training.config import EvaluationConfig

# a and b stand in training; x, y and z come later, and no items table names them.
EVENTS = [
    *[(user, item, moment) for user in ("u1", "u2", "u3") for item, moment in (("a", 10), ("b", 20))],
    ("u1", "z", 110),
    ("u2", "y", 120),
    *[("u1", "x", 200 + moment) for moment in range(4)],
    ("u2", "x", 210),
    ("u2", "y", 211),
    ("u2", "y", 212),
    ("u3", "z", 220),
    ("u3", "x", 221),
    ("u3", "z", 222),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("late")
    frame = pl.DataFrame(EVENTS, schema=["user_id", "item_id", "timestamp"], orient="row")
    frame.with_columns(kind=pl.lit("click")).write_parquet(folder / "events.parquet")
    config = DataConfig(
        name="late",
        root=str(folder),
        events=TableConfig(path="events.parquet"),
        kinds={"click": KindConfig()},
        split=SplitConfig(validation_from="100", test_from="200"),
    )
    return Prepared.read(config)


@pytest.fixture(scope="module")
def part(prepared: Prepared) -> JudgedPart:
    before = pl.concat([prepared.split.train, prepared.split.validation])
    return prepared.dataset.judged_part(before, prepared.split.test)


def test_each_is_a_target_once(part: JudgedPart) -> None:
    assert part.user_ids == ("u1", "u2", "u3")
    assert part.targets.sizes.tolist() == [1, 2, 2]  # u1: x; u2: x, y; u3: z, x
    assert part.target_times.tolist() == [200, 210, 211, 220, 221]


@pytest.mark.parametrize(
    ("exclude_seen", "n_targets", "n_excluded"),
    [(True, 4, 1), (False, 5, 0)],  # u2 had y before
    ids=["seen items excluded", "seen items kept"],
)
def test_it_is_excluded_by_id_and_counted(
    prepared: Prepared, part: JudgedPart, exclude_seen: bool, n_targets: int, n_excluded: int
) -> None:
    config = EvaluationConfig(exclude_seen=exclude_seen, ks=[1, 10])
    task = config.task(part, prepared.dataset.n_items)
    scores = np.zeros((3, prepared.dataset.n_items + 1), dtype=np.float32)
    evaluation = evaluate({"model": lambda rows: scores[rows].copy()}, task, np.random.default_rng(0))
    assert evaluation.counts.n_targets == evaluation.counts.n_targets_outside_catalog == n_targets
    assert evaluation.counts.n_targets_excluded == n_excluded
    times = first_times(evaluation.targets, *part.wanted(exclude_seen=exclude_seen))
    assert times.tolist() == [200, 210, *([211] if not exclude_seen else []), 220, 221]
