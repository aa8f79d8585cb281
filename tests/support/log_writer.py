"""A process that writes events into a log until it is killed, and says which were acknowledged.

`python -m tests.support.log_writer WHERE NAME`: batches of ten, each told on a line of its own once `append`
has returned. Two batches in three go out again, as callers do that got no answer.
"""

import subprocess
import sys
from itertools import count
from pathlib import Path

from marquee.store.log.event_log import Event, Kept
from marquee.store.log.opening import open_event_log
from tests.support.paths import ROOT

BATCH = 10
NOW = 1_700_000_000


def start_writer(where: Path | str, name: str) -> subprocess.Popen[str]:
    """Returns a process that has begun to write."""
    command = [sys.executable, "-m", "tests.support.log_writer", str(where), name]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def acknowledged(writer: subprocess.Popen[str], n_lines: int | None) -> set[str]:
    """Returns the ids of the next batches that a writer tells; of all that are left if None."""
    assert writer.stdout is not None
    lines = (
        writer.stdout.readlines() if n_lines is None else [writer.stdout.readline() for _ in range(n_lines)]
    )
    if n_lines is None:
        writer.stdout.close()
    return {event_id for line in lines if line.endswith("\n") for event_id in line.split()}


def main() -> None:
    """Writes until killed."""
    where, name = sys.argv[1:]
    log = open_event_log(where)
    for number in count():
        ids = [f"{name}-{number}-{i}" for i in range(BATCH)]
        events = [
            Event(
                event_id=event_id,
                kind="click",
                item_id="a",
                timestamp=NOW,
                sent_timestamp=NOW,
                received=NOW,
                user_id=f"u{number % 7}",
            )
            for event_id in ids
        ]
        outcomes = log.append(events)
        assert outcomes == [Kept.accepted] * BATCH, outcomes
        print(*ids, flush=True)
        if number % 3:
            again = log.append(events)
            assert again == [Kept.repeated] * BATCH, again


if __name__ == "__main__":
    main()
