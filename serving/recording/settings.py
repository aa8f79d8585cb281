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
    policy: Annotated[
        str,
        Meta(
            description=(
                "how places are drawn where a surface does not say: a [policy](events.md#policies) such as "
                "`{name: softmax, share: 0.2}`; empty: each goes to the best"
            )
        ),
    ] = ""
