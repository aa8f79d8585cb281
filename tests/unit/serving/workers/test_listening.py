"""A worker takes no more than its table of the connections, and every one that nobody else takes."""

import asyncio
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from serving.workers.listening import Listener, SharingLoop
from serving.workers.table import WORKERS_FILE, WorkerTable


class Echo(asyncio.Protocol):
    """Sends back what comes, and tells the table when it ends."""

    def __init__(self, table: WorkerTable) -> None:
        self._table = table

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own, which is no subclass

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._table.add(-1)


@contextmanager
def listening_socket() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def echoed(stream: Stream) -> bytes:
    reader, writer = stream
    writer.write(b"hello")
    return await asyncio.wait_for(reader.readexactly(5), 10)


async def close(*streams: Stream) -> None:
    for _, writer in streams:
        writer.close()
        await writer.wait_closed()


async def until(n: int, table: WorkerTable) -> None:
    """Returns once a worker holds n connections."""
    async with asyncio.timeout(10):
        while table.n_held != n:
            await asyncio.sleep(0.001)


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def tables(folder: Path, n: int = 2) -> list[WorkerTable]:
    return [WorkerTable(n, number, folder) for number in range(1, n + 1)]


def test_worker_that_holds_many_more_than_another_leaves_connections_to_it(tmp_path: Path) -> None:
    first, second = tables(tmp_path)
    ample = []
    for _ in range(4):
        ample.append(first.has_enough())
        first.add(1)
    assert ample == [False, False, True, True]  # of few, one more is not yet many
    assert not second.has_enough()
    second.add(100)
    first.add(96)
    assert not second.has_enough()
    second.add(20)
    assert second.has_enough()
    second.add(-20)
    assert not second.has_enough()


def test_busiest_of_several_waits_for_the_idlest(tmp_path: Path) -> None:
    first, second, third = tables(tmp_path, 3)
    first.add(10)
    second.add(10)
    assert first.has_enough()
    assert second.has_enough()
    assert not third.has_enough()
    third.add(9)
    assert not first.has_enough()


def test_worker_that_has_died_is_not_waited_for(tmp_path: Path) -> None:
    first, second = tables(tmp_path)
    first.add(10)
    assert first.has_enough()
    second._pids[second._own] = dead_pid()
    assert not first.has_enough()


def test_worker_in_the_place_of_a_dead_one_begins_with_no_connection(tmp_path: Path) -> None:
    first, second = tables(tmp_path)
    second.add(7)
    assert WorkerTable(2, 2, tmp_path).n_held == 0
    first.add(5)
    assert first.has_enough()


@pytest.mark.parametrize("n_workers", [1, 2])
def test_worker_that_tells_nobody_takes_everything(n_workers: int) -> None:
    table = WorkerTable(n_workers)
    table.add(1000)
    assert (table.n_held, table.has_enough()) == (1000, False)


def test_full_disk_leaves_each_worker_on_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_descriptor: int, _offset: int, _length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    first, _ = tables(tmp_path)
    first.add(10)
    assert not first.has_enough()
    assert "each worker takes the connections that it comes by" in caplog.text


def test_workers_of_one_service_share_one_small_file(tmp_path: Path) -> None:
    tables(tmp_path, 4)
    assert [file.name for file in tmp_path.iterdir()] == [WORKERS_FILE]
    assert (tmp_path / WORKERS_FILE).stat().st_size == 4 * 2 * 4 * 8


async def served(table: WorkerTable, sock: socket.socket, loop: SharingLoop) -> Listener:
    return await loop.create_server(lambda: Echo(table), sock=sock)


def run_in(loop: SharingLoop, main: Coroutine[None, None, None]) -> None:
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()


def test_connections_are_answered_and_counted_until_they_end() -> None:
    table = WorkerTable()
    loop = SharingLoop(table)

    async def main(sock: socket.socket) -> None:
        listener = await served(table, sock, loop)
        address = sock.getsockname()
        streams = [await asyncio.open_connection(*address) for _ in range(5)]
        for stream in streams:
            assert await echoed(stream) == b"hello"
        assert table.n_held == 5
        await close(*streams[:3])
        await until(2, table)
        listener.close()
        listener.close()  # twice does no harm
        await listener.wait_closed()
        assert await echoed(streams[4]) == b"hello"
        await close(*streams[3:])
        await until(0, table)

    with listening_socket() as sock:
        run_in(loop, main(sock))


def test_connection_that_no_idler_worker_takes_is_taken_all_the_same(tmp_path: Path) -> None:
    table, _ = tables(tmp_path)
    loop = SharingLoop(table)
    table.add(50)

    async def main(sock: socket.socket) -> None:
        await served(table, sock, loop)
        assert table.has_enough()
        stream = await asyncio.open_connection(*sock.getsockname())
        assert await echoed(stream) == b"hello"
        assert table.n_held == 51
        await close(stream)

    with listening_socket() as sock:
        run_in(loop, main(sock))


def test_two_listeners_at_one_socket_share_what_comes_at_once(tmp_path: Path) -> None:
    first, second = tables(tmp_path)
    loop = SharingLoop(first)

    async def main(sock: socket.socket) -> None:
        await served(first, sock, loop)
        twin = sock.dup()
        other = Listener(loop, lambda: Echo(second), twin, None, second)
        streams = await asyncio.gather(*(asyncio.open_connection(*sock.getsockname()) for _ in range(40)))
        async with asyncio.timeout(10):
            while first.n_held + second.n_held < 40:
                await asyncio.sleep(0.001)
        assert abs(first.n_held - second.n_held) <= 6
        await close(*streams)
        await until(0, first)
        await until(0, second)
        other.close()
        twin.close()

    with listening_socket() as sock:
        run_in(loop, main(sock))


def test_want_of_files_loses_no_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = WorkerTable()
    loop = SharingLoop(table)
    errors = [OSError(errno.EMFILE, "Too many open files")] * 2
    accept = socket.socket.accept

    def accept_later(sock: socket.socket) -> tuple[socket.socket, object]:
        if errors:
            raise errors.pop()
        return accept(sock)

    async def main(sock: socket.socket) -> None:
        await served(table, sock, loop)
        stream = await asyncio.open_connection(*sock.getsockname())
        assert await echoed(stream) == b"hello"
        await close(stream)

    monkeypatch.setattr("serving.workers.listening._OUT_OF_FILES_S", 0.01)
    monkeypatch.setattr(socket.socket, "accept", accept_later)
    with listening_socket() as sock:
        run_in(loop, main(sock))
    assert caplog.text.count("no connection can be taken for now") == 2
    assert not errors


def test_connection_that_does_not_come_about_is_closed_and_not_counted() -> None:
    table = WorkerTable()
    loop = SharingLoop(table)

    def broken() -> asyncio.Protocol:
        raise ValueError("no protocol for you")

    async def main(sock: socket.socket) -> None:
        listener = await loop.create_server(broken, sock=sock)
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        assert await asyncio.wait_for(reader.read(), 10) == b""
        await until(0, table)
        await close((reader, writer))
        listener.close()

    with listening_socket() as sock:
        run_in(loop, main(sock))
