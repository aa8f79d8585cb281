"""Asks a bundle, before it answers anybody, what it answered when it was made.

Checksums prove that the files are the same; this proves that what reads and multiplies them is, too: another
version of a library, another processor, a change of ours. Decides how much two answers may differ.
"""

from collections.abc import Sequence

import numpy as np

from marquee.bundle.bundle import Bundle
from marquee.bundle.manifest import RECORDED_FILE
from marquee.core.catalog import ItemKind
from marquee.core.ids import PADDING_INDEX
from marquee.decision.golden_requests import RecordedRequest, from_json
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer, HistoryEvent, Request
from marquee.errors import BundleError

N_RECORDED = 32
K = 10
SCORE_TOLERANCE = 1e-4
"""By how much a score may differ, as a share of the largest of its answer (of 0.1 if that is smaller)."""

MIN_OVERLAP = 0.95
"""Mean share of the recorded items that must come back: graph indexes may stray where rounding differs."""

_HISTORY_LENGTH = 20


def overlap_at_k(expected: Sequence[str], actual: Sequence[str]) -> float:
    """Returns the share of the expected items that came back, in [0, 1]; 1 if none was expected.

    Example:
        >>> overlap_at_k(["a", "b"], ["b", "c"])
        0.5
    """
    return len(set(expected) & set(actual)) / len(expected) if expected else 1.0


def sample_requests(bundle: Bundle, timestamp: int, rng: np.random.Generator) -> list[Request]:
    """Returns requests of every kind that a service meets, about known users of the bundle.

    A quarter each: known users, the histories of such users without their names, the same for one kind
    of item only, and nobody with nothing.

    Args:
        bundle: Whose users and items are asked about.
        timestamp: Of all requests.
        rng: Chooses the users.
    """
    n_users = len(bundle.user_ids)
    users = rng.choice(np.arange(1, n_users + 1), size=min(n_users, N_RECORDED), replace=False)
    requests: list[Request] = []
    for number, user in enumerate(users.tolist()):
        history = _history(bundle, user)
        kind = list(ItemKind)[number // 4 % len(ItemKind)]
        requests.append(
            (
                Request(timestamp=timestamp, k=K, user_id=bundle.user_ids.ids[user - 1]),
                Request(timestamp=timestamp, k=K, history=history),
                Request(timestamp=timestamp, k=K, history=history, kind=kind),
                Request(timestamp=timestamp, k=K, kind=kind),
            )[number % 4]
        )
    return requests


def record(recommender: Recommender, requests: Sequence[Request]) -> tuple[RecordedRequest, ...]:
    """Returns the requests with what is answered to them now."""
    answers = recommender.recommend(requests)
    return tuple([RecordedRequest.of(*pair) for pair in zip(requests, answers, strict=True)])


def read_recorded(bundle: Bundle) -> tuple[RecordedRequest, ...]:
    """Returns the requests that a bundle has recorded; raises BundleError if they cannot be read."""
    try:
        return from_json(bundle.recorded)
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{RECORDED_FILE} in {bundle.path} cannot be read ({error!r}); export again"
        ) from error


def rehearse(recommender: Recommender) -> None:
    """Asks a recommender the requests that its bundle has recorded.

    Raises:
        BundleError: If they cannot be read, if it answers one from something else, with another number of
            items or with other scores, or if it answers all with too many other items.
    """
    recorded = read_recorded(recommender.bundle)
    if not recorded:
        return
    answers = recommender.recommend([one.request for one in recorded])
    overlaps = []
    for number, (expected, answer) in enumerate(zip(recorded, answers, strict=True)):
        problem = _difference(expected, answer)
        if problem:
            raise BundleError(
                f"release {recommender.version} answers recorded request {number} otherwise than when it was "
                f"made: {problem}; serve it with the library versions that made it, or export it again"
            )
        overlaps.append(_overlap(expected, answer))
    if np.mean(overlaps) < MIN_OVERLAP:
        raise BundleError(
            f"release {recommender.version} gives back {np.mean(overlaps):.3f} of the items of its "
            f"{len(recorded)} recorded requests, expected at least {MIN_OVERLAP}; export it again"
        )


def _difference(expected: RecordedRequest, answer: Answer) -> str:
    """Returns in what an answer differs beyond tolerance from the recorded one, '' if in nothing."""
    if answer.source is not expected.source:
        return f"the source is {answer.source}, expected {expected.source}"
    if len(answer.items) != len(expected.item_ids):
        return f"{len(answer.items)} items, expected {len(expected.item_ids)}"
    scores = dict(zip(expected.item_ids, expected.scores, strict=True))
    tolerance = _tolerance(expected)
    for item in answer.items:
        wanted = scores.get(item.item_id, item.score)
        if not abs(item.score - wanted) <= tolerance:  # also if one is not a number
            return f"the score of {item.item_id!r} is {item.score}, expected {wanted}"
    return ""


def _overlap(expected: RecordedRequest, answer: Answer) -> float:
    """Returns the share of the recorded items that came back; one that ties with the last counts as back."""
    if not expected.item_ids:
        return 1.0
    tied = expected.scores[-1] + _tolerance(expected)
    came_back = {item.item_id for item in answer.items}
    pairs = zip(expected.item_ids, expected.scores, strict=True)
    return sum(item_id in came_back or score <= tied for item_id, score in pairs) / len(expected.item_ids)


def _tolerance(expected: RecordedRequest) -> float:
    """Returns by how much a score of an answer may differ."""
    return SCORE_TOLERANCE * max(0.1, *map(abs, expected.scores)) if expected.scores else 0.0


def _history(bundle: Bundle, user: int) -> tuple[HistoryEvent, ...]:
    """Returns the latest items that the bundle knows of a user, as a caller would tell them."""
    start, end = bundle.history_offsets[user : user + 2].tolist()
    items = bundle.history_items[start:end][-_HISTORY_LENGTH:]
    names = bundle.catalog.item_ids.decode(items[items != PADDING_INDEX].tolist())
    return tuple([HistoryEvent(name) for name in names])
