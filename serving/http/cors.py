"""Cross-origin requests of browsers (CORS): pages of which other origins may read replies.

Without an allow-list no header is sent, and browsers keep every page of another origin out.
"""

import re
from collections.abc import Collection, Iterable

from marquee.errors import ConfigError
from serving.http.exchange import AsgiApp, Event, Pairs, Receive, Scope, Send

# Scheme, host and port alone (RFC 6454): with a path or a final slash it would equal no browser's header.
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?")
_ALLOWED: Pairs = (
    (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE"),
    (b"access-control-allow-headers", b"authorization, content-type, if-match, x-deadline-ms, x-request-id"),
    # Ten minutes: a browser repeats the question no more often than that, and learns of changes soon.
    (b"access-control-max-age", b"600"),
)
_READABLE: Pairs = ((b"access-control-expose-headers", b"x-request-id, retry-after"),)
# Also where no origin is allowed: a cache between must not give that reply to one that is.
_VARY: Pairs = ((b"vary", b"origin"),)


def read_origins(text: str) -> frozenset[bytes]:
    """Returns the origins of a list with commas between them.

    Raises:
        ConfigError: If one is no origin; `*` is none, for a list that names nobody keeps nobody out.
    """
    origins = [origin.strip() for origin in text.split(",") if origin.strip()]
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ConfigError(
                f"MARQUEE_CORS_ORIGINS must list origins such as https://shop.example, got {origin!r}; name "
                "scheme and host, and the port if it is not the scheme's own"
            )
    # Scheme and host do not depend on case, and requests are compared in lower case.
    return frozenset(origin.lower().encode() for origin in origins)


def read_by(headers: Iterable[tuple[bytes, bytes]], origins: Collection[bytes]) -> Pairs:
    """Returns the headers by which a browser lets the page that asked read the reply; none for others.

    Args:
        headers: Of the request, or as much of them as came.
        origins: Those that may, in lower case.
    """
    origin = dict(headers).get(b"origin", b"")
    # As it came: browsers compare it with their own byte by byte.
    return ((b"access-control-allow-origin", origin), *_READABLE) if origin.lower() in origins else ()


class CrossOrigin:
    """An application that tells browsers which origins may read its replies.

    Args:
        app: What answers.
        origins: Those that may.
    """

    def __init__(self, app: AsgiApp, origins: Collection[bytes]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a browser's question whether it may ask, or adds to the reply who may read it."""
        # `lifespan` has no headers.
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        allowed = read_by(scope["headers"], self._origins)
        # Before keys: browsers send no credentials with a preflight request.
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in dict(scope["headers"]):
            await _answer_preflight(send, (*allowed, *_ALLOWED) if allowed else ())
            return

        async def send_allowed(event: Event) -> None:
            if event["type"] == "http.response.start":
                event["headers"] = (*event["headers"], *allowed, *_VARY)
            await send(event)

        await self._app(scope, receive, send_allowed)


async def _answer_preflight(send: Send, allowed: Pairs) -> None:
    """Answers a preflight request; without headers where the origin is not allowed."""
    await send({"type": "http.response.start", "status": 204, "headers": (*allowed, *_VARY)})
    await send({"type": "http.response.body", "body": b""})
