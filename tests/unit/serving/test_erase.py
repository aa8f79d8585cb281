"""The command that runs a pass of erasures now, with the settings of the service."""

from pathlib import Path

import pytest

from serving import erase
from tests.support.bundles import publish_tiny
from tests.support.erasures import ASKED, Service, fill, rows_of
from tests.support.event_stores import Store
from tests.support.people import handle, key_file


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    service = Service(Store(str(tmp_path / "log")), tmp_path / "log" / "closed")
    monkeypatch.setenv("MARQUEE_BUNDLE", str(publish_tiny(tmp_path / "bundles")))
    monkeypatch.setenv("MARQUEE_EVENTS", service.store.where)
    monkeypatch.setenv("MARQUEE_USER_KEY", str(key_file(tmp_path)))
    return service


def test_pass_runs_at_once(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    eraser = service.eraser()
    fill(eraser)
    eraser.begin(handle("user-1"), "user-1", ASKED)
    assert erase.main(["settle_s=0"]) == 0
    assert capsys.readouterr().out == "1 erasures finished, 0 old rows deleted\n"
    assert rows_of(eraser, "user-1") == []
    with eraser.places.log.only_closer():
        assert erase.main([]) == 1
    assert "another process closes days or erases" in capsys.readouterr().err
    service.close()


@pytest.mark.parametrize("arguments", [["settle_s=-1"], ["now=1"]])
def test_wrong_arguments_show_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert erase.main(arguments) == 2
    assert "usage: python -m serving.erase" in capsys.readouterr().err


@pytest.mark.usefixtures("service")
def test_nothing_is_erased_without_log_and_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MARQUEE_USER_KEY")
    assert erase.main([]) == 1
    assert "an erasure needs MARQUEE_EVENTS and MARQUEE_USER_KEY" in capsys.readouterr().err
