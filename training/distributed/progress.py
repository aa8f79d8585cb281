"""Shows how far a plan is: bars on a terminal, a line now and then where output goes to a file."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from training.distributed.cluster import TaskProgress

# A log of hours stays readable, and silence is never long enough to look like a hang.
SECONDS_BETWEEN_LINES = 30.0


@contextmanager
def task_progress(console: Console, clock: Callable[[], float] = time.monotonic) -> Iterator[TaskProgress]:
    """Yields what `Cluster.run` tells how far it is; takes the bars away at the end."""
    if not console.is_terminal:
        yield _lines(console, clock)
        return
    bars: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:

        def show(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=total)
            progress.update(bars[stage], completed=done)

        yield show


def _lines(console: Console, clock: Callable[[], float]) -> TaskProgress:
    """Returns a callback that prints a line if the last one, or the start, is a while ago."""
    last = clock()

    def show(stage: str, done: int, total: int) -> None:
        nonlocal last
        now = clock()
        if now - last >= SECONDS_BETWEEN_LINES:
            console.print(f"{stage}: {done:,} of {total:,} tasks", highlight=False)
            last = now

    return show
