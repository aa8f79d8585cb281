"""Settings of the log, of traces and of the report of drift."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from serving.settings import RoomSettings


@dataclass(kw_only=True)
class TelemetrySettings(RoomSettings):
    """Log, traces and drift."""

    drift: Annotated[
        str,
        Meta(
            description=(
                "`drift.json` of [`python -m training.monitor`](monitoring.md#drift), shown by `/metrics`; "
                "empty: none is"
            )
        ),
    ] = ""
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
