"""The calls on campaigns, and the methods that send them; a change names the version that it replaces."""

from typing import Protocol, TypeVar
from urllib.parse import urlencode

import msgspec

from marquee.client.calls import Call, encoded, segment
from marquee.client.messages import (
    CampaignAnswer,
    CampaignChange,
    CampaignHistoryAnswer,
    CampaignMessage,
    CampaignsAnswer,
    CampaignTrialAnswer,
    CampaignTrialRequest,
)

Answer = TypeVar("Answer")

_PATH = "/v1/campaigns"
_TRIAL_DEADLINE_S = 30.0


class _Asks(Protocol):
    """Sends calls and returns their answers."""

    def _ask(self, call: Call[Answer], deadline_s: float | None) -> Answer: ...


class _AsksLater(Protocol):
    """Sends calls and returns their answers, to be awaited."""

    async def _ask(self, call: Call[Answer], deadline_s: float | None) -> Answer: ...


class CampaignMethods:
    """The methods on campaigns of a client for threads; all need a key for `campaigns`.

    A change of another version than the one that holds is refused with 409. All raise ServiceError.
    """

    def campaigns(
        self: _Asks, *, limit: int | None = None, after: str | None = None, deadline_s: float | None = None
    ) -> CampaignsAnswer:
        """Returns a page of campaigns, by id."""
        return self._ask(campaigns(limit, after), deadline_s)

    def campaign(self: _Asks, campaign_id: str, *, deadline_s: float | None = None) -> CampaignAnswer:
        """Returns a campaign and what it spent."""
        return self._ask(campaign(campaign_id), deadline_s)

    def campaign_history(
        self: _Asks, campaign_id: str, *, limit: int | None = None, deadline_s: float | None = None
    ) -> CampaignHistoryAnswer:
        """Returns the last versions of a campaign, the latest first."""
        return self._ask(history(campaign_id, limit), deadline_s)

    def create_campaign(
        self: _Asks, request: CampaignMessage, *, deadline_s: float | None = None
    ) -> CampaignAnswer:
        """Creates a campaign."""
        return self._ask(create(request), deadline_s)

    def put_campaign(
        self: _Asks, request: CampaignMessage, version: int, *, deadline_s: float | None = None
    ) -> CampaignAnswer:
        """Replaces all that a campaign of a version says."""
        return self._ask(put(request, version), deadline_s)

    def patch_campaign(
        self: _Asks,
        campaign_id: str,
        change: CampaignChange,
        version: int,
        *,
        deadline_s: float | None = None,
    ) -> CampaignAnswer:
        """Changes the fields that are named of a campaign of a version."""
        return self._ask(patch(campaign_id, change, version), deadline_s)

    def pause_campaign(
        self: _Asks, campaign_id: str, version: int, *, deadline_s: float | None = None
    ) -> CampaignAnswer:
        """Pauses a campaign of a version."""
        return self._ask(turn(campaign_id, "pause", version), deadline_s)

    def resume_campaign(
        self: _Asks, campaign_id: str, version: int, *, deadline_s: float | None = None
    ) -> CampaignAnswer:
        """Lets a paused campaign of a version be shown again."""
        return self._ask(turn(campaign_id, "resume", version), deadline_s)

    def end_campaign(
        self: _Asks, campaign_id: str, version: int, *, deadline_s: float | None = None
    ) -> CampaignAnswer:
        """Ends a campaign of a version for good."""
        return self._ask(turn(campaign_id, "end", version), deadline_s)

    def try_campaign(
        self: _Asks, request: CampaignTrialRequest, *, deadline_s: float = _TRIAL_DEADLINE_S
    ) -> CampaignTrialAnswer:
        """Returns at how many of the latest decisions a campaign might have been shown."""
        return self._ask(trial(request), deadline_s)


