"""The command `follow_up`: contacts reach a file or a signed webhook once, and never another host."""

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import polars as pl
import pytest

from marquee.errors import ConfigError
from marquee.marketing.audiences.follow_up import Entry
from training.follow_up.__main__ import main
from training.follow_up.webhook import SIGNATURE, send_contacts, sign

KEY = "0123456789abcdef"


class Receiver(BaseHTTPRequestHandler):
    """Remembers what it is sent; `/elsewhere` answers with a redirect."""

    received: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:
        """Takes contacts."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append((self.headers[SIGNATURE], body))
        if self.path == "/noise":
            self.wfile.write(b"no status at all\r\n\r\n")
            return
        self.send_response(302 if self.path == "/elsewhere" else 200)
        if self.path == "/elsewhere":
            self.send_header("Location", "http://127.0.0.1:9/")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def receiver() -> Iterator[str]:
    """Yields the address of a receiver."""
    Receiver.received = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def make_run(folder: Path, follow_up: str) -> Path:
    """Returns a run with one audience, written by hand."""
    run = folder / "churn" / "1"
    (run / "audiences").mkdir(parents=True)
    (run / "audiences" / "keep.csv").write_text(
        "user_id,group,position\na,contact,1\nb,holdout,2\nc d,contact,3\n"
    )
    (run / "audiences" / "keep.converted.txt").write_text("c d\n")
    (run / "config.yaml").write_text(f"audiences: {{keep: {{follow_up: {follow_up}}}}}\n")
    pl.DataFrame({"user_id": ["a"]}).write_parquet(run / "traits.parquet")
    return run


def run_command(patch: pytest.MonkeyPatch, run: Path) -> int:
    """Returns the exit status of the command."""
    patch.setattr(sys, "argv", ["follow_up", f"run={run}"])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_contacts_reach_the_file_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path, "{stop: 'left = 1'}")
    assert run_command(monkeypatch, run) == 0
    assert "keep: 1 contacts by file; 1 converted, 1 held back at random" in capsys.readouterr().out
    assert run_command(monkeypatch, run) == 0
    lines = (run.parent / "contacts.jsonl").read_text().splitlines()
    assert [json.loads(line)["user_id"] for line in lines] == ["a"]


def test_contacts_reach_the_webhook_signed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, receiver: str
) -> None:
    monkeypatch.setenv("CRM_KEY", KEY)
    declared = f"{{channel: webhook, url: '{receiver}/in', hosts: [127.0.0.1], secret: CRM_KEY}}"
    run = make_run(tmp_path, declared)
    assert run_command(monkeypatch, run) == 0
    assert run_command(monkeypatch, run) == 0
    ((signature, body),) = Receiver.received
    seconds = int(signature.split(",")[0].removeprefix("t="))
    assert signature == sign(KEY.encode(), body, seconds)
    assert [one["user_id"] for one in json.loads(body)["contacts"]] == ["a"]


def test_a_key_that_is_missing_sends_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, receiver: str
) -> None:
    declared = f"{{channel: webhook, url: '{receiver}/in', hosts: [127.0.0.1], secret: NO_SUCH_KEY}}"
    assert run_command(monkeypatch, make_run(tmp_path, declared)) == 2
    assert Receiver.received == []


@pytest.mark.parametrize("path", ["elsewhere", "noise"])
def test_an_answer_that_leads_elsewhere_or_is_none_is_not_followed(receiver: str, path: str) -> None:
    contact = Entry("keep", "a", "contact", 0.0, "x")
    with pytest.raises(ConfigError, match="none counts as sent"):
        send_contacts(f"{receiver}/{path}", KEY.encode(), [contact], 0.0)


def test_a_run_without_follow_up_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(monkeypatch, make_run(tmp_path, "null")) == 2
    assert "has no audience with a follow_up" in capsys.readouterr().err
