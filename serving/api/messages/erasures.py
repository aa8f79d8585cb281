"""The messages by which people are erased, and told what is held of them."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from marquee.bundle.traits.run import CustomersRun
from marquee.store.people.consent import Tier
from marquee.store.people.erasing.receipts import HoldingRelease, SignedReceipt
from marquee.store.signing import Signature
from serving.api.messages.requests import FeatureValue

_SECONDS = "seconds since 1970 UTC"


class ReleaseMessage(msgspec.Struct, kw_only=True, frozen=True):
    """A release that still knows an erased user by a name that leads to nobody."""

    version: Annotated[str, Meta(description="Its name.")]
    until: Annotated[int, Meta(description=f"When it should have been replaced, {_SECONDS}.")]

    @classmethod
    def of(cls, release: HoldingRelease) -> "ReleaseMessage":
        """Returns the message that tells a release."""
        return cls(version=release.version, until=release.until)


class ReceiptMessage(msgspec.Struct, kw_only=True, frozen=True):
    """The counts of an erasure. Signed is this object as JSON with sorted names, without spaces."""

    erasure_id: Annotated[str, Meta(description="Its name.")]
    handle: Annotated[str, Meta(description="Whose it is, as only the service's key makes it of an id.")]
    asked: Annotated[int, Meta(description=f"When it was asked for, {_SECONDS}.")]
    due: Annotated[int, Meta(description=f"By when it is finished, {_SECONDS}.")]
    finished: Annotated[int | None, Meta(description=f"When nothing was left, {_SECONDS}; null until then.")]
    events: Annotated[int, Meta(description="Events that were deleted from the store.")]
    decisions: Annotated[int, Meta(description="Answers that were deleted from the store.")]
    events_in_files: Annotated[int, Meta(description="Events that were deleted from files of closed days.")]
    decisions_in_files: Annotated[int, Meta(description="Answers that were deleted from such files.")]
    releases: Annotated[
        tuple[ReleaseMessage, ...], Meta(description="Releases that still hold what they learned.")
    ]


class SignatureMessage(msgspec.Struct, kw_only=True, frozen=True):
    """Who vouches for a receipt."""

    algorithm: Annotated[str, Meta(description="Always `ed25519`.")]
    key_id: Annotated[str, Meta(description="Names the public key.")]
    signature: Annotated[str, Meta(description="In base64.")]

    @classmethod
    def of(cls, signature: Signature | None) -> "SignatureMessage | None":
        """Returns the message that tells a signature."""
        return None if signature is None else msgspec.convert(msgspec.to_builtins(signature), cls)


class ReceiptAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The receipt of an erasure."""

    request_id: Annotated[str, Meta(description="The id under which the log speaks of the request.")]
    receipt: Annotated[ReceiptMessage, Meta(description="What was deleted.")]
    signature: Annotated[
        SignatureMessage | None, Meta(description="Null where the service has no key for receipts.")
    ]

    @classmethod
    def of(cls, signed: SignedReceipt, request_id: str) -> "ReceiptAnswer":
        """Returns the message that tells a receipt."""
        receipt = msgspec.convert(msgspec.to_builtins(signed.receipt), ReceiptMessage)
        return cls(request_id=request_id, receipt=receipt, signature=SignatureMessage.of(signed.signature))


class ConsentMessage(msgspec.Struct, kw_only=True, frozen=True):
    """One statement of how much may be used."""

    time: Annotated[int, Meta(description=f"When, {_SECONDS}.")]
    tier: Annotated[Tier, Meta(description="What was said.")]


class HeldEvent(msgspec.Struct, kw_only=True, frozen=True):
    """An event that the log holds."""

    event_id: Annotated[str, Meta(description="Its name.")]
    kind: Annotated[str, Meta(description="What was done.")]
    item_id: Annotated[str, Meta(description="To what.")]
    timestamp: Annotated[int, Meta(description=f"When, {_SECONDS}.")]
    received: Annotated[int, Meta(description=f"When it came, {_SECONDS}.")]
    decision_id: Annotated[str | None, Meta(description="In which answer it was shown.")]
    value: Annotated[float | None, Meta(description="A rating, or what a conversion is worth.")]
    text: Annotated[str | None, Meta(description="What was said.")]


