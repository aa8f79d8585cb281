"""Finding a route: by its path alone, parameters decoded, words before what is left."""

from dataclasses import replace

import pytest

from serving.api.route import Route, RouteTable
from serving.api.routes import ROUTES

ANY = ROUTES[0]


def table(*paths: str) -> RouteTable:
    return RouteTable([replace(ANY, path=path) for path in paths])


USERS = table("/v1/users", "/v1/users/{user_id}", "/v1/users/{user_id}/consent", "/health")


@pytest.mark.parametrize(
    ("sent", "path", "parameters"),
    [
        ("/v1/users", "/v1/users", {}),
        ("/users", "/v1/users", {}),
        ("/health", "/health", {}),
        ("/v1/users/ada", "/v1/users/{user_id}", {"user_id": "ada"}),
        ("/users/a%2Fb", "/v1/users/{user_id}", {"user_id": "a/b"}),
        ("/v1/users/a/b", "/v1/users/{user_id}", {"user_id": "a/b"}),
        ("/v1/users/%C3%A9%20%0A", "/v1/users/{user_id}", {"user_id": "é \n"}),
        ("/v1/users/a%2Fb/consent", "/v1/users/{user_id}/consent", {"user_id": "a/b"}),
        ("/users/consent/consent", "/v1/users/{user_id}/consent", {"user_id": "consent"}),
    ],
)
def test_path_is_found_with_its_parameters(sent: str, path: str, parameters: dict[str, str]) -> None:
    found = USERS.find(sent, sent.encode())
    assert found is not None
    assert (found.path, found.parameters) == (path, parameters)


@pytest.mark.parametrize("sent", ["/", "/v1/users/", "/v1", "/v1/health", "/v2/users", "/v1/usersx"])
def test_path_that_is_none_of_ours_is_not_found(sent: str) -> None:
    assert USERS.find(sent, sent.encode()) is None


def test_path_is_read_decoded_where_a_server_tells_no_other() -> None:
    found = USERS.find("/v1/users/a b", None)
    assert found is not None
    assert found.parameters == {"user_id": "a b"}


def test_methods_of_one_path_stand_side_by_side() -> None:
    rows: list[Route] = [replace(ANY, path="/v1/rules", method=method) for method in ("GET", "PUT")]
    found = RouteTable(rows).find("/v1/rules", None)
    assert found is not None
    assert list(found.routes) == ["GET", "PUT"]


def test_row_that_stands_twice_is_a_fault_of_the_table() -> None:
    with pytest.raises(AssertionError, match="POST /v1/rules stands twice"):
        table("/v1/rules", "/v1/rules")
