"""Sets judged runs side by side, from what each left in its folder: nothing is trained or ranked again."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from marquee.evaluation.comparison import JudgedUsers
from marquee.reports import ComparedRun, compare_runs, render_comparison
from training.config import as_plain
from training.runs.folders import RunFolder

USERS_FILE = "evaluation.npz"
PAGE_FILE = "comparison.html"
NUMBERS_FILE = "comparison.json"


def compare(runs: Sequence[str], metric: str, folder: Path | None, console: Console) -> Path:
    """Prints who is better, writes the side-by-side page and its numbers, and returns the page's path.

    Args:
        runs: Folders of judged runs; the first is what the others are set beside.
        metric: What the verdicts are about; empty for the headline of the first run.
        folder: Where to write; None for the folder of the last run.
        console: Shows the verdicts.

    Raises:
        ConfigError: If a folder is no run.
        DataError: If a run was not judged, or the runs have nothing in common.
    """
    found = [RunFolder.find(run) for run in runs]
    # Runs of several data sets may have begun in the same second.
    is_distinct = len({run.path.name for run in found}) == len(found)
    comparison = compare_runs(
        [
            ComparedRun(
                name=run.path.name if is_distinct else str(run.path),
                users=JudgedUsers.read(run.path / USERS_FILE),
                settings=dict(_flat(as_plain(run.read_config()))),
            )
            for run in found
        ],
        metric,
    )
    # The last one is what is new, the others what it is held against.
    folder = folder or found[-1].path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NUMBERS_FILE).write_text(json.dumps(comparison.to_json_dict(), indent=1), encoding="utf-8")
    page = folder / PAGE_FILE
    page.write_text(render_comparison(comparison), encoding="utf-8")
    for line in (*comparison.sentences, *(f"warning: {warning}" for warning in comparison.warnings)):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(f"comparison {page}", highlight=False, soft_wrap=True)
    return page


def _flat(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields `section.key` → value of nested settings."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            # An empty mapping is a value of its own, and would vanish from the comparison.
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
