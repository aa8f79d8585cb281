"""Tells the service what somebody did, and shows that the next answer knows it."""

import hashlib
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from demo.errors import DemoError
from demo.questions import Question, choose_questions, problems, titles
from demo.screen import show_answer
from marquee.bundle.bundle import Bundle
from marquee.client import Client, EventMessage, RecommendAnswer, ServiceError

# Five seconds with the pause: a profile that is not read by then is a fault, not a busy machine.
_N_TRIES = 50
_PAUSE_S = 0.1
_SCOPES = ("recommend", "events", "rules", "users", "campaigns")
RATING = 5.0
"""An event of kind `rating` is rejected without a value."""


@dataclass(frozen=True)
class EventLoop:
    """A key and a place to keep events: all that the service needs to take them.

    Attributes:
        key: Good for asking and for telling.
        environment: Further settings of the service.
        log: Folder of the events.
    """

    key: str
    environment: Mapping[str, str]
    log: Path

    @classmethod
    def make(cls, folder: Path) -> "EventLoop":
        """Returns the event loop of a run, whose log and file of keys lie in its folder."""
        folder.mkdir(parents=True, exist_ok=True)
        # Events need a key even on loopback (`Right.needs_keys`).
        key = secrets.token_urlsafe(32)
        # The file of keys holds hashes alone.
        digest = hashlib.sha256(key.encode()).hexdigest()
        entry = {"name": "demo", "sha256": digest, "scopes": [*_SCOPES]}
        keys = folder / "keys.json"
        keys.write_text(json.dumps({"keys": [entry]}), encoding="utf8")
        log = folder / "events"
        return cls(key, {"MARQUEE_KEYS": str(keys), "MARQUEE_EVENTS": str(log)}, log)


def click_and_ask_again(console: Console, client: Client, bundle: Bundle, k: int) -> list[str]:
    """Has somebody whom nobody knows click the first item that they are shown, and asks again.

    Returns:
        Reasons why the second answer makes no sense; none if it does.

    Raises:
        DemoError: If the service takes no event, or gives no answer.
    """
    known = frozenset(bundle.user_ids.ids)
    question = next(one for one in choose_questions(bundle, k) if one.user_id and one.user_id not in known)
    try:
        before = client.recommend(question.request())
        clicked = before.items[0].item_id
        told = client.send_events([_event(bundle, question, before)])
        # A rejected row is told in the counts of a reply of status 200, and raises nothing.
        if told.accepted != 1:
            raise DemoError(f"the service must keep the event, got {told}; see its log")
        started = time.perf_counter()
        after = _ask_with_profile(client, question)
    except ServiceError as error:
        raise DemoError(f"the service did not take part in the event loop: {error}") from error
    latency_ms = (time.perf_counter() - started) * 1000
    names = titles(bundle.catalog)
    console.print(
        f"\n{escape(question.user_id or '')} was shown {escape(names.get(clicked, clicked))} first, and "
        f"clicks it: 1 event is on disk, of decision {before.decision_id}",
        highlight=False,
    )
    # The clicked item in `seen`: an answer that repeats it has not read the event.
    again = replace(question, who="the same user", recent=(clicked,), seen=frozenset({clicked}))
    found = [*problems(again, after), *_unchanged(before, after)]
    show_answer(console, again, after, latency_ms, names, found)
    return found


def _event(bundle: Bundle, question: Question, answer: RecommendAnswer) -> EventMessage:
    """Returns the event of the bundle's first kind that the first item of an answer leads to."""
    # Kinds have the names of the data set: `click` need not be among them.
    kind = next(iter(bundle.manifest.kinds.configs))
    return EventMessage(
        kind=kind,
        item_id=answer.items[0].item_id,
        timestamp=int(time.time()),
        user_id=question.user_id,
        decision_id=answer.decision_id,
        value=RATING if kind == "rating" else None,
    )


def _ask_with_profile(client: Client, question: Question) -> RecommendAnswer:
    """Returns the first answer that knows what the user did: a busy machine may have no time for that."""
    answer = client.recommend(question.request())
    for _ in range(_N_TRIES):
        # `profile` says why an answer goes without one; None: it was read.
        if answer.profile is None:
            break
        time.sleep(_PAUSE_S)
        answer = client.recommend(question.request())
    return answer


def _unchanged(before: RecommendAnswer, after: RecommendAnswer) -> Iterator[str]:
    """Yields that an answer has not changed, if it has not."""
    if [item.item_id for item in before.items] == [item.item_id for item in after.items]:
        yield "the answer is the same as before the click"
    if after.profile is not None:
        yield f"the answer goes without what the user did: profile {after.profile}"
