"""Makes a release ready to answer: verify, load, ask it what it was asked when it was made, warm it up.

Whatever is wrong with it is found here, before it answers anybody. One worker of a machine loads at a time,
and lets those go first that answer.
"""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from marquee.bundle.manifest import MANIFEST
from marquee.core.catalog import ItemKind
from marquee.decision.golden_requests import read_golden_requests, validate_golden_requests
from marquee.decision.recommender import Recommender
from marquee.decision.requests import HistoryEvent, Request
from marquee.errors import BundleError, BundleNotFoundError
from marquee.store.signing import TrustedKeys

WARM_UP_BATCHES = (1, 4, 32)
_NICENESS = 15


def load_release(folder: Path, trusted: TrustedKeys | None) -> Recommender:
    """Returns the warm recommender of a release; one worker at a time loads it.

    Args:
        folder: Of one version.
        trusted: Whose releases are taken; None for anybody's.

    Raises:
        BundleError: If it must not answer; the message says why.
    """
    with _only_loader(folder):
        recommender = Recommender.load(folder, trusted)
        validate_golden_requests(recommender)
        warm_up(recommender)
    return recommender


def warm_up(recommender: Recommender) -> None:
    """Sends every kind of request through the model, in batches of one and of many.

    Raises:
        BundleError: If the model answers one of them with no numbers.
    """
    item_ids = recommender.bundle.catalog.item_ids.ids[:3]
    user_ids = recommender.bundle.user_ids.ids[:1]
    timestamp = int(time.time())
    history = tuple(HistoryEvent(item_id) for item_id in item_ids)
    requests = [
        Request(timestamp=timestamp),
        Request(timestamp=timestamp, history=history),
        *(
            Request(timestamp=timestamp, user_id=user_id, kind=kind)
            for user_id in user_ids
            for kind in ItemKind
        ),
        *(one.request for one in read_golden_requests(recommender.bundle)),
    ]
    for batch in WARM_UP_BATCHES:
        answers = recommender.recommend([requests[position % len(requests)] for position in range(batch)])
        for answer in answers:
            if answer.fallback_reason:
                raise BundleError(
                    f"release {recommender.version} fails its first requests: {answer.fallback_reason}; "
                    "train again"
                )
    for item_id in item_ids:
        recommender.similar(item_id, k=10, kind=None, exclude=(), timestamp=timestamp)


def be_nice() -> None:
    """Lets the calling thread wait for those that answer: loading must not slow requests down."""
    with suppress(OSError, AttributeError):  # AttributeError: not on this system
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


@contextmanager
def _only_loader(folder: Path) -> Iterator[None]:
    """Waits until no other worker loads the release: else every core would load and none would answer."""
    try:
        manifest = (folder / MANIFEST).open("rb")
    except OSError as error:
        raise BundleNotFoundError(
            f"{folder} has no readable {MANIFEST}: {error}; publish it again"
        ) from error
    with manifest:
        with suppress(OSError):  # a file system without locks: workers then load at the same time
            fcntl.flock(manifest, fcntl.LOCK_EX)
        yield
