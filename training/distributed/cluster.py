"""Gives the tasks of a stage to whoever does them, and begins those again whose process ended under them."""

import fcntl
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from marquee import errors
from marquee.errors import MarqueeError, TaskError
from training.distributed.config import ClusterConfig, RayClusterConfig
from training.distributed.local import LocalProcesses
from training.distributed.plan import Outcome, Task
from training.distributed.receipts import is_done
from training.distributed.work import Ending, Order, Report, remove_asides

_LOCK = ".tasks.lock"

# Told the stage, how many of its tasks are done, and how many it has.
TaskProgress = Callable[[str, int, int], None]


class Processes(Protocol):
    """Whoever does tasks."""

    capacity: int

    def start(self, number: int, order: bytes) -> None:
        """Begins a task; there are never more than `capacity` at a time."""

    def finished(self) -> Iterator[tuple[int, bytes | None, str]]:
        """Waits, then yields number and report of tasks, or None and how its process ended."""

    def close(self) -> None:
        """Ends what was started."""


@contextmanager
def open_cluster(config: ClusterConfig) -> Iterator["Cluster"]:
    """Yields what does tasks, as a config has it; ends at the end what it has started.

    Raises:
        ConfigError: If Ray is asked for and is not installed, cannot be reached, or has no authentication.
    """
    processes = _processes(config)
    try:
        yield Cluster(processes, config)
    finally:
        processes.close()


def _processes(config: ClusterConfig) -> Processes:
    """Returns whoever does the tasks under a config."""
    if isinstance(config, RayClusterConfig):
        # Only here: Ray is an extra, and its import takes a second.
        from training.distributed.ray_tasks import RayTasks

        return RayTasks(config.processes, config.threads, config.address)
    return LocalProcesses(config.processes)


class Cluster:
    """Runs stages of tasks; made by `open_cluster`.

    Args:
        processes: Whoever does the tasks.
        config: Of threads and attempts.
    """

    def __init__(self, processes: Processes, config: ClusterConfig) -> None:
        self.processes = processes
        self._config = config

    def run(self, stage: str, tasks: Sequence[Task], progress: TaskProgress | None = None) -> Outcome:
        """Does the tasks of a stage that are not done, and returns when all are.

        Tasks that are under way when one fails are waited for: what is done stays.

        Args:
            stage: What progress calls them.
            tasks: Each with an output of its own.
            progress: Is told how far the stage is.

        Raises:
            TaskError: If a task cannot be done, its process ended again and again, a result or an input is
                damaged, an input has changed since a result was made of it, or another process makes results
                in the same folder.
            MarqueeError: That a task raised, of its class.
        """
        _require_distinct(stage, tasks)
        with _only_here({task.output.parent for task in tasks}):
            waiting = deque(task for task in tasks if not is_done(task))
            n_skipped = len(tasks) - len(waiting)
            run = _StageRun(stage, waiting, len(tasks), progress or (lambda *_: None))
            return run.to_end(self.processes, self._config, n_skipped)


class _StageRun:
    """A stage that is under way."""

    def __init__(self, stage: str, waiting: deque[Task], n_tasks: int, progress: TaskProgress) -> None:
        self._stage = stage
        self._waiting = waiting
        self._n_tasks = n_tasks
        self._progress = progress
        self._running: dict[int, Task] = {}
        self._attempts: dict[str, int] = {}
        self._error: MarqueeError | None = None
        self._n_done = 0

    def to_end(self, processes: Processes, config: ClusterConfig, n_skipped: int) -> Outcome:
        """Does all tasks; raises the first error once nothing is under way."""
        self._progress(self._stage, n_skipped, self._n_tasks)
        number = 0
        while self._running or (self._waiting and self._error is None):
            while self._waiting and self._error is None and len(self._running) < processes.capacity:
                task = self._waiting.popleft()
                self._attempts[task.name] = self._attempts.get(task.name, 0) + 1
                number += 1
                self._running[number] = task
                processes.start(number, msgspec.json.encode(Order.of(task, config.threads)))
            for ended, report, how in processes.finished():
                self._take(self._running.pop(ended), report, how, config.attempts)
                self._progress(self._stage, n_skipped + self._n_done, self._n_tasks)
        if self._error is not None:
            raise self._error
        n_begun = sum(self._attempts.values())
        return Outcome(done=self._n_done, skipped=n_skipped, retried=n_begun - self._n_done)

    def _take(self, task: Task, report: bytes | None, how: str, attempts: int) -> None:
        """Takes in how a task ended."""
        if report is not None:
            told = msgspec.json.decode(report, type=Report)
            if told.ending is Ending.done:
                self._n_done += 1
            else:
                self._error = self._error or _error_of(self._stage, task, told)
            return
        remove_asides(task.output.parent, task.output.name)
        if self._attempts[task.name] < attempts:
            self._waiting.appendleft(task)
        else:
            self._error = self._error or TaskError(
                f"{self._stage} {task.name}: its process ended {attempts} times, the last time with {how}, "
                "expected a result; if the system killed it for memory, set cluster.processes lower"
            )


def _error_of(stage: str, task: Task, report: Report) -> MarqueeError:
    """Returns the error that a task reported, of its class."""
    message = f"{stage} {task.name}: {report.message}"
    found = getattr(errors, report.error, None) if report.ending is Ending.refused else None
    # Classes that carry a field besides their message are told by the message alone.
    if isinstance(found, type) and issubclass(found, MarqueeError) and "__init__" not in vars(found):
        return found(message)
    return TaskError(message)


def _require_distinct(stage: str, tasks: Sequence[Task]) -> None:
    """Raises TaskError if two tasks have one name or one output."""
    for what, values in (
        ("name", [task.name for task in tasks]),
        ("output", [str(task.output) for task in tasks]),
    ):
        if repeated := [value for value, times in Counter(values).items() if times > 1]:
            raise TaskError(
                f"the tasks of {stage} must each have their own {what}, got {repeated[:3]} more than once"
            )


@contextmanager
def _only_here(folders: set[Path]) -> Iterator[None]:
    """Holds the locks of the folders of results, and removes what earlier processes left half-written there.

    Raises:
        TaskError: If another process holds one.
    """
    with ExitStack() as held:
        for folder in sorted(folders):
            folder.mkdir(parents=True, exist_ok=True)
            # Nobody deletes it: a lock on a file without a name would be held by two.
            lock = held.enter_context((folder / _LOCK).open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise TaskError(
                    f"another process is making results in {folder}; wait for it or end it, then start again"
                ) from error
            remove_asides(folder)
        yield
