"""Settings of the log and of traces."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from serving.settings import RoomSettings


@dataclass(kw_only=True)
class TelemetrySettings(RoomSettings):
    """Log and traces."""

    log_requests: Annotated[bool, Meta(description="1: each request leaves a line in the log")] = False
    traces: Annotated[
        str,
        Meta(
            description=(
                "where [traces](monitoring.md#traces) go: `console`, `file:<path>` or `otlp`; empty: there "
                "are none"
            )
        ),
    ] = ""
    trace_percent: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="share of the requests that is traced, where the caller has not decided",
        ),
    ] = 100
