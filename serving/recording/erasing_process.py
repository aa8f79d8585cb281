"""`python -m serving.recording.erasing_process`: runs a pass of erasures as the order on its input says.

Prints what it has done, as JSON. Started by `erasing`.
"""

import os
import sys
from pathlib import Path

import msgspec

from marquee.errors import MarqueeError
from marquee.store.ledger.erasing import open_ledger_erasure
from marquee.store.log.opening import open_event_log
from marquee.store.people.erasing.eraser import PassReport, Places
from marquee.store.people.erasing.opening import open_receipts
from marquee.store.people.opening import open_users
from serving.recording.erasing_terms import Order

# Answers come first: they wait for the same cores.
_NICENESS = 10


def run(order: Order) -> PassReport | None:
    """Runs a pass; returns None if another process closes days or runs one.

    Raises:
        EventLogError: If a store refuses.
        ConfigError: If one can never be used, or the key for receipts cannot.
        OSError: If a disk refuses.
    """
    log, users, receipts = open_event_log(order.where), open_users(order.where), open_receipts(order.where)
    ledger = open_ledger_erasure(order.where)
    try:
        places = Places(log, Path(order.closed) if order.closed else None, users, receipts, ledger)
        return order.terms.eraser(places, order.settle_s).run(order.now)
    finally:
        for store in (log, users, receipts, ledger):
            store.close()


def main() -> int:
    """Runs a pass; returns the exit status."""
    os.nice(_NICENESS)
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    try:
        report = run(order)
    except (MarqueeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
