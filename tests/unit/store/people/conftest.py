"""Both stores of users, each empty for every test."""

from collections.abc import Iterator

import pytest

from tests.support.event_stores import Store
from tests.support.people import UserStore


@pytest.fixture
def users(store: Store) -> Iterator[UserStore]:
    opened = UserStore(store.where)
    yield opened
    opened.close()
