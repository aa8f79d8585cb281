"""One route, and how a request finds its own.

A `Route` is one row of the table in `routes`. Dispatch, rights, labels of counters, aliases without `/v1` and
the OpenAPI document follow from it; nothing about a route stands anywhere else.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import unquote

import msgspec

from serving.api.examples import Json
from serving.api.messages.reading import Reader, reader
from serving.config import Settings
from serving.http.errors import ErrorAnswer, Problem
from serving.http.exchange import Reply
from serving.http.guard import Right

VERSION_PREFIX = "/v1"
"""Every path that begins with it is also served without it."""

Handler = Callable[..., Awaitable[msgspec.Struct | Reply]]
"""A method of a class of handlers: `(self, call)`, and the message as well where the route has one.

Where the route streams its body, the chunks of it come in place of the message.
"""
Chunks = AsyncIterator[bytes]
"""The pieces of a body as they come."""

_PARAMETER = re.compile(r"\{(\w+)\}")


class Tag(Enum):
    """The groups of the document: a title, and what the group is about."""

    asking = ("asking", "What an app asks: recommendations, similar items, which bundle answers.")
    events = ("events", "What happened: what an app tells, which the next answer takes into account.")
    users = ("users", "What users let be known of them.")
    customers = ("customers", "What a run of customers computed: scores and audiences.")
    items = ("items", "Items that come and go between releases.")
    rules = ("rules", "What people decide about answers: pinned, blocked and boosted items.")
    campaigns = ("campaigns", "Who pays to be shown, to whom, when and for how much.")
    exchange = ("exchange", "Bids for the impressions of others, by OpenRTB.")
    releases = ("releases", "Which release answers, and which ones are tried beside it.")
    operating = ("operating", "Health and counters.")

    def __init__(self, title: str, description: str) -> None:
        self.title = title
        self.description = description


def ordinary_body(settings: Settings) -> int:
    """Returns the largest body of most routes, in bytes."""
    return settings.max_body_bytes


def body_of_events(settings: Settings) -> int:
    """Returns the largest body of events, in bytes."""
    return settings.max_events_bytes


@dataclass(frozen=True, kw_only=True)
class Route:
    """One row of the table.

    Attributes:
        method: HTTP method; GET answers HEAD as well.
        path: Canonical path; `{name}` stands for one parameter.
        operation: The operation's name in the document and in generated clients.
        summary: One sentence for people who look for a route.
        description: What they should know before they use it.
        tag: Group in the document; None leaves the route out of it.
        right: What a key must permit; None for a page that anybody may see, whatever the keys.
        message: Type of the body, of each line where it is streamed; None for a route that reads none.
        answer: Type of the answer; None for a `Reply` that is not one of our messages.
        more_for: What a key must permit for an answer that tells all; None where there is no less.
        handler: Function of a class whose instance is given to the application.
        examples: Bodies by title, one at least where there is a message.
        answer_example: An answer; text where the answer is no JSON.
        query: Query parameters by name, each with its description. Any other parameter is refused.
        problems: Words with which it refuses beside those that follow from the rest of the row.
        refusals: Answers with which it refuses, by word, where they tell more than others do.
        sheds_load: Whether it is refused before its body is read while the model has too much to do.
        accepted: Says when the status is 202 in place of 200; empty for never.
        streams_body: Whether the body is JSON lines of any length, which the handler gets in chunks.
        max_body_bytes: Returns the largest body, the longest line where it is streamed.
        make_reader: Makes what reads the message.
    """

    method: str
    path: str
    operation: str
    summary: str
    description: str
    tag: Tag | None
    right: Right | None
    handler: Handler
    more_for: Right | None = None
    message: type[msgspec.Struct] | None = None
    answer: type[msgspec.Struct] | None = None
    examples: Mapping[str, Json] = field(default_factory=dict)
    answer_example: Json | str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    refusals: Mapping[Problem, type[ErrorAnswer]] = field(default_factory=dict)
    sheds_load: bool = False
    accepted: str = ""
    streams_body: bool = False
    max_body_bytes: Callable[[Settings], int] = ordinary_body
    make_reader: Callable[[type[msgspec.Struct]], Reader[msgspec.Struct]] = reader

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters in the path."""
        return tuple(_PARAMETER.findall(self.path))


@dataclass(frozen=True, slots=True)
class Found:
    """The routes at a path.

    Attributes:
        path: Canonical path, with names in place of parameters: the label of counters.
        routes: Routes by method.
        parameters: Values of the parameters, decoded.
    """

    path: str
    routes: Mapping[str, Route]
    parameters: Mapping[str, str]


class RouteTable:
    """Finds what is served at a path.

    Args:
        routes: All rows.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        by_path: dict[str, dict[str, Route]] = {}
        for route in routes:
            of_path = by_path.setdefault(route.path, {})
            assert route.method not in of_path, f"{route.method} {route.path} stands twice in the table"
            of_path[route.method] = route
        self._plain: dict[str, Found] = {}
        patterns: list[tuple[re.Pattern[str], str, dict[str, Route]]] = []
        for path, of_path in by_path.items():
            if _PARAMETER.search(path):
                patterns.append((_pattern(path), path, of_path))
            else:
                for alias in {path, path.removeprefix(VERSION_PREFIX)}:
                    self._plain[alias] = Found(path, of_path, {})
        # The last parameter takes what is left, slashes included: paths that end in a word are tried first.
        self._patterns = sorted(patterns, key=lambda pattern: pattern[1].endswith("}"))

    def find(self, path: str, raw_path: bytes | None, method: str = "") -> Found | None:
        """Returns the routes at a path by method, None if there is none.

        Args:
            path: Of the request, decoded.
            raw_path: The same as it was sent, in which a slash inside a parameter is still `%2F`.
            method: Of the request; '' if it does not matter.
        """
        found = self._plain.get(path)
        if found is not None and (not method or method in found.routes):
            return found
        sent = path if raw_path is None else raw_path.decode("utf-8", "replace")
        for pattern, canonical, routes in self._patterns:
            # An item may be named like a path of its own: what that path does not take is meant for the item.
            if (match := pattern.fullmatch(sent)) and (found is None or method in routes):
                values = {name: unquote(value) for name, value in match.groupdict().items()}
                return Found(canonical, routes, values)
        return found


def _pattern(path: str) -> re.Pattern[str]:
    """Returns the pattern of a path with parameters, sent with or without the version."""
    *before, last = _PARAMETER.split(path.removeprefix(VERSION_PREFIX))
    text = "".join(
        f"(?P<{part}>{'.+' if not last and place == len(before) - 1 else '[^/]+'})"
        if place % 2
        else re.escape(part)
        for place, part in enumerate(before)
    )
    prefix = f"(?:{VERSION_PREFIX})?" if path.startswith(VERSION_PREFIX) else ""
    return re.compile(f"{prefix}{text}{re.escape(last)}", re.DOTALL)
