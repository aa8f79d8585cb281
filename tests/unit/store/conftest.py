"""Both stores, each empty for every test; one PostgreSQL server for all tests of a process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.event_stores import Postgres, Store, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        opened = Store(str(tmp_path / "log"))
    else:
        opened = Store(request.getfixturevalue("postgres").empty())
    yield opened
    opened.close()
