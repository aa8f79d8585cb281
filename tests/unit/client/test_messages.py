"""The client's messages are the service's, its settings are checked, and it is light."""

import subprocess
import sys
from collections.abc import Callable

import msgspec
import pytest

from marquee.client import Client, RetryPolicy, messages
from serving.api.document import openapi
from serving.api.routes import ROUTES
from serving.config import Settings


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Client("service:3000"), "url must begin with http"),
        (lambda: Client("http://service", deadline_s=0), "deadline_s must be more than 0, got 0"),
        (lambda: Client("http://service", attempt_s=-1), "attempt_s must be more than 0, got -1"),
        (lambda: RetryPolicy(max_attempts=0), "max_attempts must be 1 or more, got 0"),
        (lambda: RetryPolicy(fraction=2), "fraction must lie between 0 and 1, got 2"),
        (lambda: RetryPolicy(reserve=-1), "reserve must be 0 or more, got -1"),
        (lambda: RetryPolicy(pause_s=9), "pause_s must lie between 0 and max_pause_s"),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_messages_are_those_of_the_service_s_document() -> None:
    """A field that the service gains or loses must be gained or lost by the client's message of that name."""
    schemas = openapi.document(Settings(), ["default"], ROUTES)["components"]["schemas"]
    own = {
        name: {field.encode_name for field in msgspec.structs.fields(message)}
        for name, message in vars(messages).items()
        if isinstance(message, type) and issubclass(message, msgspec.Struct)
    }
    assert {name: set(schemas[name]["properties"]) for name in own} == own


def test_importing_the_client_loads_nothing_heavy() -> None:
    code = "import sys, marquee.client; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "httpx" in run.stdout.split()
    assert not set(run.stdout.split()) & {"numpy", "faiss", "polars", "torch", "bentoml", "serving"}
