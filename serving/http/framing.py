"""Parts of HTTP that uvicorn's parser leaves open: offers of another protocol, pipelined requests.

`connections` decides which limits hold; here are the parts that need to know the parser or the transport.
"""

import asyncio
from collections.abc import Iterable, Sized

import httptools
from uvicorn.protocols.http.flow_control import FlowControl

_HOP_HEADERS = frozenset({b"connection", b"upgrade", b"http2-settings"})
"""Headers that speak of this connection alone (RFC 9110, section 7.6.1; RFC 7540, section 3.2.1)."""


def new_parser(protocol: object) -> httptools.HttpRequestParser:
    """Returns a parser that calls the methods of `protocol` for all that a connection sends.

    Trap: the parser takes `Connection: close` in a trailer for one in the head, and would drop all later
    requests in silence (test_trailers_decide_nothing). So it never closes; whether a request is the last
    one is for `protocol` to decide, by the head alone.
    """
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_keep_alive=True)
    return parser


def unread_coding(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Returns a coding of the transfer beside chunks, in which the parser would hand a body on; None if none.

    Args:
        headers: Of the request; names in lower case.
    """
    for name, value in headers:
        if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
            return repr(value[:64].decode("latin-1"))
    return None


def has_wrong_host(version: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Returns whether a request breaks the rule that HTTP/1.1 names its host once (RFC 9112, section 3.2).

    Args:
        version: Of HTTP, such as '1.1'.
        headers: Of the request; names in lower case.
    """
    n_hosts = sum(name == b"host" for name, _ in headers)
    return n_hosts > 1 or (n_hosts == 0 and version == "1.1")


def head_without_upgrade(
    method: bytes, url: bytes, version: str, headers: Iterable[tuple[bytes, bytes]]
) -> bytes:
    """Returns the head of a request as it would be had it not offered another protocol.

    The parser stops at such an offer and calls all that follows, the body included, the other protocol's.
    A server that declines must go on as if nothing had been offered (RFC 9110, section 7.8), so the head is
    parsed again without the offer.

    Args:
        method: As in the request line.
        url: As in the request line.
        version: Of HTTP, such as '1.1'.
        headers: Of the request, in order; names in lower case.
    """
    kept = [(name, value) for name, value in headers if name not in _HOP_HEADERS]
    options = [
        option.strip()
        for name, value in headers
        if name == b"connection"
        for option in value.split(b",")
        if option.strip().lower() not in _HOP_HEADERS
    ]
    if options:
        # Other options, such as `close`, hold for this connection all the same.
        kept.append((b"connection", b", ".join(options)))
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in kept)
    return method + b" " + url + b" HTTP/" + version.encode() + b"\r\n" + lines + b"\r\n"


class PatientFlow(FlowControl):
    """Reads nothing more from a connection while requests that were sent ahead wait for their turn.

    uvicorn resumes reading whenever a request begins to read its body or ends: a caller that sends
    requests faster than they are answered would have all of them kept.

    Args:
        transport: The connection.
        waiting: Requests that wait.
    """

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Reads on if nothing waits."""
        if not self._waiting:
            super().resume_reading()
