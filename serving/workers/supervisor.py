"""The process that watches the workers: BentoML's arbiter, closed to others and attentive to its workers.

BentoML has circus watch the workers, and circus takes commands at a TCP port without asking who sends them:
whoever reaches the port runs what they like as the service's user. Here the channel stays inside the process.

circus replaces a worker that has ended. Beside that, here, a worker that hangs is replaced, a service none of
whose workers can start ends, and SIGHUP replaces the workers one by one, each when the next can answer.
"""

import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import bentoml._internal.utils.circus as bentoml_circus
from bentoml.exceptions import BentoMLConfigException
from circus.process import Process
from circus.util import tornado_sleep
from circus.watcher import Watcher
from tornado import gen

from serving.workers.heartbeat import PARENT_VARIABLE
from serving.workers.table import WorkerState, read_workers

logger = logging.getLogger(__name__)

LOOK_S = 2.0
"""How often the workers are looked at; BentoML's own 10 s leave the others alone for as long."""

ROLL_LOOK_S = 0.1
ROLL_PATIENCE_S = 300.0
"""How long a new worker may take until it can answer, when workers are replaced one by one."""

END_S = 30.0
"""How long a worker may take to end before it is killed; BentoML's own limit is a day."""

STARTS_PER_WORKER = 2
"""So many starts of each worker may fail before the first succeeds; then the service ends."""

Steps = Generator[Any, Any, Any]
"""Of a coroutine of tornado's older kind, which circus is written in."""


@dataclass(frozen=True, slots=True)
class Watch:
    """The settings by which workers are watched.

    Attributes:
        n_workers: How many there are.
        hang_s: Seconds after which a worker whose event loop does not run is replaced; 0 for never.
        folder_variable: The variable of the workers' environment that names the folder which they share.
    """

    n_workers: int
    hang_s: float
    folder_variable: str


class StartWatch:
    """Decides when a service is given up because all starts of its workers fail.

    Args:
        max_failed: Most workers that may end before one could answer.
    """

    def __init__(self, max_failed: int) -> None:
        self._max_failed = max_failed
        self._seen: set[int] = set()
        self._has_started = False

    def is_hopeless(
        self, started: Collection[int], living: Collection[int], states: Collection[WorkerState]
    ) -> bool:
        """Returns whether too many workers have ended and none has ever been able to answer.

        Args:
            started: Of the workers that were started since the last look, those that have ended included.
            living: Of the workers that run.
            states: What the workers have told, those that have ended included. Without any, as on a full
                disk, nothing is known and the service goes on.
        """
        # Once is enough: a service that has answered is never given up.
        self._has_started = self._has_started or any(state.is_ready for state in states)
        # Trap: a worker may start and end between two looks, so that none ever sees it alive.
        self._seen |= set(started)
        # By process: one that circus starts again has another number.
        has_failed = len(self._seen - set(living)) >= self._max_failed
        return has_failed and bool(states) and not self._has_started


class HangWatch:
    """Decides which workers hang.

    Args:
        hang_s: Seconds without a beat after which a worker hangs; 0 for never.
        look_s: How often it is looked.
    """

    def __init__(self, hang_s: float, look_s: float) -> None:
        self._hang_s = hang_s
        self._look_s = look_s
        self._last: float | None = None

    def hanging(self, pids: Collection[int], states: Collection[WorkerState], now: float) -> list[int]:
        """Returns the workers to be killed.

        Args:
            pids: Of the workers that run and have not been told to end.
            states: What the workers have told.
            now: Seconds of the clock of the beats.
        """
        before, self._last = self._last, now
        # A machine that was paused, with all that runs on it, has not seen its workers beat either.
        is_late = before is None or now - before > 2 * self._look_s
        if not self._hang_s or is_late:
            return []
        return [state.pid for state in states if state.pid in pids and state.silent_s > self._hang_s]


