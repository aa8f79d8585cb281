"""How a message for a page becomes what the library composes, within the limits of operator and surfaces."""

from dataclasses import replace

from msgspec import UnsetType

from marquee.decision.pages.rows import Row, RowKind
from marquee.decision.requests import Request
from marquee.errors import DataError
from serving.api.messages.limits import to_request
from serving.api.messages.pages import PageRequest, RowRequest
from serving.api.messages.requests import RecommendRequest
from serving.http.errors import Problem, Refusal
from serving.releases.arms.callers import CallerSurfaces
from serving.releases.surfaces import Surface


def to_user(message: PageRequest, surface: Surface, timestamp: int) -> Request:
    """Returns who asks for a page, as a request; raises Refusal if it exceeds a limit."""
    asked = RecommendRequest(
        user_id=message.user_id,
        history=message.history,
        features=message.features,
        context=message.context,
        exclude=message.exclude,
        consent=message.consent,
    )
    return to_request(asked, surface, timestamp)


def to_rows(message: PageRequest, surfaces: CallerSurfaces, user: Request, max_rows: int) -> list[Row]:
    """Returns the rows of a page; raises Refusal that names the row which exceeds a limit.

    Args:
        message: What came.
        surfaces: As the caller has them.
        user: Who asks, with what no row may hold.
        max_rows: Most rows of a page.
    """
    if len(message.rows) > max_rows:
        raise Refusal(
            Problem.invalid_request,
            f"rows may hold at most {max_rows} rows, got {len(message.rows)}; ask for the rest by the cursor",
            field="rows",
        )
    home = surfaces.named(message.surface)
    rows = []
    for position, row in enumerate(message.rows):
        place = f"rows[{position}]"
        try:
            rows.append(_row(row, _surface(row.surface, home, surfaces), user))
        except Refusal as refusal:
            field = f"{place}.{refusal.field}" if refusal.field else place
            raise Refusal(refusal.problem, f"{place}: {refusal}", field=field) from None
        except DataError as error:
            raise Refusal(Problem.invalid_request, f"{place}: {error}", field=place) from None
    return rows


def _surface(name: str | UnsetType, home: Surface, surfaces: CallerSurfaces) -> Surface:
    """Returns the surface of a row; raises Refusal if another bundle answers there than for the page."""
    surface = surfaces.of_row(name, home)
    if surfaces.channel(surface) is not surfaces.channel(home):
        raise Refusal(
            Problem.invalid_request,
            f"surface must be one of the bundle of {home.name!r}, got {surface.name!r} of another; ask for "
            "a page of its own",
            field="surface",
        )
    return surface


def _row(message: RowRequest, surface: Surface, user: Request) -> Row:
    """Returns one row; the history and the user of its request stay empty, for they are the page's."""
    asked = RecommendRequest(
        k=message.k,
        kind=message.kind,
        filters=message.filters,
        reranking=message.reranking,
        exclude_seen=message.exclude_seen,
        query=message.query,
    )
    request = to_request(asked, surface, user.timestamp)
    if len(message.items) > surface.settings.max_history:
        raise Refusal(
            Problem.invalid_request,
            f"items may hold at most {surface.settings.max_history} entries, got {len(message.items)}; send "
            "the latest only",
            field="items",
        )
    request = replace(request, features=user.features, context=user.context, exclude=user.exclude)
    return Row(kind=RowKind(message.row), request=request, item_id=message.item_id, items=message.items)
