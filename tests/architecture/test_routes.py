"""The table of routes: each row says who may ask, what for, and by which example."""

import inspect
from collections import Counter
from typing import get_type_hints

import pytest

from serving.api.route import Chunks, Route
from serving.api.routes import ROUTES, TABLE
from serving.http.exchange import Reply
from serving.http.guard import Right

# What anybody may see, whatever the keys; whoever opens another route adds it here.
# Notices are signed: whoever calls one was given it.
OPEN = {"/", "/docs.json", "/livez", "/readyz", "/v1/bundle", "/v1/openrtb2/notices/{kind}/{token}"}
# Found by the page at `/`, and no part of what an app asks.
UNDOCUMENTED = {"/", "/docs.json"}

every_route = pytest.mark.parametrize("route", ROUTES, ids=[f"{one.method} {one.path}" for one in ROUTES])


@every_route
def test_route_needs_a_right_unless_it_is_open_to_all(route: Route) -> None:
    if route.path in OPEN:
        assert route.right is None
    else:
        assert isinstance(route.right, Right)


@every_route
def test_route_is_described_in_a_group_of_the_document(route: Route) -> None:
    assert route.summary.endswith(".")
    assert route.description.endswith(".")
    assert (route.tag is None) == (route.path in UNDOCUMENTED)


@every_route
def test_route_has_an_example_of_what_is_asked_and_answered(route: Route) -> None:
    assert bool(route.examples) == (route.message is not None)
    assert route.answer_example or route.path in UNDOCUMENTED


@every_route
def test_handler_takes_the_message_and_gives_the_answer_of_its_row(route: Route) -> None:
    types = get_type_hints(route.handler)
    given = list(inspect.signature(route.handler).parameters)
    message = types[given[2]] if len(given) == 3 else None
    assert message == (Chunks if route.streams_body else route.message)
    assert issubclass(route.answer or Reply, types["return"])


@every_route
def test_path_is_found_with_and_without_its_version(route: Route) -> None:
    path = route.path.format(**{name: "a%2Fb" for name in route.parameters})
    for sent in {path, path.removeprefix("/v1")}:
        found = TABLE.find(sent.replace("%2F", "/"), sent.encode())
        assert found is not None
        assert found.routes[route.method] is route
        assert set(found.parameters.values()) <= {"a/b"}


def test_operations_have_names_of_their_own() -> None:
    assert max(Counter(route.operation for route in ROUTES).values()) == 1


def test_unknown_right_cannot_be_written() -> None:
    """The type of a right is an enum: mypy refuses text, and no member can be made."""
    with pytest.raises(ValueError, match="'everything' is not a valid Right"):
        Right("everything")