class Supervisor(bentoml_circus.Arbiter):
    """An arbiter whose control channel is no socket, or one in a folder that only its owner may enter."""

    def __init__(self, *args: object, watch: Watch, **options: object) -> None:  # circus's thirty, untyped
        options["endpoint"], options["pubsub_endpoint"] = _channels(has_plugins=bool(options.get("plugins")))
        # BentoML's own delay is among the options: ours comes last.
        super().__init__(*args, **{**options, "check_delay": LOOK_S})
        self._watch = watch
        self._starts = StartWatch(STARTS_PER_WORKER * watch.n_workers)
        self._hangs = HangWatch(watch.hang_s, LOOK_S)
        self._is_rolling = False
        for watcher in self.watchers:
            watcher.graceful_timeout = END_S
            watcher.env = {**(watcher.env or {}), PARENT_VARIABLE: str(os.getpid())}

    @gen.coroutine
    def manage_watchers(self) -> Steps:
        """Replaces workers that have ended or hang; ends the service if none can start."""
        if self._is_rolling or self._exclusive_running_command is not None:  # circus is starting some
            return
        processes = [process for watcher in self.watchers for process in watcher.processes.values()]
        states = self._states()
        living = {process.pid for process in processes if process.is_alive()}
        watched = {process.pid for process in processes if not process.stopping}
        for pid in self._hangs.hanging(watched & living, states, time.monotonic()):
            logger.error(
                "worker %s has not run its event loop for %g s: it is killed", pid, self._watch.hang_s
            )
            # A loop that hangs runs no handler of SIGTERM.
            os.kill(pid, signal.SIGKILL)
        if self._starts.is_hopeless({process.pid for process in processes}, living, states):
            self._exception = BentoMLConfigException(
                f"no worker could load its release in {STARTS_PER_WORKER} starts each; the log above says why"
            )
            stop: Any = self.stop  # returns a future, whatever BentoML's annotation says
            yield stop()
            return
        yield super().manage_watchers()

    @gen.coroutine
    def reload(self, graceful: bool = True, sequential: bool = False) -> Steps:  # noqa: ARG002  # circus's
        """Replaces the workers one by one, each once another can answer in its place."""
        if self._stopping or self._is_rolling:
            return
        self._is_rolling = True
        try:
            for watcher in self.watchers:
                for process in list(watcher.processes.values()):
                    if not (yield self._replace(watcher, process)):
                        return
            logger.warning("all workers have been replaced")
            return None
        finally:
            self._is_rolling = False

    @gen.coroutine
    def _replace(self, watcher: Watcher, old: Process) -> Steps:
        """Starts a worker and ends another once the new one can answer; tells whether it came to that."""
        before = set(watcher.processes)
        watcher.spawn_process()
        new = [process for pid, process in watcher.processes.items() if pid not in before]
        deadline = time.monotonic() + ROLL_PATIENCE_S
        while not any(state.is_ready and state.pid == each.pid for each in new for state in self._states()):
            if time.monotonic() > deadline or not any(each.is_alive() for each in new):
                logger.error("a new worker cannot answer: the others stay as they are, the log says why")
                for each in new:
                    yield watcher.kill_process(each)
                    watcher.reap_process(each.pid)
                return False
            yield tornado_sleep(ROLL_LOOK_S)
        yield watcher.kill_process(old)
        watcher.reap_process(old.pid)
        return True

    def _states(self) -> list[WorkerState]:
        """Returns the states of the workers, from their shared table."""
        folder = (self.watchers[-1].env or {}).get(self._watch.folder_variable)
        return read_workers(self._watch.n_workers, Path(folder), time.monotonic()) if folder else []


class ThreadedSupervisor(Supervisor, bentoml_circus.ThreadedArbiter):
    """The same for a service that is started in a thread of another program."""


def supervise(watch: Watch) -> None:
    """Has BentoML watch the workers of this process by a `Supervisor`.

    To be called before the arbiter is made, so from a hook of the deployment.
    """
    circus: Any = bentoml_circus  # its classes are looked up by these names when the arbiter is made
    make: Callable[..., Any]
    for name, make in (("Arbiter", Supervisor), ("ThreadedArbiter", ThreadedSupervisor)):
        setattr(circus, name, partial(make, watch=watch))


def _channels(*, has_plugins: bool) -> tuple[str, str]:
    """Returns where commands are taken and where events are told.

    Args:
        has_plugins: Whether other processes must reach both: `bentoml serve --reload` starts one.
    """
    if not has_plugins:
        own = f"marquee-{os.getpid()}"
        # ZeroMQ within the process: no other process can connect.
        return f"inproc://{own}-control", f"inproc://{own}-events"
    folder = Path(tempfile.mkdtemp(prefix="marquee-control-"))  # mode 0700
    return f"ipc://{folder / 'control'}", f"ipc://{folder / 'events'}"
