"""How far a plan is: bars on a terminal, a line now and then elsewhere."""

import io

from rich.console import Console

from training.distributed.progress import task_progress


def test_file_gets_a_line_now_and_then() -> None:
    said, times = io.StringIO(), iter([0.0, 1.0, 31.0, 32.0])
    with task_progress(Console(file=said), lambda: next(times)) as progress:
        for done in range(3):
            progress("building shards", done, 2_000)
    assert said.getvalue() == "building shards: 1 of 2,000 tasks\n"


def test_terminal_gets_a_bar_for_each_stage_that_goes_away() -> None:
    said = io.StringIO()
    console = Console(file=said, force_terminal=True, width=80)
    # As an export shows it: within a spinner of its own.
    with console.status("exporting"), task_progress(console) as progress:
        for stage in ("learning centres", "merging shards"):
            progress(stage, 1, 1)
    assert "learning centres" in said.getvalue()
    assert "merging shards" in said.getvalue()
    assert "1/1" in said.getvalue()