class TraitsMessage(msgspec.Struct, kw_only=True, frozen=True):
    """The traits of a customer."""

    run: Annotated[str, Meta(description="The run that computed them.")]
    version: Annotated[str, Meta(description="Of the run: equal tables and settings have equal ones.")]
    as_of: Annotated[
        float | None,
        Meta(description=f"Moment up to which things were known, {_SECONDS}; null where none was said."),
    ]
    values: Annotated[
        dict[str, FeatureValue], Meta(description="By name, with what belongs to each, such as reasons.")
    ]

    @classmethod
    def of(cls, run: CustomersRun, values: Mapping[str, object]) -> "TraitsMessage":
        """Returns the message that tells the traits of a customer."""
        told: dict[str, FeatureValue] = {name: _plain(value) for name, value in values.items()}
        return cls(run=run.name, version=run.manifest.version, as_of=run.manifest.as_of, values=told)


class ShownMessage(msgspec.Struct, kw_only=True, frozen=True):
    """One count of an ad that a user was shown, for the caps of campaigns."""

    per: Annotated[str, Meta(description="What is counted: `campaign`, `advertiser` or `ad`.")]
    of: Annotated[tuple[str, ...], Meta(description="Which one; an ad by its campaign and its item.")]
    time_ms: Annotated[int, Meta(description="When, milliseconds since 1970 UTC.")]


class ChargeMessage(msgspec.Struct, kw_only=True, frozen=True):
    """An ad in an answer to a user, and what became of its price."""

    decision_id: Annotated[str, Meta(description="The answer.")]
    item_id: Annotated[str, Meta(description="The ad.")]
    campaign_id: Annotated[str, Meta(description="Who pays for it.")]
    bid_type: Annotated[str, Meta(description="For which event: `cpm`, `cpc` or `cpa`.")]
    price: Annotated[int, Meta(description="What that event costs, millionths of the currency.")]
    state: Annotated[
        str, Meta(description="`open`: still waited for; `charged`; else `unbilled`, `released` or `fenced`.")
    ]


class AdsMessage(msgspec.Struct, kw_only=True, frozen=True):
    """The part of what is held that campaigns need."""

    shown: Annotated[tuple[ShownMessage, ...], Meta(description="On the first page alone; oldest first.")]
    charges: Annotated[tuple[ChargeMessage, ...], Meta(description="Of the answers of this page.")]


class UserAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """A page of what is held of a user."""

    request_id: Annotated[str, Meta(description="The id under which the log speaks of the request.")]
    tier: Annotated[Tier | None, Meta(description="How much may be used; null if nothing was said.")]
    changed: Annotated[int | None, Meta(description=f"Since when, {_SECONDS}.")]
    erased: Annotated[int | None, Meta(description=f"When they were last erased, {_SECONDS}.")]
    consents: Annotated[tuple[ConsentMessage, ...], Meta(description="What was said, oldest first.")]
    receipts: Annotated[tuple[ReceiptMessage, ...], Meta(description="Of erasures, the latest first.")]
    events: Annotated[tuple[HeldEvent, ...], Meta(description="Of this page.")]
    decisions: Annotated[
        tuple[dict[str, Any], ...],
        Meta(description="Answers of this page, with all that is on record of each."),
    ]
    traits: Annotated[
        TraitsMessage | None,
        Meta(description="Of the run of customers that is served; null where it knows nobody of that id."),
    ]
    ads: Annotated[
        AdsMessage | None, Meta(description="What campaigns count and pay; null from earlier services.")
    ]
    cursor: Annotated[
        str | None, Meta(description="For the next page, which may be empty; null where this is the last.")
    ]


def _plain(value: object) -> bool | int | float | str | None:
    """Returns a value as JSON has it; null for a number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
