"""When a result counts as done: its receipt says of which inputs and with which arguments it was made.

A receipt stands beside its result, as `.<name>.receipt`, and is written after it. It holds the checksum of
every file of the result, so a later task knows a damaged part before it reads it, and the identity of every
input, so a partition that changes underneath is named.

Trap: results are not forced to disk one by one, only receipts are. After a power cut a file may be short or
empty: sizes are compared before a result is skipped, checksums before it is read.
"""

import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import msgspec.structs

from marquee.errors import TaskError
from marquee.store.files import CHUNK_BYTES, FileFacts, replace_file
from training.distributed.plan import PlainArgument, Task, plain

_SUFFIX = ".receipt"
# A task may read one file of a folder that an earlier task has made, and that one file of a folder within.
_LEVELS = 3


class InputFacts(msgspec.Struct, frozen=True):
    """The identity of an input.

    Attributes:
        path: Relative to the folder of the result.
        bytes: Of all its files.
        sha256: Of its content.
        stamp: Says without reading whether it may have changed; empty for a result of an earlier task.
    """

    path: str
    bytes: int
    sha256: str
    stamp: str


class Receipt(msgspec.Struct, frozen=True):
    """The inputs, the arguments and the files of a result.

    Attributes:
        function: That made it.
        arguments: It was called with.
        inputs: In the order of the task.
        files: Size and checksum of each file of the result by its path within; "" for a result of one file.
    """

    function: str
    arguments: dict[str, PlainArgument]
    inputs: list[InputFacts]
    files: dict[str, FileFacts]

    def content(self) -> tuple[int, str]:
        """Returns size and checksum of the whole result."""
        lines = "".join(
            f"{facts.sha256} {facts.bytes} {name}\n" for name, facts in sorted(self.files.items())
        )
        n_bytes = sum(facts.bytes for facts in self.files.values())
        return n_bytes, hashlib.sha256(lines.encode()).hexdigest()


def receipt_path(output: Path) -> Path:
    """Returns where the receipt of a result stands."""
    return output.parent / f".{output.name}{_SUFFIX}"


def write_receipt(task: Task, inputs: list[InputFacts], files: Mapping[str, FileFacts]) -> None:
    """Writes the receipt of a result that is in its place."""
    receipt = Receipt(task.function, plain(task.arguments), inputs, dict(files))
    replace_file(receipt_path(task.output), msgspec.json.encode(receipt, order="sorted"))


def change_result(output: Path, change: Callable[[Path], bool]) -> bool:
    """Changes the result of a task where it lies, as erasure does, and lets it count as done.

    What was made of the old result is made again by a task that `renews`. Ended in the middle, the result
    has no receipt, and is made again of its inputs.

    Args:
        output: The result.
        change: Is given it, and returns whether it has changed anything.

    Returns:
        Whether anything was changed.

    Raises:
        TaskError: If it is no result of a task.
    """
    receipt = read_receipt(output)
    if receipt is None:
        raise TaskError(f"{output} must have a receipt, got none; remove it, and start again")
    receipt_path(output).unlink()
    is_changed = change(output)
    changed = msgspec.structs.replace(receipt, files=result_facts(output)) if is_changed else receipt
    replace_file(receipt_path(output), msgspec.json.encode(changed, order="sorted"))
    return is_changed


def read_receipt(output: Path) -> Receipt | None:
    """Returns the receipt of a result, None if it has none.

    Raises:
        TaskError: If the file is no receipt.
    """
    path = receipt_path(output)
    try:
        at = path.stat()
        return _decoded(path, at.st_mtime_ns, at.st_ino)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TaskError(
            f"{path} must be a receipt, got {error}; remove it and {output}, and start again"
        ) from error


# A folder of many files is an input of as many tasks: its receipt is decoded once in each process.
@functools.lru_cache(maxsize=1024)
def _decoded(path: Path, _mtime_ns: int, _inode: int) -> Receipt:
    """Returns the receipt of a file that is as it was at a time."""
    return msgspec.json.decode(path.read_bytes(), type=Receipt)


def is_done(task: Task) -> bool:
    """Returns whether the result of a task is there and was made of what the task names.

    Raises:
        TaskError: If it is there and was made of something else, or is not whole; the message names it.
    """
    receipt = read_receipt(task.output)
    if receipt is None or not task.output.exists():
        return False
    change = _change(task, receipt)
    if change and not task.renews:
        raise TaskError(
            f"{task.output} was made with {change}; put that back, or remove {task.output} to have it made "
            "again"
        )
    if change:
        return False
    _require_sizes(task.output, receipt)
    return True


