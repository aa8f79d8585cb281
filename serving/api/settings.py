"""Settings of requests: what one may ask for, and how many wait."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from marquee.errors import ConfigError
from serving.settings import RoomSettings


@dataclass(kw_only=True)
class ApiSettings(RoomSettings):
    """Requests."""

    max_k: Annotated[int, Meta(ge=1, description="most items that one request may ask for")] = 500
    max_history: Annotated[int, Meta(ge=1, description="most history entries of one request")] = 1000
    max_exclude: Annotated[int, Meta(ge=1, description="most excluded items of one request")] = 5000
    max_filters: Annotated[int, Meta(ge=1, description="most attributes that one request may filter by")] = 16
    max_filter_values: Annotated[int, Meta(ge=1, description="most values in one list of a filter")] = 100
    max_rows: Annotated[int, Meta(ge=1, description="most rows of one page")] = 20
    max_batch: Annotated[int, Meta(ge=1, description="most requests in one batch call")] = 100
    max_pending: Annotated[
        int,
        Meta(ge=1, description="requests that may wait in one worker; more are refused with 503 at once"),
    ] = 1024
    micro_batch: Annotated[
        int, Meta(ge=1, description="most requests that go through the model together")
    ] = 32
    why_words: Annotated[
        str,
        Meta(
            description=(
                "YAML file of the sentences by which [explanations](why.md#words) say causes; empty: ours"
            )
        ),
    ] = ""
    why_release_bytes: Annotated[
        int,
        Meta(
            ge=0,
            description=(
                "largest release that answers no more and is loaded to [explain](why.md) what it answered, "
                "one at a time in each worker; 0: none is"
            ),
        ),
    ] = 268_435_456
    exchange: Annotated[
        str,
        Meta(
            description=(
                "YAML file of the [exchange](exchange.md) at which campaigns bid by OpenRTB; empty: none"
            )
        ),
    ] = ""
    objective: Annotated[
        str,
        Meta(
            description=(
                "YAML file of the worth of a click, a conversion and revenue, by which ads are weighed "
                "against [content](campaigns.md#slots), such as `configs/objective.yaml`; empty: revenue "
                "alone"
            )
        ),
    ] = ""
    traits: Annotated[
        str,
        Meta(
            description=(
                "run of [customers](../customers.md#serving) whose traits and audiences are served, such as "
                "`runs/customers/churn/latest`; empty: none are"
            )
        ),
    ] = ""

    def validate(self) -> None:
        """Raises ConfigError if a setting is out of bounds or a batch could never be accepted."""
        super().validate()
        if self.max_pending < self.max_batch:
            raise ConfigError(
                f"MARQUEE_MAX_PENDING must be at least MARQUEE_MAX_BATCH ({self.max_batch}), got "
                f"{self.max_pending}; a batch that can never be accepted helps nobody"
            )
