"""Publishes bundles that die: `python -m tests.integration.publisher FOLDER`.

For each step n of publishing, a child process of its own publishes one bundle into FOLDER/n, then begins
a second one and ends at step n as if its power were cut. Stops at the first n that publishing survives.
Children are forked before anything has run that starts threads, so that one start of Python is enough.
"""

import os
import sys
from pathlib import Path

from tests.bundles import publish_tiny

KILLED = 9


class PowerCut:
    """Ends the process at the n-th step."""

    def __init__(self, n: int) -> None:
        self.steps_left = n

    def __call__(self, step: str) -> None:
        """Counts one step."""
        if self.steps_left == 0:
            os.write(1, f"{step}\n".encode())
            os._exit(KILLED)
        self.steps_left -= 1


def publish_twice(folder: Path, n: int) -> None:
    """Publishes one bundle, then another one that dies at step n."""
    publish_tiny(folder, seed=0)
    publish_tiny(folder, seed=1, on_step=PowerCut(n))


def main(folder: Path) -> None:
    """Publishes until publishing survives."""
    status, n = KILLED, 0
    while status == KILLED:
        child = os.fork()
        if child == 0:
            publish_twice(folder / str(n), n)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        n += 1
    sys.exit(status)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
