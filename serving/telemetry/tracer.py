"""The protocol of a tracer. The only implementation lies in `traces`, loaded on demand."""

from typing import Protocol

from serving.http.exchange import Call


class Tracer(Protocol):
    """Records how requests were answered."""

    def record(self, call: Call, route: str, status: int, seconds: float, traceparent: str) -> None:
        """Records one request when its reply is made.

        Args:
            call: The request; its `facts` receive the id of its trace.
            route: One of a fixed set.
            status: Of the reply.
            seconds: From the first byte of the request to its reply.
            traceparent: The header of that name, '' if there is none.
        """

    def close(self) -> None:
        """Hands on what is not yet handed on."""
