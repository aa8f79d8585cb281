"""The route that tells the members of an audience of the run, or who came and went since a list of before."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from marquee.bundle.traits.run import CustomersRun, Member, MemberChange
from marquee.errors import BundleError
from serving.api import examples
from serving.api.customers.asked import AskedCustomers
from serving.api.customers.messages import AudienceAnswer, MemberChangeMessage, MemberMessage
from serving.api.route import Route, Tag
from serving.http.errors import Problem, Refusal, unavailable
from serving.http.exchange import Call, read_number
from serving.http.guard import Right

MAX_MEMBERS = 1000
"""Most members of a page."""


class AudienceRoutes:
    """Tells audiences, in a thread of its own: files are read and verified for each page.

    Args:
        customers: The run, and what users said.
    """

    def __init__(self, customers: AskedCustomers) -> None:
        self._customers = customers
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audience-routes")

    async def get(self, call: Call) -> AudienceAnswer:
        """Returns a page of members, or of changes since a token.

        Raises:
            Refusal: If the audience is unknown or too small, a parameter is wrong, or a token or cursor is of
                a run that is not kept.
        """
        run, name = self._customers.run, call.parameters["audience"]
        if name not in run.manifest.audiences:
            raise Refusal(
                Problem.not_found,
                f"the audiences are {sorted(run.manifest.audiences)}, got {name[:64]!r}; name one of them",
            )
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, self._page, run, name, call)
        except BundleError as error:
            raise unavailable(str(error)) from error

    def close(self) -> None:
        """Ends the thread."""
        self._executor.shutdown()

    def _page(self, run: CustomersRun, name: str, call: Call) -> AudienceAnswer:
        """Returns the page that a call asks for."""
        facts, since = run.manifest.audiences[name], call.query.get("since")
        start, limit = _start(call, run), read_number(call.query, "limit", MAX_MEMBERS, MAX_MEMBERS)
        found: Sequence[Member] | Sequence[MemberChange] | None
        if since is None:
            if facts.refused:
                raise Refusal(Problem.audience_refused, facts.refused)
            found = run.members(name)
        else:
            # Also of a refused one: who is erased must be removed wherever they stand.
            found = run.changes_since(name, since)
            if found is None:
                raise Refusal(
                    Problem.cursor_expired,
                    f"no run that is kept had the members {since[:64]!r} of {name}; ask without since",
                    field="since",
                )
        page = found[start : start + limit]
        hidden = self._customers.hidden({one.user_id for one in page}, run.manifest.started)
        end = start + len(page)
        return AudienceAnswer(
            request_id=call.request_id,
            audience=name,
            run=run.name,
            version=run.manifest.version,
            token=facts.after,
            members=None
            if since is not None
            else tuple(
                MemberMessage(user_id=one.user_id, group=one.group, position=one.position)
                for one in page
                if isinstance(one, Member) and one.user_id not in hidden
            ),
            changes=None
            if since is None
            else tuple(
                _told(one)
                for one in page
                if isinstance(one, MemberChange) and (one.change == "removed" or one.user_id not in hidden)
            ),
            cursor=f"{run.name}.{end}" if end < len(found) else None,
        )


def _told(change: MemberChange) -> MemberChangeMessage:
    """Returns the message that tells a change."""
    return MemberChangeMessage(
        delivery_id=change.delivery_id,
        change=change.change,
        user_id=change.user_id,
        group=change.group or None,
    )


def _start(call: Call, run: CustomersRun) -> int:
    """Returns the row at which a page begins; raises Refusal if its cursor is none of this run."""
    cursor = call.query.get("cursor")
    if cursor is None:
        return 0
    name, _, place = cursor.rpartition(".")
    if not (place.isascii() and place.isdigit() and len(place) < 10):
        raise Refusal(
            Problem.invalid_request,
            f"cursor must be that of the page before, got {cursor[:64]!r}; send it as it came",
            field="cursor",
        )
    if name != run.name:
        raise Refusal(
            Problem.cursor_expired,
            f"the cursor is of the run {name[:64]!r}, and {run.name} answers now; ask without it",
            field="cursor",
        )
    return int(place)


AUDIENCE_ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/v1/audiences/{audience}",
        operation="audience",
        summary="Tells the members of an audience, page by page.",
        description="With `since` who came and went after a list of before, each change with its id.",
        tag=Tag.customers,
        right=Right.users,
        answer=AudienceAnswer,
        handler=AudienceRoutes.get,
        answer_example=examples.AUDIENCE_ANSWER,
        query={
            "since": "The `token` of a list of before: only what changed after it.",
            "limit": f"Most rows of the page; {MAX_MEMBERS} if left out, which is the most.",
            "cursor": "Of the page before.",
        },
        problems=(
            Problem.not_found,
            Problem.audience_refused,
            Problem.cursor_expired,
            Problem.not_configured,
        ),
    ),
)
"""Its row in the table of routes."""
