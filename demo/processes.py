"""Child processes that are always ended: commands that run to their end, and the service beside us.

A child that serves gets a process group of its own, so that it and its workers can be ended together and
nothing else is hit. A command shares our terminal: Ctrl-C reaches it by itself, and it is given time to
keep what it has.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from demo.errors import DemoError
from marquee.client import Client

ROOT = Path(__file__).parents[1]

_PATIENCE_S = 30.0
_POLL_S = 0.1
_LOG_TAIL_LINES = 25
_CHOSEN_PORTS = (15_000, 32_000)  # Linux hands out 32768 and above, others 49152 and above


def run_command(
    title: str,
    arguments: Sequence[str],
    patience_s: float = _PATIENCE_S,
    accepted: Sequence[int] = (0,),
    environment: Mapping[str, str] | None = None,
) -> int:
    """Runs `python …` in the repository with its output on our terminal, and returns its exit status.

    Args:
        title: What the command does, for the error message.
        arguments: Arguments of the Python interpreter.
        patience_s: Seconds that an interrupted command has to end by itself.
        accepted: Exit statuses that are no failure.
        environment: Of the command; None for ours.

    Raises:
        DemoError: If the command ends with another status.
    """
    # No group of its own: Ctrl-C in the terminal must reach the command itself.
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment)
    try:
        status = process.wait()
    except KeyboardInterrupt:
        # The command was interrupted as well and may be writing a checkpoint: it gets time to
        # end by itself.
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
        raise
    finally:
        stop_process(process)
    if status not in accepted:
        command = " ".join(["python", *arguments])
        raise DemoError(f"{title} ended with status {status}; its message stands above. Command: {command}")
    return status


def stop_process(process: subprocess.Popen[bytes], patience_s: float = _PATIENCE_S) -> None:
    """Ends a child that still runs: SIGTERM, and SIGKILL if it has not ended after `patience_s` seconds."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """Returns a loopback port that nobody listens on at this moment.

    It is none of those that the kernel hands out by itself: BentoML reserves such a port for its own control
    before the service has bound the one chosen here, and now and then got the same.
    """
    while True:
        port = random.randrange(*_CHOSEN_PORTS)
        # Bound for a moment to be sure; a port that is taken raises, and the next one is tried.
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def service_command(port: int) -> list[str]:
    """Returns the command that serves a bundle on a loopback port."""
    service = ["bentoml", "serve", "serving.service:MarqueeService"]
    return [sys.executable, "-m", *service, "--host", "127.0.0.1", "--port", str(port)]


def service_environment(bundle: Path) -> dict[str, str]:
    """Returns our environment with what makes the service serve `bundle`, and send nothing to anybody."""
    # BentoML reports its use to its makers unless it is told not to.
    return {**os.environ, "MARQUEE_BUNDLE": str(bundle), "BENTOML_DO_NOT_TRACK": "true"}


@contextmanager
def running_server(
    command: Sequence[str],
    environment: Mapping[str, str],
    url: str,
    log: Path,
    *,
    directory: Path = ROOT,
    timeout_s: float = 120.0,
    patience_s: float = 10.0,
) -> Iterator[None]:
    """Runs a server in a process group of its own; the block begins once it is ready to answer.

    However the block ends, the server and all of its children are gone afterwards.

    Args:
        command: The whole command line.
        environment: The server's environment.
        url: Where it will answer; `/readyz` below it says when.
        log: File that receives what it prints.
        directory: Where it runs.
        timeout_s: Seconds until it must be ready.
        patience_s: Seconds it has to end by itself.

    Raises:
        DemoError: If it ends, or the time is over, before it is ready; with the end of its log.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            # What a person types is for us, not for the server.
            stdin=subprocess.DEVNULL,
            # A group of its own: its workers end with it, and Ctrl-C does not end it before we ask it to.
            start_new_session=True,
        )
        try:
            with Client(url) as client:
                _wait_until_ready(process, client, log, timeout_s)
            yield
        finally:
            stop_process(process, patience_s)
            # Workers may outlive the process that watched them.
            _stop_group(process.pid, patience_s)


def log_tail(log: Path) -> str:
    """Returns the last lines of a log file."""
    lines = log.read_text(encoding="utf8", errors="replace").splitlines()
    return "\n".join(lines[-_LOG_TAIL_LINES:]) or "(the log is empty)"


def _wait_until_ready(process: subprocess.Popen[bytes], client: Client, log: Path, timeout_s: float) -> None:
    """Returns when /readyz answers 200; raises DemoError if the process ends or the time is over before."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        # A server that has ended will never be ready: its log is shown at once, not after the timeout.
        if process.poll() is not None:
            raise DemoError(
                f"the service ended with status {process.returncode} before it was ready. "
                f"The end of {log}:\n{log_tail(log)}"
            )
        if client.is_ready():
            return
        time.sleep(_POLL_S)
    raise DemoError(
        f"the service was not ready at {client.url}/readyz within {timeout_s:.0f} s. "
        f"The end of {log}:\n{log_tail(log)}"
    )


def _stop_group(group: int, patience_s: float) -> None:
    """Ends whatever is left of a process group whose leader has ended."""
    deadline = time.monotonic() + patience_s
    with suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            # Signal 0 hits nobody and raises once the group is empty.
            os.killpg(group, 0)
            time.sleep(_POLL_S)
        os.killpg(group, signal.SIGKILL)
