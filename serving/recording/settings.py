"""Settings of the event log."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from marquee.errors import ConfigError
from marquee.store.log.event_rows import MAX_CLOCK_ERROR
from marquee.store.log.log_rows import SECONDS_PER_DAY
from marquee.store.people.consent import Tier
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
    user_key: Annotated[
        str,
        Meta(
            description=(
                "file of the key by which users are kept under [pseudonyms](people.md), written by "
                "`python -m serving.make_user_key`; empty: under the ids that requests name, and nobody can "
                "consent or be erased"
            )
        ),
    ] = ""
    consent: Annotated[
        str,
        Meta(
            description=(
                "how much of a person may be used who has [said nothing](people.md#consent): `personal`, "
                "`segment` or `none`"
            )
        ),
    ] = Tier.personal.value
    currency: Annotated[
        str,
        Meta(
            pattern="^[A-Z]{3}$",
            description="the currency of all money of [campaigns](campaigns.md), as ISO 4217 has it",
        ),
    ] = "EUR"
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
    receipt_key: Annotated[
        str,
        Meta(
            description=(
                "file of the private key by which [receipts](people.md#receipts) of erasures are signed, "
                "written by `python -m serving.receipts make_key`; empty: they are not signed"
            )
        ),
    ] = ""
    erase_hours: Annotated[
        int,
        Meta(ge=1, le=720, description="within how many hours an [erasure](people.md#erasure) is finished"),
    ] = 24
    keep_events_days: Annotated[
        int, Meta(ge=0, description="age at which events are [deleted](people.md#retention); 0: never")
    ] = 0
    keep_decisions_days: Annotated[int, Meta(ge=0, description="the same for decisions; 0: never")] = 0
    keep_tombstones_days: Annotated[
        int,
        Meta(
            ge=0,
            description="the same for what is kept of erased users, and their receipts; 0: never",
        ),
    ] = 0
    scores: Annotated[
        str,
        Meta(
            description=(
                "folder of [folders of scores](scale.md#scores-of-many-users) that "
                "`python -m training.score` wrote: whoever is erased goes from them as well; "
                "empty: there are none"
            )
        ),
    ] = ""
    keep_scores_days: Annotated[
        int, Meta(ge=0, description="age of the moment of a folder of scores at which it goes; 0: never")
    ] = 0

    @property
    def default_tier(self) -> Tier:
        """How much of a person may be used who has said nothing."""
        return Tier(self.consent)

    def validate(self) -> None:
        """Raises ConfigError if a value is out of bounds."""
        super().validate()
        if self.consent not in set(Tier):
            raise ConfigError(
                f"MARQUEE_CONSENT must be one of {[tier.value for tier in Tier]}, got {self.consent!r}; "
                "correct it"
            )
        # The id of an event goes with it: what may still come again would be kept, and counted, twice.
        youngest = self.event_horizon_days + 2 * MAX_CLOCK_ERROR // SECONDS_PER_DAY
        if 0 < self.keep_events_days < youngest:
            raise ConfigError(
                f"MARQUEE_KEEP_EVENTS_DAYS must be 0 or at least {youngest}, the age up to which an event of "
                f"MARQUEE_EVENT_HORIZON_DAYS={self.event_horizon_days} may be sent again, got "
                f"{self.keep_events_days}; raise it, or lower the horizon"
            )
