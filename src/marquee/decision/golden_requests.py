"""Golden requests: requests that travel in a bundle with the answers that it gave when it was made.

A release must give these answers again before it answers anybody. Checksums prove that its files are the
same; golden requests find what computes with them otherwise: another version of a library, another processor,
a change of ours. Decides how much two answers may differ, and how golden requests are written down.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from marquee.bundle.bundle import Bundle
from marquee.bundle.manifest import GOLDEN_REQUESTS_FILE
from marquee.core.catalog import ItemKind
from marquee.core.ids import PADDING_INDEX
from marquee.core.plain import from_plain
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer, HistoryEvent, Request, Source
from marquee.errors import BundleError
from marquee.features.text import split_words
from marquee.features.values import read_category

# Eight of each kind that `sample_requests` makes.
N_GOLDEN_REQUESTS = 32
K = 10
# More than float32 loses to another order of summation, less than another model changes.
SCORE_TOLERANCE = 1e-4
"""By how much a score may differ, as a share of the largest of its answer (of 0.1 if that is smaller)."""

MIN_OVERLAP = 0.95
"""Mean share of the golden items that must come back: graph indexes may stray where rounding differs."""

_HISTORY_LENGTH = 20
_N_TEXTS, _N_WORDS = 4, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenRequest:
    """A request and what was answered.

    Attributes:
        request: What was asked, its time included.
        source: What the answer was made from.
        item_ids: Best first.
        scores: Of the items.
        probabilities: Of a click on each item at places 1, 2, …, and of a conversion after it; none where the
            bundle has no click head.
    """

    request: Request
    source: Source
    item_ids: tuple[str, ...]
    scores: tuple[float, ...]
    probabilities: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(
        cls, request: Request, answer: Answer, probabilities: tuple[tuple[float, float], ...] = ()
    ) -> "GoldenRequest":
        """Returns the golden request of a request and its answer."""
        return cls(
            request=request,
            source=answer.source,
            item_ids=tuple([item.item_id for item in answer.items]),
            scores=tuple([item.score for item in answer.items]),
            probabilities=probabilities,
        )


def to_json(golden: Sequence[GoldenRequest]) -> str:
    """Returns golden requests as text: the fields of each request, and beside them its answer.

    Raises:
        ValueError: If a number is not finite, which JSON cannot hold.
    """
    bodies = []
    for one in golden:
        body: dict[str, Any] = msgspec.to_builtins(one)
        request = body.pop("request")
        request["filters"] = request["filters"]["clauses"]
        del request["exploration"], request["decision_id"]  # what is drawn cannot be compared
        # Of the service and not of the release: a rehearsal must find the same next year.
        del request["rules"], request["ads"]
        bodies.append({**request, "answer": body})
    # Not msgspec's own encoder: it writes null for a number that is not finite.
    return json.dumps(bodies, ensure_ascii=False, allow_nan=False)


def from_json(text: str) -> tuple[GoldenRequest, ...]:
    """Returns the golden requests that `to_json` wrote, by this release or an earlier one.

    Raises:
        ValueError: If the text is anything else; the message says where.
    """
    golden = []
    for body in msgspec.json.decode(text, type=list[dict[str, Any]]):
        answer = msgspec.convert(body.pop("answer", {}), dict[str, Any])
        request = {**body, "filters": {"clauses": body.get("filters", [])}}
        one = from_plain({"request": request, **answer}, GoldenRequest)
        # JSON knows no tuples, and `Collection` does not ask for one: equal requests must read back equal.
        golden.append(replace(one, request=replace(one.request, exclude=tuple(one.request.exclude))))
    return tuple(golden)


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
    of item only, and requests without user or history; and a few by words, where items have texts.

    Args:
        bundle: Whose users and items are asked about.
        timestamp: Of all requests.
        rng: Chooses the users.
    """
    n_users = len(bundle.user_ids)
    users = rng.choice(np.arange(1, n_users + 1), size=min(n_users, N_GOLDEN_REQUESTS), replace=False)
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
    return [*requests, *(Request(timestamp=timestamp, k=K, query=words) for words in _words(bundle))]


