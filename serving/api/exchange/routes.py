"""The rows of the table of routes that are about an exchange."""

from dataclasses import replace

from serving.api.exchange import examples
from serving.api.exchange.exchange import ExchangeRoutes
from serving.api.exchange.messages import AuctionAnswer, AuctionRequest, as_it_came
from serving.api.route import Route, Tag
from serving.http.errors import Problem
from serving.http.guard import Right

_NOTICE = Route(
    method="GET",
    path="/v1/openrtb2/notices/{kind}/{token}",
    operation="openrtb_notice",
    summary="Takes a notice of an exchange: `win`, `billing` or `loss`.",
    description="Signed, so it needs no key; 204 without content. One that is repeated counts once.",
    tag=Tag.exchange,
    right=None,
    handler=ExchangeRoutes.notice,
    query={"price": "What the exchange says it cost.", "reason": "Why the bid was lost, as a number."},
    answer_example="(no content)",
    problems=(Problem.not_found,),
)

EXCHANGE_ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/openrtb2/auction",
        operation="openrtb_auction",
        summary="Bids for the impressions of an OpenRTB 2.6 request.",
        description="204 without content where nothing is offered, 400 without content for a malformed one.",
        tag=Tag.exchange,
        right=Right.openrtb,
        message=AuctionRequest,
        answer=AuctionAnswer,
        handler=ExchangeRoutes.auction,
        examples=examples.AUCTION,
        answer_example=examples.AUCTION_ANSWER,
        problems=(Problem.not_configured,),
        make_reader=as_it_came,
    ),
    _NOTICE,
    replace(
        _NOTICE, method="POST", operation="openrtb_notice_by_post", handler=ExchangeRoutes.notice_by_post
    ),
)
