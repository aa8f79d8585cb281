"""A crowd follows a trend: many people click what few had clicked before, told through the running service.

One person's click trains no model. These clicks are made up, of people and items that the bundle knows; they
come by the same road as those of an app, and the served release cannot know them.
"""

import time
from dataclasses import dataclass

import numpy as np

from demo.errors import DemoError
from demo.telling import RATING
from marquee.bundle.bundle import Bundle
from marquee.client import Client, EventMessage, ServiceError

MAX_PEOPLE = 300
N_ITEMS = 12
N_BEFORE, N_AFTER = 4, 2
"""Clicks of each person that are trained on, and those that are judged by."""

_SECONDS_BEFORE, _SECONDS_AFTER = 120, 60
# A trend among much else: if it were most of what happens, a list of what is popular would do.
_KNOWN_EVENTS_PER_PERSON = 60


@dataclass(frozen=True)
class Trend:
    """A trend that was told.

    Attributes:
        n_people: How many follow it.
        items: What they click.
        person: One of them.
        clicked: What that one clicked, oldest first.
        n_events: Clicks that the service has kept.
        judged_from: First second of the clicks that the next model is judged by, since 1970 UTC.
    """

    n_people: int
    items: frozenset[str]
    person: str
    clicked: tuple[str, ...]
    n_events: int
    judged_from: int


def follow_a_trend(client: Client, bundle: Bundle) -> Trend | None:
    """Has a crowd click items of a trend; None where the bundle knows too few items for one.

    Raises:
        DemoError: If the service does not keep every event.
    """
    rng = np.random.default_rng(0)
    items = _rare_items(bundle, int(time.time()))
    if len(items) < N_BEFORE + N_AFTER:
        return None
    people = sorted(bundle.user_ids.ids)
    n_people = min(MAX_PEOPLE, max(N_ITEMS, len(bundle.history_items) // _KNOWN_EVENTS_PER_PERSON))
    chosen = [people[row] for row in rng.permutation(len(people))[:n_people]]
    now = int(time.time())
    judged_from = now - _SECONDS_AFTER
    events = []
    for person in chosen:
        # Each item once: what somebody has clicked is not recommended again, and not judged.
        drawn = rng.permutation(len(items))[: N_BEFORE + N_AFTER]
        before = now - _SECONDS_BEFORE + rng.integers(0, _SECONDS_BEFORE - _SECONDS_AFTER, N_BEFORE)
        after = judged_from + rng.integers(0, _SECONDS_AFTER, N_AFTER)
        times = np.sort(np.concatenate([before, after])).tolist()
        events += [_event(bundle, person, items[item], at) for item, at in zip(drawn, times, strict=True)]
    try:
        told = client.send_events(events)
    except ServiceError as error:
        raise DemoError(f"the service did not keep what a crowd did: {error}") from error
    if told.accepted != len(events):
        raise DemoError(f"the service must keep {len(events)} events, got {told}; see its log")
    clicked = tuple(event.item_id for event in events if event.user_id == chosen[0])
    return Trend(len(chosen), frozenset(items), chosen[0], clicked, told.accepted, judged_from)


def _event(bundle: Bundle, person: str, item: str, at: int) -> EventMessage:
    """Returns an event of the first kind that counts."""
    kind = next(iter(bundle.manifest.kinds.configs))
    return EventMessage(
        kind=kind, item_id=item, timestamp=at, user_id=person, value=RATING if kind == "rating" else None
    )


def _rare_items(bundle: Bundle, now: int) -> list[str]:
    """Returns the items that were chosen least so far, of those that may be shown now."""
    catalog = bundle.catalog
    # Row 0 is padding; ads come and go with their campaigns.
    is_shown = (catalog.available_from <= now) & (now < catalog.available_until) & ~catalog.is_ad
    is_shown[0] = False
    # Items that nobody chose may be in no training part: their vectors come from features alone.
    candidates = np.flatnonzero(is_shown & (bundle.popularity > 0))
    rarest = candidates[np.argsort(bundle.popularity[candidates], kind="stable")][:N_ITEMS]
    return bundle.catalog.item_ids.decode(rarest)
