"""A user whom nobody knew before a part is asked after the first events of it, each session by itself."""

from pathlib import Path

import polars as pl
import pytest

from marquee.core.schema import TimeMeaning
from marquee.data.config import DataConfig
from marquee.data.dataset import Dataset
from marquee.data.reading.tables import Tables, read_tables
from marquee.data.split_config import SplitConfig, SplitMethod
from marquee.data.splits import split_events
from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError
from marquee.features import FeatureConfig, FeaturesConfig

DAY = 86_400
START = 1740787200


def write_sessions(folder: Path) -> None:
    """Writes 20 sessions, one a day, of four events a minute apart; session n shows items n, n + 1, …"""
    rows = [
        (f"s{n:02d}", f"i{(n + k) % 7}", START + n * DAY + 60 * k, "click")
        for n in range(20)
        for k in range(4)
    ]
    rows.append(("s19", "i0", START + 19 * DAY - 1, "exposure"))
    pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "kind"], orient="row").write_csv(
        folder / "e.csv"
    )


def prepared(folder: Path, ask_after: int) -> tuple[Tables, DataConfig]:
    write_sessions(folder)
    split = SplitConfig(
        validation_from=str(START + 16 * DAY), test_from=str(START + 18 * DAY), ask_after=ask_after
    )
    config = DataConfig(name="t", root=str(folder), events=TableConfig(path="e.csv"), split=split)
    return read_tables(config), config


@pytest.mark.parametrize(("ask_after", "history", "targets"), [(0, 0, 4), (1, 1, 3), (2, 2, 2), (9, 3, 1)])
def test_a_session_is_asked_after_its_first_events(
    tmp_path: Path, ask_after: int, history: int, targets: int
) -> None:
    tables, config = prepared(tmp_path, ask_after)
    split = split_events(tables.events, config.split, config.time)
    dataset = Dataset.prepare(tables, split, config)
    for before, part in ((split.before_validation, split.validation), (split.before_test, split.test)):
        judged = dataset.judged_part(before, part)
        assert len(judged.user_ids) == 2
        assert (judged.queries.history_items > 0).sum(axis=1).tolist() == [history] * 2
        assert len(judged.targets.item_index) == 2 * targets
    assert split.events.height == tables.events.height
    assert split.train.height == 64


def test_what_was_shown_stays_to_be_judged(tmp_path: Path) -> None:
    tables, config = prepared(tmp_path, 2)
    split = split_events(tables.events, config.split, config.time)
    assert split.test["kind"].to_list().count("exposure") == 1


def test_asking_later_needs_a_split_by_time() -> None:
    with pytest.raises(ConfigError, match="needs method=time, got 1 with leave_last"):
        SplitConfig(method=SplitMethod.leave_last, ask_after=1)
    with pytest.raises(ConfigError, match=r"ask_after must be 0 or more .* got -1"):
        SplitConfig(ask_after=-1)


def test_sessions_are_made_of_pauses(tmp_path: Path) -> None:
    minutes = {"u1": [0, 10, 100, 129, 300], "u2": [5]}
    rows = [(user, "i", START + 60 * at) for user, moments in minutes.items() for at in moments]
    pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row").write_csv(tmp_path / "e.csv")
    pl.DataFrame({"user_id": ["u1", "u2", "u3"], "land": ["NL", "PT", "DE"]}).write_csv(tmp_path / "u.csv")
    config = DataConfig(
        name="t",
        root=str(tmp_path),
        events=TableConfig(path="e.csv"),
        users=TableConfig(path="u.csv"),
        features=FeaturesConfig(user={"land": FeatureConfig()}),
        session_gap_minutes=30,
    )
    tables = read_tables(config)
    sessions = tables.events.sort("user_id", "timestamp")["user_id"].to_list()
    assert sessions == ["u1/1", "u1/1", "u1/2", "u1/2", "u1/3", "u2/1"]
    assert tables.users is not None
    assert dict(tables.users.iter_rows()) == {"u1/1": "NL", "u1/2": "NL", "u1/3": "NL", "u2/1": "PT"}
    assert "4 sessions of 2 users" in tables.quality.notes[-1]


def test_pauses_need_moments() -> None:
    with pytest.raises(ConfigError, match=r"session_gap_minutes must be .* needs data\.time=absolute"):
        DataConfig(
            name="t",
            events=TableConfig(path="e.csv"),
            time=TimeMeaning.order,
            split=SplitConfig(method=SplitMethod.leave_last),
            session_gap_minutes=30,
        )
