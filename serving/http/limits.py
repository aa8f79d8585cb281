"""How much a connection may send, hold and take its time for."""

from dataclasses import dataclass

from serving.http.cors import read_origins
from serving.http.settings import HttpSettings

MAX_HEADERS = 256
"""Headers of one request: a short one takes ten times its bytes to keep."""

MAX_PIPELINED = 128
"""Requests of one connection that wait while one is answered; those beyond must be sent again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a connection.

    Attributes:
        max_connections: So many are served; as many again are refused with 503, more are dropped.
        max_header_bytes: Request line and headers.
        header_timeout_s: From the first byte of a request, or the beginning of the connection, to the end of
            the headers.
        body_timeout_s: From there to the end of a body that was answered before it was complete.
        write_timeout_s: From the end of a reply until the caller has read it.
        keep_alive_s: From the end of a reply to the next request.
        origins: Whose pages may read why a connection was refused.
    """

    max_connections: int
    max_header_bytes: int
    header_timeout_s: float
    body_timeout_s: float
    write_timeout_s: float
    keep_alive_s: float
    origins: frozenset[bytes] = frozenset()

    @classmethod
    def of(cls, settings: HttpSettings) -> "Limits":
        """Returns the limits that the operator set."""
        return cls(
            max_connections=settings.max_connections,
            max_header_bytes=settings.max_header_bytes,
            header_timeout_s=settings.header_timeout_ms / 1000,
            body_timeout_s=settings.body_timeout_ms / 1000,
            write_timeout_s=settings.write_timeout_ms / 1000,
            keep_alive_s=settings.keep_alive_ms / 1000,
            origins=read_origins(settings.cors_origins),
        )
