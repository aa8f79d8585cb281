"""Shared by the tests of what must hold whatever users bring."""

from pathlib import Path

import pytest

from tests.support.mini_shop import MiniShop


@pytest.fixture
def shop(tmp_path: Path) -> MiniShop:
    """A table of 600 events with its YAML, in a folder of its own."""
    return MiniShop.open(tmp_path)
