"""Settings of releases and of the items that come and go between them."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from serving.settings import RoomSettings


@dataclass(kw_only=True)
class ReleaseSettings(RoomSettings):
    """Releases and items."""

    bundle: Annotated[
        str,
        Meta(description="the bundle: the folder of one version, or the folder whose `CURRENT` names one"),
    ] = ""
    surfaces: Annotated[
        str,
        Meta(
            description=(
                "in its place, a file that declares several [surfaces](surfaces.md), each with its bundle"
            )
        ),
    ] = ""
    experiments: Annotated[
        str,
        Meta(description="file that declares [experiments](experiments.md) on them; empty: there are none"),
    ] = ""
    trusted_keys: Annotated[
        str,
        Meta(
            description=(
                "file of the public keys of those who may [publish](releases.md#signatures); empty: bundles "
                "are taken unsigned"
            )
        ),
    ] = ""
    release_poll_ms: Annotated[
        int, Meta(ge=1, description="how often a worker looks whether other releases are to answer")
    ] = 1000
    max_release_age_days: Annotated[
        int,
        Meta(
            ge=1,
            description=(
                "age from which a release that knows [erased users](people.md#releases) is told in "
                "`/v1/releases` and counted"
            ),
        ),
    ] = 30
    release_load_ms: Annotated[
        int, Meta(ge=1, description="time within which the files of a release must be read and verified")
    ] = 600_000
    release_rehearsal_ms: Annotated[
        int, Meta(ge=1, description="time within which a release must answer its golden requests")
    ] = 30_000
    items: Annotated[
        str,
        Meta(
            description="folder in which [items between releases](items.md) are kept; empty: none are taken"
        ),
    ] = ""
    items_poll_ms: Annotated[
        int, Meta(ge=1, description="how often a worker looks whether they have changed")
    ] = 250
    max_live_items: Annotated[
        int,
        Meta(ge=1, description="most items kept there for one channel; withdrawn ones count apart"),
    ] = 10_000
    max_live_item_bytes: Annotated[
        int, Meta(ge=256, description="largest item kept there, in bytes of JSON")
    ] = 32_768
    max_live_items_bytes: Annotated[
        int, Meta(ge=256, description="most bytes of all items kept there for one channel")
    ] = 67_108_864
