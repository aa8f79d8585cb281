"""Shared by the tests of what must hold whatever users bring."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundles import publish_tiny
from tests.support.mini_shop import MiniShop
from tests.support.service_process import RunningService, running_service

LIMITS = {
    "MARQUEE_WORKERS": "1",
    "MARQUEE_MAX_HEADER_BYTES": "4096",
    "MARQUEE_BODY_TIMEOUT_MS": "4000",
}


@pytest.fixture
def shop(tmp_path: Path) -> MiniShop:
    """A table of 600 events with its YAML, in a folder of its own."""
    return MiniShop.open(tmp_path)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One version of a small bundle, which nobody changes."""
    return publish_tiny(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="session")
def service(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service of one worker; a test that changes a service starts its own."""
    with running_service(bundle, tmp_path_factory.mktemp("service"), **LIMITS) as running:
        yield running
        assert "Traceback" not in running.log.read_text(), "no request may make the service stumble"
