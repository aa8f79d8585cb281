"""Settings of workers, connections and keys."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from serving.settings import RoomSettings

# The watching process kills a worker 30 s after it told it to end: what lasts longer is cut off.
MAX_DRAIN_MS = 25_000


@dataclass(kw_only=True)
class HttpSettings(RoomSettings):
    """Workers, connections, keys."""

    workers: Annotated[
        int,
        Meta(
            ge=1,
            le=1024,
            description="processes that answer; with one, its crash is an outage until it is restarted",
        ),
    ] = 2
    max_connections: Annotated[
        int,
        Meta(
            ge=1,
            description=(
                "connections that one worker serves; as many more are refused with 503, and beyond that "
                "dropped"
            ),
        ),
    ] = 1024
    max_header_bytes: Annotated[int, Meta(ge=1, description="largest request line and headers")] = 16_384
    header_timeout_ms: Annotated[
        int, Meta(ge=1, description="time within which the headers of a request must have arrived")
    ] = 5000
    max_body_bytes: Annotated[
        int, Meta(ge=1, description="largest body, however it is sent; longest line of an import")
    ] = 1_048_576
    body_timeout_ms: Annotated[
        int, Meta(ge=1, description="time within which a body must have arrived; longest pause of an import")
    ] = 5000
    write_timeout_ms: Annotated[
        int, Meta(ge=1, description="time within which a caller must have read its reply")
    ] = 10_000
    keep_alive_ms: Annotated[
        int,
        Meta(
            ge=1,
            description=(
                "how long a connection without a request is kept; longer than [a proxy](proxies.md) keeps it"
            ),
        ),
    ] = 5000
    cors_origins: Annotated[
        str,
        Meta(
            description=(
                "origins whose pages may [ask from a browser](proxies.md#browsers), with commas between "
                "them; empty: none"
            )
        ),
    ] = ""
    deadline_ms: Annotated[
        int, Meta(ge=1, description="time within which a request is answered, or refused with 503")
    ] = 1000
    keys: Annotated[
        str,
        Meta(
            description=(
                "file of [API keys](protection.md#keys), followed while the service runs; empty: open to "
                "whoever reaches the service"
            )
        ),
    ] = ""
    drain_file: Annotated[str, Meta(description="while this file exists, `/readyz` says 503")] = ""
    drain_ms: Annotated[
        int,
        Meta(ge=0, le=MAX_DRAIN_MS, description="how long a worker goes on, not ready, after SIGTERM"),
    ] = 0
    hang_timeout_ms: Annotated[
        int,
        Meta(
            ge=0,
            description=(
                "a worker whose event loop has not run for so long is killed and replaced; 0: none is"
            ),
        ),
    ] = 30_000
