"""Work that tests give to a cluster, and plans of it."""

import errno
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from training.distributed.plan import Task

HERE = "tests.support.tasks"


def add_numbers(out: Path, inputs: Sequence[Path], *, factor: int) -> None:
    """Writes the sum of the numbers of all inputs, times a factor."""
    numbers = [int(line) for path in inputs for line in path.read_text().split()]
    out.write_text(f"{factor * sum(numbers)}\n")


def part_numbers(out: Path, inputs: Sequence[Path], *, n_parts: int) -> None:
    """Writes a folder with the numbers of the inputs, parted by their remainder."""
    numbers = [int(line) for path in inputs for line in path.read_text().split()]
    out.mkdir()
    for part in range(n_parts):
        lines = [f"{number}\n" for number in numbers if number % n_parts == part]
        (out / f"part-{part}").write_text("".join(lines))


def die_a_few_times(out: Path, inputs: Sequence[Path], *, marks: str, n_deaths: int) -> None:
    """Is killed in the middle of writing, so often; then writes."""
    out.mkdir()
    (out / "half").write_text("half")
    mark = Path(marks)
    deaths = mark.read_text() if mark.exists() else ""
    if len(deaths) < n_deaths:
        mark.write_text(deaths + "x")
        os.kill(os.getpid(), signal.SIGKILL)
    (out / "whole").write_text("".join(path.read_text() for path in inputs))


def find_no_room(out: Path, inputs: Sequence[Path], *, after: int) -> None:
    """Writes some bytes, then meets a full disk."""
    with out.open("wb") as file:
        file.write(b"x" * (after + 0 * len(inputs)))
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out))


def divide_by_zero(out: Path, inputs: Sequence[Path]) -> None:
    """Has a fault of ours."""
    out.write_text(str(1 / len(inputs[1:1])))


def change_the_input(out: Path, inputs: Sequence[Path]) -> None:
    """Reads a partition that somebody writes meanwhile."""
    out.write_text(inputs[0].read_text())
    inputs[0].write_text("1 2 3 4 5")


def write_nothing(out: Path, inputs: Sequence[Path]) -> None:
    """Forgets its result."""


def take_a_while(out: Path, inputs: Sequence[Path], *, seconds: float) -> None:
    """Works slowly."""
    out.mkdir()
    (out / "begun").write_text("")
    time.sleep(seconds)
    (out / "numbers").write_text("".join(path.read_text() for path in inputs))


def partitions(folder: Path, n: int) -> list[Path]:
    """Writes tables of numbers, each of other ones."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"day-{number}" for number in range(n)]
    for number, path in enumerate(paths):
        path.write_text("\n".join(str(100 * number + value) for value in range(20)))
    return paths


def slow_copies(days: Sequence[Path], to: Path, seconds: float = 0.05) -> list[Task]:
    """Returns the stage that copies each day and takes its time for it."""
    return [
        Task(
            name=day.name,
            function=f"{HERE}:take_a_while",
            arguments={"seconds": seconds},
            inputs=(day,),
            output=to / "copies" / day.name,
        )
        for day in days
    ]


def parting(days: Sequence[Path], to: Path, n_parts: int, names: Sequence[str] = ()) -> list[Task]:
    """Returns the stage that parts each day, under its own name or another."""
    return [
        Task(
            name=name,
            function=f"{HERE}:part_numbers",
            arguments={"n_parts": n_parts},
            inputs=(day,),
            output=to / "parts" / name,
        )
        for day, name in zip(days, names or [day.name for day in days], strict=True)
    ]


def adding(days: Sequence[Path], to: Path, n_parts: int, factor: int = 1) -> list[Task]:
    """Returns the stage that adds up a part of all days."""
    return [
        Task(
            name=f"part {part}",
            function=f"{HERE}:add_numbers",
            arguments={"factor": factor},
            inputs=tuple(to / "parts" / day.name / f"part-{part}" for day in days),
            output=to / "sums" / f"sum-{part}",
            renews=True,
        )
        for part in range(n_parts)
    ]


def dying(folder: Path, n_deaths: int) -> Task:
    """Returns a task whose process is killed so often."""
    return Task(
        name="often",
        function=f"{HERE}:die_a_few_times",
        arguments={"marks": str(folder / "marks"), "n_deaths": n_deaths},
        output=folder / "to" / "out",
    )


def results(folder: Path) -> dict[str, bytes]:
    """Returns the content of every file of a folder by its path; what begins with a dot is the executor's."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def left_aside(folder: Path) -> list[str]:
    """Returns the names of all that stands half-written in a folder."""
    return [path.name for path in folder.rglob(".*.aside-*")]