class AsyncCampaignMethods:
    """The methods on campaigns of a client for asyncio; see `CampaignMethods`."""

    async def campaigns(
        self: _AsksLater,
        *,
        limit: int | None = None,
        after: str | None = None,
        deadline_s: float | None = None,
    ) -> CampaignsAnswer:
        """Returns a page of campaigns, by id."""
        return await self._ask(campaigns(limit, after), deadline_s)

    async def campaign(
        self: _AsksLater, campaign_id: str, *, deadline_s: float | None = None
    ) -> CampaignAnswer:
        """Returns a campaign and what it spent."""
        return await self._ask(campaign(campaign_id), deadline_s)

    async def campaign_history(
        self: _AsksLater, campaign_id: str, *, limit: int | None = None, deadline_s: float | None = None
    ) -> CampaignHistoryAnswer:
        """Returns the last versions of a campaign, the latest first."""
        return await self._ask(history(campaign_id, limit), deadline_s)

    async def create_campaign(
        self: _AsksLater, request: CampaignMessage, *, deadline_s: float | None = None
    ) -> CampaignAnswer:
        """Creates a campaign."""
        return await self._ask(create(request), deadline_s)

    async def put_campaign(
        self: _AsksLater, request: CampaignMessage, version: int, *, deadline_s: float | None = None
    ) -> CampaignAnswer:
        """Replaces all that a campaign of a version says."""
        return await self._ask(put(request, version), deadline_s)

    async def patch_campaign(
        self: _AsksLater,
        campaign_id: str,
        change: CampaignChange,
        version: int,
        *,
        deadline_s: float | None = None,
    ) -> CampaignAnswer:
        """Changes the fields that are named of a campaign of a version."""
        return await self._ask(patch(campaign_id, change, version), deadline_s)

    async def pause_campaign(
        self: _AsksLater, campaign_id: str, version: int, *, deadline_s: float | None = None
    ) -> CampaignAnswer:
        """Pauses a campaign of a version."""
        return await self._ask(turn(campaign_id, "pause", version), deadline_s)

    async def resume_campaign(
        self: _AsksLater, campaign_id: str, version: int, *, deadline_s: float | None = None
    ) -> CampaignAnswer:
        """Lets a paused campaign of a version be shown again."""
        return await self._ask(turn(campaign_id, "resume", version), deadline_s)

    async def end_campaign(
        self: _AsksLater, campaign_id: str, version: int, *, deadline_s: float | None = None
    ) -> CampaignAnswer:
        """Ends a campaign of a version for good."""
        return await self._ask(turn(campaign_id, "end", version), deadline_s)

    async def try_campaign(
        self: _AsksLater, request: CampaignTrialRequest, *, deadline_s: float = _TRIAL_DEADLINE_S
    ) -> CampaignTrialAnswer:
        """Returns at how many of the latest decisions a campaign might have been shown."""
        return await self._ask(trial(request), deadline_s)


def campaigns(limit: int | None, after: str | None) -> Call[CampaignsAnswer]:
    """Returns the call that asks for a page of campaigns."""
    return _get(_PATH, CampaignsAnswer, limit=limit, after=after)


def campaign(campaign_id: str) -> Call[CampaignAnswer]:
    """Returns the call that asks for a campaign."""
    return _get(_path(campaign_id), CampaignAnswer)


def history(campaign_id: str, limit: int | None) -> Call[CampaignHistoryAnswer]:
    """Returns the call that asks for the versions of a campaign."""
    return _get(_path(campaign_id, "/history"), CampaignHistoryAnswer, limit=limit)


def create(request: CampaignMessage) -> Call[CampaignAnswer]:
    """Returns the call that creates a campaign; sent twice, it creates one."""
    return Call("POST", _PATH, encoded(request), msgspec.json.Decoder(CampaignAnswer).decode)


def put(request: CampaignMessage, version: int) -> Call[CampaignAnswer]:
    """Returns the call that replaces a campaign."""
    read = msgspec.json.Decoder(CampaignAnswer).decode
    return Call("PUT", _path(request.campaign_id), encoded(request), read, if_match=version)


def patch(campaign_id: str, change: CampaignChange, version: int) -> Call[CampaignAnswer]:
    """Returns the call that changes some fields of a campaign."""
    read = msgspec.json.Decoder(CampaignAnswer).decode
    return Call("PATCH", _path(campaign_id), encoded(change), read, if_match=version)


def turn(campaign_id: str, word: str, version: int) -> Call[CampaignAnswer]:
    """Returns the call that pauses, resumes or ends a campaign."""
    read = msgspec.json.Decoder(CampaignAnswer).decode
    return Call("POST", _path(campaign_id, f"/{word}"), None, read, if_match=version)


def trial(request: CampaignTrialRequest) -> Call[CampaignTrialAnswer]:
    """Returns the call that tries a campaign."""
    read = msgspec.json.Decoder(CampaignTrialAnswer).decode
    return Call("POST", f"{_PATH}/dry_run", encoded(request), read)


def _path(campaign_id: str, rest: str = "") -> str:
    """Returns the path of a campaign."""
    return f"{_PATH}/{segment('campaign_id', campaign_id)}{rest}"


def _get(path: str, kind: type[Answer], **given: object) -> Call[Answer]:
    """Returns a call that asks with what is given of a query."""
    query = urlencode({name: value for name, value in given.items() if value is not None})
    return Call("GET", f"{path}{'?' if query else ''}{query}", None, msgspec.json.Decoder(kind).decode)
