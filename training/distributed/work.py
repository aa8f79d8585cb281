"""Does one task, in whatever process: reads its inputs, writes aside, renames, leaves a receipt.

What comes back is a small report, never an exception: it crosses processes as JSON.
"""

import errno
import os
import shutil
import traceback
import uuid
from enum import StrEnum
from pathlib import Path

import msgspec

from marquee.errors import MarqueeError, TaskError
from marquee.store.files import announce_step
from training.distributed.plan import PlainArgument, Task, find_function, plain
from training.distributed.receipts import input_facts, receipt_path, result_facts, write_receipt

_ASIDE = ".aside-"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Ending(StrEnum):
    """How a task ended."""

    done = "done"
    refused = "refused"
    failed = "failed"


class Order(msgspec.Struct, frozen=True):
    """A task as it travels, see `Task`."""

    name: str
    function: str
    arguments: dict[str, PlainArgument]
    inputs: list[str]
    output: str
    threads: int

    @classmethod
    def of(cls, task: Task, threads: int) -> "Order":
        """Returns the order of a task."""
        inputs = [str(path.absolute()) for path in task.inputs]
        arguments = plain(task.arguments)
        return cls(task.name, task.function, arguments, inputs, str(task.output.absolute()), threads)

    def task(self) -> Task:
        """Returns the task of an order."""
        return Task(
            name=self.name,
            function=self.function,
            arguments=self.arguments,
            inputs=tuple(Path(path) for path in self.inputs),
            output=Path(self.output),
        )


class Report(msgspec.Struct, frozen=True):
    """The end of a task.

    Attributes:
        ending: See `Ending`.
        error: Class of the error, one of `marquee.errors` where it is `refused`.
        message: Its text; with the stack where it is a fault of ours.
    """

    ending: Ending
    error: str = ""
    message: str = ""


def perform(order: bytes) -> bytes:
    """Does the task of an order and returns its report, both as JSON."""
    told = msgspec.json.decode(order, type=Order)
    limit_threads(told.threads)
    task = told.task()
    try:
        _make(task)
    except MarqueeError as error:
        report = Report(Ending.refused, type(error).__name__, str(error))
    except OSError as error:
        report = Report(Ending.refused, TaskError.__name__, _why_not_written(task, error))
    # The boundary of a process: what is not reported here would be taken for a process that was killed.
    except Exception:
        report = Report(Ending.failed, "", traceback.format_exc())
    else:
        report = Report(Ending.done)
    return msgspec.json.encode(report)


def _why_not_written(task: Task, error: OSError) -> str:
    """Returns in words why the system let a result not be written."""
    room = f"; make room in {task.output.parent}" if error.errno in _NO_ROOM else ""
    return f"{task.output} could not be made, got {error}{room}; start again, what is done stays"


def _make(task: Task) -> None:
    """Makes the result of a task and puts it into its place."""
    function = find_function(task.function)
    before = [input_facts(path, task.output, is_read=True) for path in task.inputs]
    # Another name each time: a process that was given up may still write to its own.
    aside = task.output.parent / f".{task.output.name}{_ASIDE}{uuid.uuid4().hex[:12]}"
    task.output.parent.mkdir(parents=True, exist_ok=True)
    try:
        function(aside, task.inputs, **task.arguments)
        if not aside.exists():
            raise TaskError(f"{task.function} must write {task.output}, got nothing written")
        files = result_facts(aside)
        # Only stamps differ without a reading; what earlier tasks made is read again by nobody.
        after = [input_facts(path, task.output, is_read=False) for path in task.inputs]
        for path, was, now in zip(task.inputs, before, after, strict=True):
            if was != now:
                raise TaskError(
                    f"{path} changed while {task.output} was made of it, got {now.bytes} bytes after "
                    f"{was.bytes}; start again once nobody writes it"
                )
        _put_in_place(aside, task.output)
        write_receipt(task, before, files)
    finally:
        remove(aside)


def _put_in_place(aside: Path, output: Path) -> None:
    """Renames a result into its place."""
    # First: without a receipt, whatever stands there counts as not done.
    announce_step("unsign the old result")
    receipt_path(output).unlink(missing_ok=True)
    announce_step("remove the old result")
    # A folder is renamed only over an empty one.
    remove(output)
    announce_step("rename the result")
    aside.rename(output)


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_asides(folder: Path, name: str = "") -> None:
    """Removes what processes that ended in the middle left in a folder, of one result or of all."""
    for entry in folder.iterdir():
        if entry.name.startswith(f".{name}") and _ASIDE in entry.name.removeprefix(f".{name}"):
            remove(entry)


def limit_threads(threads: int) -> None:
    """Tells the libraries that are loaded from now on how many threads they may start."""
    for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
