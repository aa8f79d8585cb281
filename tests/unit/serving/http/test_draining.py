"""Draining: told by a file or by a signal, which is handed on when the time has come."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.http.draining import Draining

GRACE_S = 0.2


@pytest.fixture
def ended() -> Iterator[list[float]]:
    """Stands in for the server's own handler: notes when it was told to end."""
    times: list[float] = []
    before = signal.signal(signal.SIGTERM, lambda *_: times.append(asyncio.get_running_loop().time()))
    yield times
    signal.signal(signal.SIGTERM, before)


def test_file_drains_while_it_exists(tmp_path: Path) -> None:
    draining = Draining(tmp_path / "drain", 0)
    assert draining.reason() == ""
    (tmp_path / "drain").touch()
    assert (draining.reason(), draining.is_ending) == ("drain exists", False)


def test_signal_drains_first_and_ends_later(ended: list[float]) -> None:
    draining = Draining(None, GRACE_S)
    begun: list[str] = []

    async def steps() -> float:
        draining.listen(lambda: begun.append("ending"))
        started = asyncio.get_running_loop().time()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(GRACE_S / 4)
        assert (draining.reason(), draining.is_ending, ended) == ("it was told to end", True, [])
        assert begun == ["ending"]
        await asyncio.sleep(GRACE_S * 2)
        return started

    started = asyncio.run(steps())
    assert len(ended) == 1
    assert ended[0] - started >= GRACE_S


def test_second_signal_ends_at_once(ended: list[float]) -> None:
    async def steps() -> None:
        Draining(None, 60).listen(lambda: None)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.05)

    asyncio.run(steps())
    assert len(ended) == 1


def test_without_a_grace_the_signal_stays_with_the_server(ended: list[float]) -> None:
    async def steps() -> None:
        Draining(None, 0).listen(lambda: None)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.05)

    asyncio.run(steps())
    assert len(ended) == 1
