"""The message that tells of an ad in an answer, so that whoever sees it knows who is behind it."""

from typing import Annotated

import msgspec
from msgspec import Meta

from serving.api.ads.advertised import Advertised


class AdMessage(msgspec.Struct, kw_only=True, frozen=True):
    """An ad among the items, with all that must stand beside it (Regulation (EU) 2022/2065, article 26)."""

    place: Annotated[int, Meta(description="Its place among the items, from 0.")]
    item_id: Annotated[str, Meta(description="The item.")]
    is_ad: Annotated[bool, Meta(description="Always true: show it as an ad.")] = True
    campaign_id: Annotated[str, Meta(description="The campaign that pays for it.")]
    on_behalf_of: Annotated[str, Meta(description="Who is advertised.")]
    paid_by: Annotated[str, Meta(description="Who pays.")]
    main_parameters: Annotated[
        tuple[str, ...],
        Meta(
            description="What its choice rests on: `surface`, `time`, `attributes`, `segment`, `geography`, "
            "`device`, `audience` and `history`, as far as it does."
        ),
    ] = ()
    how_to_change: Annotated[str, Meta(description="How whoever sees it changes what it may rest on.")] = (
        "PUT /v1/users/{user_id}/consent"
    )


def ads_told(advertised: Advertised | None) -> tuple[AdMessage, ...]:
    """Returns the messages that tell of the ads of an answer."""
    if advertised is None:
        return ()
    return tuple(
        [
            AdMessage(
                place=one.place,
                item_id=one.item_id,
                campaign_id=one.campaign.campaign_id,
                on_behalf_of=one.campaign.advertiser,
                paid_by=one.campaign.payer,
                main_parameters=one.parameters,
            )
            for one in advertised.ads
        ]
    )
