"""Shows how far a long ranking is: bars on a terminal, a line now and then where output goes to a file."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from marquee.evaluation.evaluation import EvaluationProgress

# A log of hours stays readable, and silence is never long enough to look like a hang.
SECONDS_BETWEEN_LINES = 30.0


@contextmanager
def ranking_progress(
    console: Console, clock: Callable[[], float] = time.monotonic
) -> Iterator[EvaluationProgress]:
    """Yields what `evaluate` tells how far it is; takes the bars away at the end, also of an interruption."""
    if not console.is_terminal:
        yield _lines(console, clock)
        return
    bars: dict[str, TaskID] = {}
    columns = (
        TextColumn("ranking {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    # Transient: what stays on the screen is the result.
    with Progress(*columns, console=console, transient=True) as progress:

        def show(name: str, done: int, total: int) -> None:
            if name not in bars:
                bars[name] = progress.add_task(name, total=total)
            progress.update(bars[name], completed=done)

        yield show


def _lines(console: Console, clock: Callable[[], float]) -> EvaluationProgress:
    """Returns a callback that prints a line if the last one, or the start, is a while ago."""
    # From the start on: a ranking of a few seconds prints nothing.
    last = clock()

    def show(name: str, done: int, total: int) -> None:
        nonlocal last
        now = clock()
        if now - last >= SECONDS_BETWEEN_LINES:
            console.print(f"ranking {name}: {done:,} of {total:,} users", highlight=False)
            last = now

    return show
