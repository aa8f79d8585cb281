"""HTTP as bytes: what no client would send, and what comes back, reply by reply."""

import socket
from dataclasses import dataclass

PATIENCE_S = 10.0
POST_HEAD = b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED_HEAD = POST_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class RawReply:
    """One reply."""

    status: int
    head: bytes
    body: bytes


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_S)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def request(body: bytes = b"{}", headers: bytes = b"") -> bytes:
    return POST_HEAD + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Replies:
    """Reads replies from a connection, one after the other."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""

    def next(self) -> RawReply:
        """Returns the next reply; fails if the connection ends before it is complete."""
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(self._received) < length:
            self._receive()
        body, self._received = self._received[:length], self._received[length:]
        return RawReply(int(head.split()[1]), head, body)

    def is_ended(self) -> bool:
        """Returns whether the service ends the connection and says nothing more."""
        try:
            return not self._received and self._connection.recv(1) == b""
        except ConnectionResetError:
            return True

    def _receive(self) -> None:
        part = self._connection.recv(65536)
        assert part, f"the connection ended after {self._received[-200:]!r}"
        self._received += part
