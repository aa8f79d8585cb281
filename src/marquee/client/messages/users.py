"""Messages: of the group `users`; written by `make lock`."""

import msgspec


class ConsentRequest(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """How much a user lets be used.

    Attributes:
        tier: `personal`: all that is known; `segment`: the attributes that requests declare; `none`: the
            moment alone. One of `none`, `personal`, `segment`.
    """

    tier: str


class ConsentAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The tier that holds from now on, for the next answer of every worker.

    Attributes:
        request_id: The id under which the log speaks of the request.
        tier: What was said. One of `none`, `personal`, `segment`.
        changed: Since when it holds, seconds since 1970 UTC.
    """

    request_id: str
    tier: str
    changed: int


class ConsentMessage(msgspec.Struct, kw_only=True, frozen=True):
    """One statement of how much may be used.

    Attributes:
        time: When, seconds since 1970 UTC.
        tier: What was said. One of `none`, `personal`, `segment`.
    """

    time: int
    tier: str


class ReleaseMessage(msgspec.Struct, kw_only=True, frozen=True):
    """A release that still knows an erased user by a name that leads to nobody.

    Attributes:
        version: Its name.
        until: When it should have been replaced, seconds since 1970 UTC.
    """

    version: str
    until: int


class ReceiptMessage(msgspec.Struct, kw_only=True, frozen=True):
    """The counts of an erasure. Signed is this object as JSON with sorted names, without spaces.

    Attributes:
        erasure_id: Its name.
        handle: Whose it is, as only the service's key makes it of an id.
        asked: When it was asked for, seconds since 1970 UTC.
        due: By when it is finished, seconds since 1970 UTC.
        finished: When nothing was left, seconds since 1970 UTC; null until then.
        events: Events that were deleted from the store.
        decisions: Answers that were deleted from the store.
        events_in_files: Events that were deleted from files of closed days.
        decisions_in_files: Answers that were deleted from such files.
        releases: Releases that still hold what they learned.
    """

    erasure_id: str
    handle: str
    asked: int
    due: int
    finished: int | None = None
    events: int
    decisions: int
    events_in_files: int
    decisions_in_files: int
    releases: tuple[ReleaseMessage, ...]


class HeldEvent(msgspec.Struct, kw_only=True, frozen=True):
    """An event that the log holds.

    Attributes:
        event_id: Its name.
        kind: What was done.
        item_id: To what.
        timestamp: When, seconds since 1970 UTC.
        received: When it came, seconds since 1970 UTC.
        decision_id: In which answer it was shown.
        value: A rating, or what a conversion is worth.
        text: What was said.
    """

    event_id: str
    kind: str
    item_id: str
    timestamp: int
    received: int
    decision_id: str | None = None
    value: float | None = None
    text: str | None = None


class UserAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """A page of what is held of a user.

    Attributes:
        request_id: The id under which the log speaks of the request.
        tier: How much may be used; null if nothing was said. One of `none`, `personal`, `segment`.
        changed: Since when, seconds since 1970 UTC.
        erased: When they were last erased, seconds since 1970 UTC.
        consents: What was said, oldest first.
        receipts: Of erasures, the latest first.
        events: Of this page.
        decisions: Answers of this page, with all that is on record of each.
        cursor: For the next page, which may be empty; null where this is the last.
    """

    request_id: str
    tier: str | None = None
    changed: int | None = None
    erased: int | None = None
    consents: tuple[ConsentMessage, ...]
    receipts: tuple[ReceiptMessage, ...]
    events: tuple[HeldEvent, ...]
    decisions: tuple[dict[str, object], ...]
    cursor: str | None = None


class SignatureMessage(msgspec.Struct, kw_only=True, frozen=True):
    """Who vouches for a receipt.

    Attributes:
        algorithm: Always `ed25519`.
        key_id: Names the public key.
        signature: In base64.
    """

    algorithm: str
    key_id: str
    signature: str


class ReceiptAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The receipt of an erasure.

    Attributes:
        request_id: The id under which the log speaks of the request.
        receipt: What was deleted.
        signature: Null where the service has no key for receipts.
    """

    request_id: str
    receipt: ReceiptMessage
    signature: SignatureMessage | None = None
