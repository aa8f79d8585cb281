"""A running service listens nowhere but where it says: nobody else can command it."""

import stat
from pathlib import Path
from urllib.parse import urlparse

import psutil
import pytest

from serving.workers import supervisor
from tests.support.service_process import RunningService

pytestmark = pytest.mark.server


def family(service: RunningService) -> list[psutil.Process]:
    """Returns the watching process and all that it started."""
    parent = psutil.Process(service.process.pid)
    return [parent, *parent.children(recursive=True)]


def test_service_listens_at_its_port_alone(service: RunningService) -> None:
    port = urlparse(service.url).port
    listening = {
        tuple(one.laddr)
        for process in family(service)
        for one in process.net_connections("inet")
        if one.status in {psutil.CONN_LISTEN, psutil.CONN_NONE}
    }
    assert listening == {("127.0.0.1", port)}


def test_service_has_no_socket_in_a_folder_that_others_may_enter(service: RunningService) -> None:
    named = {
        Path(str(one.laddr))
        for process in family(service)
        for one in process.net_connections("unix")
        if str(one.laddr).startswith("/")
    }
    assert all(stat.S_IMODE(path.parent.stat().st_mode) == 0o700 for path in named)
    for process in family(service):  # abstract ones have no folder that could keep others out
        assert not [one for one in process.net_connections("unix") if str(one.laddr).startswith("@")]


def test_channel_to_a_plugin_lies_in_a_folder_of_its_own() -> None:
    control, events = supervisor._channels(has_plugins=True)
    assert control.startswith("ipc:///")
    folders = {Path(urlparse(address).path).parent for address in (control, events)}
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o700]
    for folder in folders:
        folder.rmdir()


def test_channel_without_plugins_is_no_socket() -> None:
    assert all(address.startswith("inproc://") for address in supervisor._channels(has_plugins=False))
