"""`python -m serving.workers.idle serving.recording.closing_process`: closes days.

As the order on its standard input says; prints what has moved, as JSON. Started by `closing`; loads nothing
of the service.
"""

import sys
from pathlib import Path

import msgspec

from marquee.errors import MarqueeError
from marquee.store.log.closed_days import Known, close_days
from marquee.store.log.event_rows import EventLimits
from marquee.store.log.opening import open_event_log


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The days that may be closed.

    Attributes:
        where: The log.
        folder: Of the closed days.
        horizon_s: Age up to which an event is accepted, seconds.
        now: Seconds since 1970 UTC.
        known: What each release that answers knows.
    """

    where: str
    folder: str
    horizon_s: int
    now: int
    known: list[Known]


def main() -> int:
    """Closes days; returns the exit status."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    try:
        log = open_event_log(order.where)
        try:
            limits = EventLimits(order.horizon_s)
            moved = close_days(log, Path(order.folder), order.now, order.known, limits)
        finally:
            log.close()
    except (MarqueeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(moved))
    return 0


if __name__ == "__main__":
    sys.exit(main())
