"""Settings of the event log."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from serving.settings import RoomSettings


@dataclass(kw_only=True)
class RecordingSettings(RoomSettings):
    """Events and decisions."""

    events: Annotated[
        str,
        Meta(
            description=(
                "where [events and decisions](events.md) are kept: a folder on a disk of this machine, or "
                "`postgresql://…`; empty: none are"
            )
        ),
    ] = ""
    event_horizon_days: Annotated[
        int, Meta(ge=1, le=365, description="older events are rejected; younger ones are kept exactly once")
    ] = 7
    max_events_bytes: Annotated[int, Meta(ge=1024, description="largest body of events")] = 16_777_216
    closed_days: Annotated[
        str,
        Meta(
            description=(
                "folder of the [closed days](events.md#closed-days); empty: `closed` in the folder of "
                "`MARQUEE_EVENTS`. A log in PostgreSQL closes days only where this is set"
            )
        ),
    ] = ""
    close_days_every_s: Annotated[
        int, Meta(ge=0, le=86_400, description="how often days that are over are looked for; 0: never")
    ] = 3600
    policy: Annotated[
        str,
        Meta(
            description=(
                "how places are drawn where a surface does not say: a [policy](events.md#policies) such as "
                "`{name: softmax, share: 0.2}`; empty: each goes to the best"
            )
        ),
    ] = ""
