"""Whatever the demo starts is ended, however the block around it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo.errors import DemoError
from demo.processes import ROOT, free_port, run_command, running_server

# A server that is ready at once, with a child of its own; it prints both process ids.
SERVER = """
import http.server, json, os, signal, subprocess, sys
signal.signal(signal.SIGTERM, {on_term})
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(json.dumps([os.getpid(), child.pid]), flush=True)
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response({status}); self.end_headers()
http.server.HTTPServer(("127.0.0.1", {port}), Ready).serve_forever()
"""
ENDS = "lambda *_: os._exit(0)"


def server_command(port: int, on_term: str = ENDS, status: int = 200) -> list[str]:
    """Returns the command line of a small server with a child."""
    return [sys.executable, "-c", SERVER.format(port=port, on_term=on_term, status=status)]


def is_running(process_id: int) -> bool:
    """Returns whether a process exists and is no zombie."""
    state = Path(f"/proc/{process_id}/stat")
    if state.parent.parent.joinpath("self").exists():
        return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"
    return subprocess.run(["ps", "-p", str(process_id)], capture_output=True, check=False).returncode == 0


def left_running(log: Path) -> list[int]:
    """Returns which of the processes that a server printed first still run after a moment."""
    process_ids = printed_ids(log)
    deadline = time.monotonic() + 5
    while any(map(is_running, process_ids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [process_id for process_id in process_ids if is_running(process_id)]


def printed_ids(log: Path) -> list[int]:
    """Returns the process ids that a server printed first."""
    ids: list[int] = json.loads(log.read_text().splitlines()[0])
    return ids


def test_no_chosen_port_is_one_that_the_kernel_hands_out() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        handed_out = int(listener.getsockname()[1])
    assert all(1024 < free_port() < min(handed_out, 32_768) for _ in range(200))


def test_port_in_use_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        taken = free_port()
        listener.bind(("127.0.0.1", taken))
        other = free_port()
        draws = iter([taken, other])
        monkeypatch.setattr("random.randrange", lambda *_: next(draws))
        assert free_port() == other


@pytest.mark.parametrize("on_term", [ENDS, "signal.SIG_IGN"], ids=["obedient", "deaf"])
def test_server_and_its_children_are_gone_after_the_block(tmp_path: Path, on_term: str) -> None:
    port, log = free_port(), tmp_path / "log"
    with running_server(
        server_command(port, on_term), os.environ, f"http://127.0.0.1:{port}", log, patience_s=0.5
    ):
        assert all(is_running(process_id) for process_id in printed_ids(log))
    assert not left_running(log)


def test_server_is_gone_after_a_failing_block(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    server = running_server(server_command(port), os.environ, f"http://127.0.0.1:{port}", log, patience_s=0.5)
    with pytest.raises(ZeroDivisionError), server:
        _ = 1 / 0
    assert not left_running(log)


def test_server_that_ends_early_is_shown_by_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('there is no bundle here'); raise SystemExit(3)"]
    server = running_server(command, os.environ, "http://127.0.0.1:9", tmp_path / "log")
    with (
        pytest.raises(DemoError, match=r"status 3 before it was ready(.|\n)*there is no bundle here"),
        server,
    ):
        pass


def test_server_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    url = f"http://127.0.0.1:{port}"
    server = running_server(
        server_command(port, status=503), os.environ, url, log, timeout_s=1.0, patience_s=0.5
    )
    with pytest.raises(DemoError, match=r"not ready at .*/readyz within 1 s"), server:
        pass
    assert not left_running(log)


def test_failing_command_is_named_with_its_status() -> None:
    with pytest.raises(DemoError, match=r"export ended with status 4; .*python -c raise SystemExit\(4\)"):
        run_command("export", ["-c", "raise SystemExit(4)"])


def test_interrupted_command_may_finish_what_it_does(tmp_path: Path) -> None:
    ready, kept = tmp_path / "ready", tmp_path / "kept"
    child = (
        f"import pathlib, time\ntry:\n pathlib.Path({str(ready)!r}).touch(); time.sleep(60)\n"
        f"except KeyboardInterrupt:\n time.sleep(0.5); pathlib.Path({str(kept)!r}).touch()"
    )
    code = f"from demo.processes import run_command; run_command('training', ['-c', {child!r}])"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True, stderr=-3)
    while not ready.exists():
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(20) != 0
    assert kept.exists()
