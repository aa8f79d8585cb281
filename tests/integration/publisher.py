"""Publishes bundles that die: `python -m tests.integration.publisher FOLDER`.

For each step n of publishing, a child process of its own publishes one bundle into FOLDER/publish/n, then
begins a second, signed one and ends at step n as if its power were cut; in FOLDER/copy/n the second one is a
copy. Stops at the first n that publishing survives. Children are forked before anything has run that starts
threads, so that one start of Python is enough.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from marquee.bundle.publishing import publish_copy
from marquee.store.files import watching_steps
from marquee.store.signing import SigningKey, write_key_pair
from tests.support.bundles import publish_tiny

KILLED = 9
KEY = "key"
ORIGINALS = "originals"


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
    key = SigningKey.read(folder.parents[1] / KEY)
    publish_tiny(folder, seed=0)
    with watching_steps(PowerCut(n)):
        publish_tiny(folder, seed=1, signing_key=key)


def publish_originals(folder: Path) -> None:
    """Publishes the two bundles that are copied."""
    for seed in range(2):
        publish_tiny(folder / ORIGINALS, seed=seed)


def copy_twice(folder: Path, n: int) -> None:
    """Copies one bundle, then another one and dies at step n."""
    key = SigningKey.read(folder.parents[1] / KEY)
    first, second = sorted((folder.parents[1] / ORIGINALS / "tiny").glob("[0-9]*/"))
    publish_copy(first, folder)
    with watching_steps(PowerCut(n)):
        publish_copy(second, folder, signing_key=key)


def run_in_a_child(work: Callable[[], None]) -> int:
    """Returns how a child process ended that did some work."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run_until_it_survives(folder: Path, attempt: Callable[[Path, int], None]) -> None:
    """Lets one child after the other die one step later, until one lives."""
    status, n = KILLED, 0
    while status == KILLED:
        status = run_in_a_child(partial(attempt, folder / str(n), n))
        n += 1
    if status:
        sys.exit(status)


def main(folder: Path) -> None:
    """Kills publishers, then copiers."""
    write_key_pair(folder / KEY)
    run_in_a_child(partial(publish_originals, folder))
    for name, attempt in (("publish", publish_twice), ("copy", copy_twice)):
        os.write(1, f"{name}:\n".encode())
        run_until_it_survives(folder / name, attempt)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
