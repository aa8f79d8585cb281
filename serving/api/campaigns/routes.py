"""The rows of the table of routes that are about campaigns."""

from dataclasses import replace

from serving.api.campaigns import examples
from serving.api.campaigns.campaigns import CampaignRoutes
from serving.api.campaigns.messages import (
    CampaignAnswer,
    CampaignChange,
    CampaignChangedAnswer,
    CampaignHistoryAnswer,
    CampaignMessage,
    CampaignsAnswer,
    CampaignTrialAnswer,
    CampaignTrialRequest,
)
from serving.api.route import Route, Tag
from serving.http.errors import Problem
from serving.http.guard import Right

_CREATE = Route(
    method="POST",
    path="/v1/campaigns",
    operation="create_campaign",
    summary="Creates a campaign.",
    description="It may be shown from the next answer of every worker on, within its flight.",
    tag=Tag.campaigns,
    right=Right.campaigns,
    message=CampaignMessage,
    answer=CampaignAnswer,
    handler=CampaignRoutes.create,
    examples=examples.CAMPAIGN,
    answer_example=examples.CAMPAIGN_ANSWER,
    problems=(Problem.not_configured, Problem.no_room),
    refusals={Problem.campaign_changed: CampaignChangedAnswer},
)
_CHANGE = replace(
    _CREATE,
    message=None,
    examples={},
    problems=(Problem.not_found, Problem.version_needed, Problem.not_configured, Problem.no_room),
)
_READ = replace(_CREATE, method="GET", message=None, examples={}, refusals={})

CAMPAIGN_ROUTES: tuple[Route, ...] = (
    replace(
        _READ,
        operation="campaigns",
        summary="Lists the campaigns.",
        description="By id, page by page; without what they spent.",
        answer=CampaignsAnswer,
        handler=CampaignRoutes.listed,
        answer_example=examples.CAMPAIGNS_ANSWER,
        query={
            "limit": "Most campaigns of the page; 100 if left out.",
            "after": "The last id of the page before.",
        },
        problems=(Problem.not_configured,),
    ),
    _CREATE,
    replace(
        _CREATE,
        path="/v1/campaigns/dry_run",
        operation="try_campaign",
        summary="Tells how many requests a campaign could be shown at, and keeps nothing.",
        description="Asks the latest decisions of the log.",
        message=CampaignTrialRequest,
        answer=CampaignTrialAnswer,
        handler=CampaignRoutes.dry_run,
        examples=examples.TRIAL,
        answer_example=examples.TRIAL_ANSWER,
        problems=(Problem.not_configured,),
        refusals={},
    ),
    replace(
        _READ,
        path="/v1/campaigns/{campaign_id}",
        operation="campaign",
        summary="Tells a campaign, and what it spent.",
        description="In all and by day of its time zone.",
        handler=CampaignRoutes.get,
        problems=(Problem.not_found, Problem.not_configured),
    ),
    replace(
        _READ,
        path="/v1/campaigns/{campaign_id}/history",
        operation="campaign_history",
        summary="Tells who changed a campaign when, and what it said.",
        description="The latest version first.",
        answer=CampaignHistoryAnswer,
        handler=CampaignRoutes.history,
        answer_example=examples.CAMPAIGN_HISTORY_ANSWER,
        query={
            "limit": "Most versions of the answer; 10 if left out.",
            "before": "Only versions before this one: the last one of the page before.",
        },
        problems=(Problem.not_found, Problem.not_configured),
    ),
    replace(
        _CHANGE,
        method="PUT",
        path="/v1/campaigns/{campaign_id}",
        operation="put_campaign",
        summary="Replaces all that a campaign says.",
        description="But for its state. `If-Match` names the version that is replaced.",
        message=CampaignMessage,
        handler=CampaignRoutes.put,
        examples=examples.CAMPAIGN_PUT,
    ),
    replace(
        _CHANGE,
        method="PATCH",
        path="/v1/campaigns/{campaign_id}",
        operation="patch_campaign",
        summary="Changes the fields of a campaign that are named.",
        description="Each is replaced whole; null stands for its default. `If-Match` names the version.",
        message=CampaignChange,
        handler=CampaignRoutes.patch,
        examples=examples.CAMPAIGN_CHANGE,
    ),
    replace(
        _CHANGE,
        path="/v1/campaigns/{campaign_id}/pause",
        operation="pause_campaign",
        summary="Pauses a campaign.",
        description="Holds at the next answer of every worker. Takes no body; `If-Match` names the version.",
        handler=CampaignRoutes.pause,
    ),
    replace(
        _CHANGE,
        path="/v1/campaigns/{campaign_id}/resume",
        operation="resume_campaign",
        summary="Lets a paused campaign be shown again.",
        description="Takes no body; `If-Match` names the version.",
        handler=CampaignRoutes.resume,
    ),
    replace(
        _CHANGE,
        path="/v1/campaigns/{campaign_id}/end",
        operation="end_campaign",
        summary="Ends a campaign for good.",
        description="What was shown may still be charged. Takes no body; `If-Match` names the version.",
        handler=CampaignRoutes.end,
    ),
)
"""Their rows in the table of routes."""
