"""The calls on customers: forms scored by a trait, and audiences."""

from urllib.parse import urlencode

import msgspec

from marquee.client.calls import Call, encoded, segment
from marquee.client.messages import AudienceAnswer, ScoreAnswer, ScoreRequest


def score(trait: str, request: ScoreRequest) -> Call[ScoreAnswer]:
    """Returns the call that scores a form."""
    path = f"/v1/score/{segment('trait', trait)}"
    return Call("POST", path, encoded(request), msgspec.json.Decoder(ScoreAnswer).decode)


def audience(name: str, since: str | None, limit: int | None, cursor: str | None) -> Call[AudienceAnswer]:
    """Returns the call that asks for a page of an audience, or of its changes since a token."""
    given = {"since": since, "limit": limit, "cursor": cursor}
    query = urlencode({key: value for key, value in given.items() if value is not None})
    path = f"/v1/audiences/{segment('name', name)}{'?' if query else ''}{query}"
    return Call("GET", path, None, msgspec.json.Decoder(AudienceAnswer).decode)
