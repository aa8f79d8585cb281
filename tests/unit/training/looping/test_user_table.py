"""A table of users is joined by the pseudonyms of the log, and holds no id of the operator."""

from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from marquee.bundle.manifest import UserNames
from marquee.data.config import DataConfig
from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError, DataError
from marquee.store.people.consent import Tier
from marquee.store.people.user_key import validate_key, write_user_key
from tests.support.event_stores import DAY, NOW, Store, decision, event
from tests.support.people import KEY, UserStore, handle, key_file, pseudonym
from training.dataset import DatasetConfig, write_dataset
from training.looping.user_table import JoinedUsers, write_users
from training.runs.user_names import user_names

CUTOFF = NOW + 2 * DAY


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of three users under pseudonyms, of whom one has withdrawn and one was erased."""
    store, users = Store(str(tmp_path / "log")), UserStore(str(tmp_path / "log"))
    opened = users.open()
    validate_key(opened, KEY)
    names = {handle(name): pseudonym(number) for number, name in enumerate(("ann", "bob", "cid"), start=1)}
    opened.name(names)
    opened.set_tier(handle("bob"), Tier.segment, NOW)
    opened.forget(handle("cid"), NOW)
    rows = store.open()
    rows.append([event(f"e{number}", user_id=name) for number, name in enumerate(names.values())])
    rows.append_decisions([decision("d1", user_id=pseudonym(1))])
    store.close()
    users.close()
    return tmp_path / "log"


def table_of_users(folder: Path) -> Path:
    path = folder / "users.csv"
    path.write_text("id,age,city\nbob,31,Rome\nann,044,Oslo\ncid,5,Bonn\ndan,6,Bern\n", encoding="utf-8")
    return path


def test_users_of_the_log_stand_in_the_table_under_their_pseudonyms(log: Path, tmp_path: Path) -> None:
    out = StringIO()
    config = DatasetConfig(
        log=str(log),
        cutoff=str(CUTOFF),
        to=str(tmp_path / "table"),
        users=str(table_of_users(tmp_path)),
        users_id="id",
        user_key=str(key_file(tmp_path)),
    )
    write_dataset(config, Console(file=out, width=200))
    joined = pl.read_parquet(tmp_path / "table" / "users.parquet")
    assert joined.to_dicts() == [{"user_id": pseudonym(1), "age": "044", "city": "Oslo"}]
    assert "1 users in users.parquet; left out: 2 whom the log does not hold, 1 who do not" in out.getvalue()
    held = b"".join(path.read_bytes() for path in (tmp_path / "table").rglob("*") if path.is_file())
    assert not [name for name in (b"ann", b"bob", b"cid", b"dan") if name in held]
    data = DataConfig(name="t", root=str(tmp_path / "table"), events=TableConfig(path="events/*.parquet"))
    assert user_names(data) is UserNames.pseudonyms


def test_users_need_the_key_of_the_log(log: Path, tmp_path: Path) -> None:
    users, other = table_of_users(tmp_path), tmp_path / "other"
    write_user_key(other, bytes(32))
    with pytest.raises(ConfigError, match="must be the one that the store was made with"):
        write_users(users, "id", str(other), str(log), tmp_path)
    with pytest.raises(DataError, match="must have the column of users_id, got 'user_id'"):
        write_users(users, "user_id", str(key_file(tmp_path)), str(log), tmp_path)
    with pytest.raises(ConfigError, match="belong together"):
        write_dataset(
            DatasetConfig(log=str(log), cutoff="1", to="t", users="u.csv"), Console(file=StringIO())
        )
    plain = tmp_path / "plain"
    Store(str(plain)).open().close()
    with pytest.raises(ConfigError, match="for a log that keeps ids"):
        write_users(users, "id", str(key_file(tmp_path)), str(plain), tmp_path)


def test_table_is_not_begun_where_users_cannot_join(log: Path, tmp_path: Path) -> None:
    config = DatasetConfig(log=str(log), cutoff=str(CUTOFF), to=str(tmp_path / "table"))
    config.users, config.user_key = str(table_of_users(tmp_path)), str(key_file(tmp_path))
    with pytest.raises(DataError, match=r"got 'user_id'; name one of \['id', 'age', 'city'\]"):
        write_dataset(config, Console(file=StringIO()))
    both = tmp_path / "both.csv"
    both.write_text("id,user_id\nann,7\n", encoding="utf-8")
    config.users, config.users_id = str(both), "id"
    with pytest.raises(DataError, match="no column user_id beside that of users_id, got 'id'"):
        write_dataset(config, Console(file=StringIO()))
    other = tmp_path / "other"
    write_user_key(other, bytes(32))
    config.users, config.user_key = str(table_of_users(tmp_path)), str(other)
    with pytest.raises(ConfigError, match="must be the one that the store was made with"):
        write_dataset(config, Console(file=StringIO()))
    assert not (tmp_path / "table").exists()


def test_every_row_of_the_table_is_counted(log: Path, tmp_path: Path) -> None:
    counted = write_users(table_of_users(tmp_path), "id", str(key_file(tmp_path)), str(log), tmp_path)
    assert counted == JoinedUsers(kept=1, unknown=2, withheld=1)


def test_pseudonyms_and_ids_do_not_train_together(log: Path, tmp_path: Path) -> None:
    config = DatasetConfig(log=str(log), cutoff=str(CUTOFF), to=str(tmp_path / "table"))
    write_dataset(config, Console(file=StringIO()))
    own = DataConfig(
        name="own",
        root=str(tmp_path),
        events=TableConfig(path="own.csv"),
        more_events={"log": TableConfig(path=str(tmp_path / "table" / "events" / "*.parquet"))},
    )
    with pytest.raises(ConfigError, match=r"got pseudonyms of a log beside ids in \['events'\]"):
        user_names(own)
    own.more_events = {}
    assert user_names(own) is UserNames.ids