def _words(bundle: Bundle) -> list[str]:
    """Returns the beginning of the texts of some items, evenly spaced."""
    if bundle.texts is None:
        return []
    attributes, column = bundle.catalog.attributes, bundle.texts.columns[0]
    texts = [read_category(text) for text in attributes[column]] if column in attributes.columns else []
    wanted = [split_words(text)[:_N_WORDS] for text in texts[:: max(1, len(texts) // _N_TEXTS)] if text]
    return [" ".join(words) for words in wanted[:_N_TEXTS] if words]


def make_golden_requests(recommender: Recommender, requests: Sequence[Request]) -> tuple[GoldenRequest, ...]:
    """Returns the requests with what is answered to them now."""
    answers = recommender.recommend(requests)
    return tuple(
        [
            GoldenRequest.of(request, answer, _probabilities(recommender, request, item_ids_of(answer)))
            for request, answer in zip(requests, answers, strict=True)
        ]
    )


def item_ids_of(answer: Answer) -> tuple[str, ...]:
    """Returns the items of an answer."""
    return tuple([item.item_id for item in answer.items])


def _probabilities(
    recommender: Recommender, request: Request, item_ids: Sequence[str]
) -> tuple[tuple[float, float], ...]:
    """Returns click and conversion of items at places 1, 2, …; none without a head, or where not finite."""
    scorer = recommender.scorer
    if scorer is None or not item_ids:
        return ()
    # By number: a golden request names no surface, and all places of training are to be asked for.
    places = 1 + np.arange(len(item_ids)) % max(len(scorer.head.places) - 1, 1)
    items = recommender.item_pool.table.encode(item_ids)
    said = scorer.probabilities(request, recommender.queries.encode([request]), 0, items, places)
    pairs = zip(said.click.tolist(), said.conversion.tolist(), strict=True)
    return tuple(pairs) if said.is_finite.all() else ()


def read_golden_requests(bundle: Bundle) -> tuple[GoldenRequest, ...]:
    """Returns a bundle's golden requests; raises BundleError if they cannot be read."""
    try:
        return from_json(bundle.golden_requests)
    except ValueError as error:
        raise BundleError(
            f"{GOLDEN_REQUESTS_FILE} in {bundle.path} cannot be read ({error!r}); export again"
        ) from error


def validate_golden_requests(recommender: Recommender) -> None:
    """Asks a recommender the golden requests of its bundle.

    Raises:
        BundleError: If they cannot be read, if it answers one from something else, with another number of
            items or with other scores, or if it answers all with too many other items.
    """
    golden = read_golden_requests(recommender.bundle)
    if not golden:
        return
    answers = recommender.recommend([one.request for one in golden])
    overlaps = []
    for number, (expected, answer) in enumerate(zip(golden, answers, strict=True)):
        problem = _difference(expected, answer) or _other_probabilities(recommender, expected)
        if problem:
            raise BundleError(
                f"release {recommender.version} answers golden request {number} otherwise than when it was "
                f"made: {problem}; serve it with the library versions that made it, or export it again"
            )
        overlaps.append(_overlap(expected, answer))
    # Over all answers: one of ten items that strays would be a tenth of its own answer.
    if np.mean(overlaps) < MIN_OVERLAP:
        raise BundleError(
            f"release {recommender.version} gives back {np.mean(overlaps):.3f} of the items of its "
            f"{len(golden)} golden requests, expected at least {MIN_OVERLAP}; export it again"
        )


def _difference(expected: GoldenRequest, answer: Answer) -> str:
    """Returns in what an answer differs beyond tolerance from the golden one, '' if in nothing."""
    if answer.source is not expected.source:
        return f"the source is {answer.source}, expected {expected.source}"
    if len(answer.items) != len(expected.item_ids):
        return f"{len(answer.items)} items, expected {len(expected.item_ids)}"
    scores = dict(zip(expected.item_ids, expected.scores, strict=True))
    tolerance = _tolerance(expected)
    for item in answer.items:
        # An item that is not golden has no golden score: the overlap counts it.
        wanted = scores.get(item.item_id, item.score)
        if not abs(item.score - wanted) <= tolerance:  # also if one is not a number
            return f"the score of {item.item_id!r} is {item.score}, expected {wanted}"
    return ""


def _other_probabilities(recommender: Recommender, expected: GoldenRequest) -> str:
    """Returns in what the probabilities of the golden items differ beyond tolerance, '' if in nothing."""
    if not expected.probabilities:
        return ""
    now = _probabilities(recommender, expected.request, expected.item_ids)
    if len(now) != len(expected.probabilities):
        return f"{len(now)} probabilities, expected {len(expected.probabilities)}"
    worst = float(np.abs(np.subtract(now, expected.probabilities)).max())
    return "" if worst <= SCORE_TOLERANCE else f"its probabilities are off by {worst:.2g}"


def _overlap(expected: GoldenRequest, answer: Answer) -> float:
    """Returns the share of the golden items that came back; one that ties with the last counts as back."""
    if not expected.item_ids:
        return 1.0
    # Another item may take the place of one that ties with the last: the model is the same.
    tied = expected.scores[-1] + _tolerance(expected)
    came_back = {item.item_id for item in answer.items}
    pairs = zip(expected.item_ids, expected.scores, strict=True)
    return sum(item_id in came_back or score <= tied for item_id, score in pairs) / len(expected.item_ids)


def _tolerance(expected: GoldenRequest) -> float:
    """Returns by how much a score of an answer may differ."""
    # Where all scores are near 0 there must still be room for rounding.
    return SCORE_TOLERANCE * max(0.1, *map(abs, expected.scores)) if expected.scores else 0.0


def _history(bundle: Bundle, user: int) -> tuple[HistoryEvent, ...]:
    """Returns the latest items that the bundle knows of a user, as a caller would tell them."""
    start, end = bundle.history_offsets[user : user + 2].tolist()
    items = bundle.history_items[start:end][-_HISTORY_LENGTH:]
    names = bundle.catalog.item_ids.decode(items[items != PADDING_INDEX].tolist())
    return tuple([HistoryEvent(name) for name in names])