def _change(task: Task, receipt: Receipt) -> str:
    """Returns in words what a result was made of that differs from what a task names; "" for nothing."""
    if receipt.function != task.function:
        return f"{receipt.function}, not with {task.function}"
    asked = plain(task.arguments)
    for name in sorted({*asked, *receipt.arguments}):
        # As JSON, where 1 and 1.0 and True are three things.
        was, is_ = (msgspec.json.encode(of.get(name)) for of in (receipt.arguments, asked))
        if was != is_:
            return f"{name}={was.decode()}, not with {name}={is_.decode()}"
    paths = [_relative(path, task.output) for path in task.inputs]
    if (was_paths := [facts.path for facts in receipt.inputs]) != paths:
        gone = [path for path in was_paths if path not in paths]
        new = [path for path in paths if path not in was_paths]
        return f"{len(was_paths)} inputs, not with {len(paths)}: left out {gone[:3]}, new {new[:3]}"
    for path, facts in zip(task.inputs, receipt.inputs, strict=True):
        if facts.stamp and facts.stamp == _stamp(path):
            continue
        now = input_facts(path, task.output, is_read=False)
        if (now.sha256, now.bytes) != (facts.sha256, facts.bytes):
            sizes = f"{facts.bytes} bytes then, {now.bytes} now"
            return f"another content of {path}, which has changed since: {sizes}"
    return ""


def _require_sizes(output: Path, receipt: Receipt) -> None:
    """Raises TaskError if a result lacks a file or one has another size."""
    sizes = {name: path.stat().st_size for name, path in _files(output)}
    for name, facts in receipt.files.items():
        if sizes.get(name) != facts.bytes:
            raise _damaged(output, name, f"{sizes.get(name, 'no')} bytes", f"{facts.bytes} bytes")


def result_facts(output: Path) -> dict[str, FileFacts]:
    """Returns size and checksum of each file of a result by its path within."""
    return {name: _facts(path) for name, path in _files(output)}


def input_facts(path: Path, output: Path, *, is_read: bool) -> InputFacts:
    """Returns the identity of an input.

    Args:
        path: File or folder.
        output: Result that is made of it.
        is_read: Whether it is about to be read: a result of an earlier task is then compared with its
            receipt.

    Raises:
        TaskError: If it is not there, or differs from its receipt.
    """
    if not path.exists():
        raise TaskError(f"{path} must be there before {output} can be made of it, got nothing; make it first")
    named = _relative(path, output)
    made = _receipt_around(path)
    if made is None:
        stamp = _stamp(path)
        n_bytes, sha256 = _content(path, stamp)
        return InputFacts(named, n_bytes, sha256, stamp)
    whole, receipt = made
    within = "" if whole == path else path.relative_to(whole).as_posix()
    files = {
        name: facts
        for name, facts in receipt.files.items()
        if not within or name == within or name.startswith(f"{within}/")
    }
    if is_read:
        _require_content(whole, files)
    n_bytes, sha256 = Receipt("", {}, [], files).content()
    return InputFacts(named, n_bytes, sha256, "")


# One table may be an input of many tasks, and is looked at before and after each.
@functools.lru_cache(maxsize=4096)
def _content(path: Path, _stamp: str) -> tuple[int, str]:
    """Returns size and checksum of files of the caller that are as a stamp says."""
    return Receipt("", {}, [], result_facts(path)).content()


def _require_content(output: Path, files: Mapping[str, FileFacts]) -> None:
    """Raises TaskError if a file of a result differs from its receipt."""
    for name, facts in files.items():
        path = output / name if name else output
        now = _facts(path) if path.is_file() else None
        if now != facts:
            came = f"{now.bytes} bytes with sha256 {now.sha256[:16]}" if now else "no file"
            raise _damaged(output, name, came, f"{facts.bytes} bytes with {facts.sha256[:16]}")


def _damaged(output: Path, name: str, came: str, expected: str) -> TaskError:
    """Returns the error of a result that is not what was written."""
    return TaskError(
        f"{output / name if name else output} is damaged: expected {expected} by its receipt, got {came}; "
        f"remove {output} and start again, it is then made anew"
    )


def _receipt_around(path: Path) -> tuple[Path, Receipt] | None:
    """Returns the result that a path is, or stands in, with its receipt; None if no task has made it."""
    for whole in (path, *list(path.parents)[:_LEVELS]):
        if whole.name and receipt_path(whole).is_file():
            receipt = read_receipt(whole)
            return (whole, receipt) if receipt is not None else None
    return None


def _stamp(path: Path) -> str:
    """Returns a text that differs once a file or a folder of the caller may have changed."""
    stats = [(name, file.stat()) for name, file in _files(path)]
    # The inode too: a file that was exchanged by a rename may have size and time of the old one.
    lines = "".join(f"{name} {at.st_size} {at.st_mtime_ns} {at.st_ino}\n" for name, at in stats)
    return hashlib.sha256(lines.encode()).hexdigest()


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """Yields the files of a file or a folder in order, with their names within, but none of our own."""
    if not path.is_dir():
        if path.is_file():
            yield "", path
        return
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            file = Path(folder) / name
            yield file.relative_to(path).as_posix(), file


def _facts(path: Path) -> FileFacts:
    """Returns size and checksum of a file."""
    digest = hashlib.sha256()
    n_bytes = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            n_bytes += len(chunk)
    return FileFacts(sha256=digest.hexdigest(), bytes=n_bytes)


def _relative(path: Path, output: Path) -> str:
    """Returns a path as seen from the folder of a result: both may be moved together."""
    return os.path.relpath(path, output.parent)
