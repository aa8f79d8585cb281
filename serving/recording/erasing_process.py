"""`python -m serving.workers.idle serving.recording.erasing_process`: runs a pass of erasures.

As the order on its input says; prints what it has done, as JSON. Started by `erasing`.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from marquee.errors import MarqueeError
from marquee.store.ledger.erasing import open_ledger_erasure
from marquee.store.log.opening import open_event_log
from marquee.store.people.erasing.eraser import PassReport, Places
from marquee.store.people.erasing.opening import open_receipts
from marquee.store.people.opening import open_users
from serving.recording.erasing_terms import Order

RESTS_PER_WORK = 6.0
"""Seconds of rest for each second of processor time that a pass takes.

What cores share when answers come first on each, such as caches, the way to memory and the disk, then slows
one answer in seven at most: p99 of answers is 1.2 times that without a pass, with half the rests 1.5 times.
Ten million rows take 5 s, and 38 s with rests, of the minute that they may take.
"""

_MOST_REST_S = 180.0


class Rests:
    """Rests as the work done since the last rest says.

    Args:
        worked: Returns the processor time of this process, seconds.
        sleep: Sleeps so many seconds.
    """

    def __init__(
        self, worked: Callable[[], float] = time.process_time, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._worked = worked
        self._sleep = sleep
        self._before = worked()
        # A log of hundreds of millions of rows must be through before the pass is ended for taking too long.
        self._left = _MOST_REST_S

    def __call__(self) -> None:
        """Rests once."""
        # Not by the clock: on busy cores a pass waits for them, and that was no work.
        seconds = min(RESTS_PER_WORK * (self._worked() - self._before), self._left)
        self._left -= seconds
        self._sleep(seconds)
        self._before = self._worked()


def run(order: Order, rest: Callable[[], None] = lambda: None) -> PassReport | None:
    """Runs a pass; returns None if another process closes days or runs one.

    Args:
        order: What is asked for.
        rest: Called where others may go first.

    Raises:
        EventLogError: If a store refuses.
        ConfigError: If one can never be used, or the key for receipts cannot.
        OSError: If a disk refuses.
    """
    log, users, receipts = open_event_log(order.where), open_users(order.where), open_receipts(order.where)
    ledger = open_ledger_erasure(order.where)
    try:
        places = Places(log, Path(order.closed) if order.closed else None, users, receipts, ledger)
        return order.terms.eraser(places, order.settle_s, rest).run(order.now)
    finally:
        for store in (log, users, receipts, ledger):
            store.close()


def main() -> int:
    """Runs a pass; returns the exit status."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    try:
        report = run(order, Rests())
    except (MarqueeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
