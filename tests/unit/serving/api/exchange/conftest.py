"""A bidder of an exchange over one small bundle, for the tests beside."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ad_service import booking
from tests.support.bundles import publish_tiny
from tests.support.exchange_service import ExchangeService

Open = Callable[..., ExchangeService]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_tiny(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def opened(home: Path, tmp_path: Path) -> Iterator[Open]:
    made: list[ExchangeService] = []

    def open_service(*campaigns: Any, **changes: Any) -> ExchangeService:
        made.append(ExchangeService(home, tmp_path, **changes))
        made[-1].book(*(campaigns or (booking(),)))
        return made[-1]

    yield open_service
    for one in made:
        one.close()
