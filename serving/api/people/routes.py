"""The rows of the table of routes that are about single people."""

from serving.api.messages.erasures import ReceiptAnswer, UserAnswer
from serving.api.messages.users import ConsentAnswer, ConsentRequest
from serving.api.people import examples
from serving.api.people.consent import UserRoutes
from serving.api.people.erasures import MAX_ROWS, ErasureRoutes
from serving.api.route import Route, Tag
from serving.http.errors import Problem
from serving.http.guard import Right

USER_ROUTES: tuple[Route, ...] = (
    Route(
        method="PUT",
        path="/v1/users/{user_id}/consent",
        operation="put_consent",
        summary="Says how much of a user may be used.",
        description="Holds for the next answer of every worker, and for every event that comes from now on.",
        tag=Tag.users,
        right=Right.users,
        message=ConsentRequest,
        answer=ConsentAnswer,
        handler=UserRoutes.put_consent,
        examples=examples.CONSENT,
        answer_example=examples.CONSENT_ANSWER,
        problems=(Problem.not_configured, Problem.no_room),
    ),
    Route(
        method="GET",
        path="/v1/users/{user_id}",
        operation="get_user",
        summary="Tells all that is held of a user, page by page.",
        description="Consent and its history, receipts, events and answers on record.",
        tag=Tag.users,
        right=Right.users,
        answer=UserAnswer,
        handler=ErasureRoutes.get,
        answer_example=examples.USER_ANSWER,
        query={
            "limit": f"Most events and answers of the page; {MAX_ROWS} if left out, which is the most.",
            "cursor": "Of the page before.",
        },
        problems=(Problem.not_configured,),
    ),
    Route(
        method="DELETE",
        path="/v1/users/{user_id}",
        operation="erase_user",
        summary="Erases a user.",
        description="From the reply on no answer knows them and no event of theirs is taken. Takes no body.",
        tag=Tag.users,
        right=Right.users,
        answer=ReceiptAnswer,
        handler=ErasureRoutes.delete,
        answer_example=examples.RECEIPT_ANSWER,
        accepted="Erased from store and answers; files of closed days are still to be written anew.",
        problems=(Problem.not_configured, Problem.no_room),
    ),
    Route(
        method="GET",
        path="/v1/users/{user_id}/receipt",
        operation="get_receipt",
        summary="Returns the receipt of the latest erasure of a user.",
        description="The final one as soon as `finished` says when.",
        tag=Tag.users,
        right=Right.users,
        answer=ReceiptAnswer,
        handler=ErasureRoutes.receipt,
        answer_example=examples.RECEIPT_ANSWER,
        problems=(Problem.not_configured, Problem.not_found),
    ),
)
"""Their rows in the table of routes."""
