"""The calls by which people decide of themselves; errors show their paths without the id."""

from urllib.parse import urlencode

import msgspec

from marquee.client.calls import Call, encoded, segment
from marquee.client.messages import ConsentAnswer, ConsentRequest, ReceiptAnswer, UserAnswer


def put_consent(user_id: str, request: ConsentRequest) -> Call[ConsentAnswer]:
    """Returns the call that says how much of a user may be used."""
    path, shown = _paths(user_id, "/consent")
    read = msgspec.json.Decoder(ConsentAnswer).decode
    return Call("PUT", path, encoded(request), read, shown=shown)


def erase_user(user_id: str) -> Call[ReceiptAnswer]:
    """Returns the call that erases a user."""
    path, shown = _paths(user_id)
    return Call("DELETE", path, None, msgspec.json.Decoder(ReceiptAnswer).decode, shown=shown)


def receipt(user_id: str) -> Call[ReceiptAnswer]:
    """Returns the call that asks for the receipt of an erasure."""
    path, shown = _paths(user_id, "/receipt")
    return Call("GET", path, None, msgspec.json.Decoder(ReceiptAnswer).decode, shown=shown)


def user(user_id: str, limit: int | None, cursor: str | None) -> Call[UserAnswer]:
    """Returns the call that asks for a page of all that is held of a user."""
    given = {"limit": limit, "cursor": cursor}
    query = urlencode({name: value for name, value in given.items() if value is not None})
    path, shown = _paths(user_id, f"?{query}" if query else "")
    return Call("GET", path, None, msgspec.json.Decoder(UserAnswer).decode, shown=shown)


def _paths(user_id: str, rest: str = "") -> tuple[str, str]:
    """Returns a path, and the same for errors, which an app may log."""
    return f"/v1/users/{segment('user_id', user_id)}{rest}", f"/v1/users/…{rest}"
