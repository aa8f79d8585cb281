"""Runs a pass of erasures now: the command `python -m serving.erase`.

Reads the settings of the service (`MARQUEE_…`). The service runs passes by itself, when half the time of an
erasure is over; this is for whoever does not want to wait. `settle_s=0` also takes erasures of this very
minute; a worker that still had a row of such a person in hand may then write it after the pass.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from marquee.errors import ConfigError, MarqueeError
from marquee.store.log.opening import folder_of_closed_days
from marquee.store.people.erasing.eraser import SETTLE_S
from serving.config import Settings
from serving.recording.erasing_process import run
from serving.recording.erasing_terms import Order, Terms
from serving.releases.surface_file import SurfaceFile

USAGE = f"usage: python -m serving.erase [settle_s={SETTLE_S}]"


def main(arguments: Sequence[str]) -> int:
    """Runs a pass and says what it did; returns the exit status."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    settle = given.pop("settle_s", str(SETTLE_S))
    if given or not settle.isdecimal():
        print(USAGE, file=sys.stderr)
        return 2
    try:
        report = run(order_of(Settings.from_environment(), int(time.time()), int(settle)))
    except (MarqueeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    if report is None:
        print("another process closes days or erases; try again when it is done", file=sys.stderr)
        return 1
    # The next pass finishes what this one could not.
    left = (
        ""
        if report.is_wiped
        else "; readers kept the bytes of deleted rows from being overwritten, try again"
    )
    print(f"{report.finished} erasures finished, {report.expired} old rows deleted{left}")
    return 0 if report.is_wiped else 1


def order_of(settings: Settings, now: int, settle_s: int) -> Order:
    """Returns the order of a pass; raises ConfigError where nobody can be erased."""
    if not settings.events or not settings.user_key:
        raise ConfigError(
            f"an erasure needs MARQUEE_EVENTS and MARQUEE_USER_KEY, got {settings.events!r} and "
            f"{settings.user_key!r}; set them as the service has them"
        )
    closed = folder_of_closed_days(settings.events, settings.closed_days)
    channels = {Path(surface.bundle) for surface in SurfaceFile.read(settings).surfaces}
    return Order(
        where=settings.events,
        closed=str(closed) if closed else None,
        terms=Terms.of(settings, channels, settings.max_release_age_days),
        now=now,
        settle_s=settle_s,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
