"""People as both stores keep them, beside a model in memory; `benchmarks.people` does the same more often."""

import tempfile
from pathlib import Path

import pytest

from tests.support.event_stores import Postgres, Store
from tests.support.people_model import run


@pytest.mark.slow
def test_folder_keeps_of_people_what_a_model_keeps(tmp_path: Path) -> None:
    run(lambda: Store(tempfile.mkdtemp(dir=tmp_path)), tmp_path, 12)


@pytest.mark.slow
def test_database_keeps_of_people_what_a_model_keeps(postgres: Postgres, tmp_path: Path) -> None:
    run(lambda: Store(postgres.empty()), tmp_path, 6)
