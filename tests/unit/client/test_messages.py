"""The client's messages are the service's, its settings are checked, and it is light."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from marquee.client import Client, RetryPolicy, messages
from marquee.client.calls import STATUS_OF_CODE
from serving.api.client_messages import client_messages
from serving.api.route import Tag
from serving.http.errors import Problem


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Client("service:3000"), "url must begin with http"),
        (lambda: Client("http://service", deadline_s=0), "deadline_s must be more than 0 .* got 0"),
        (lambda: Client("http://service", attempt_s=-1), "attempt_s must be more than 0 .* got -1"),
        (lambda: RetryPolicy(max_attempts=0), "max_attempts must be 1 or more, got 0"),
        (lambda: RetryPolicy(fraction=2), "fraction must lie between 0 and 1, got 2"),
        (lambda: RetryPolicy(reserve=-1), "reserve must be 0 or more, got -1"),
        (lambda: RetryPolicy(pause_s=9), "pause_s must lie between 0 and max_pause_s"),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_messages_are_those_that_the_service_s_document_makes() -> None:
    """`make lock` writes them; whoever changes a field of the service runs it."""
    folder = Path(messages.__file__).parent
    written = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
    assert written == client_messages()


def test_message_of_one_group_stands_in_its_module() -> None:
    modules = client_messages()
    assert "class RecommendRequest(" in modules["asking"]
    assert "class ReleasesAnswer(" in modules["releases"]
    assert "class ErrorAnswer(" in modules["shared"]
    assert set(modules) - {"__init__", "shared"} <= {tag.title for tag in Tag}


def test_statuses_of_a_batch_s_parts_are_those_of_the_service() -> None:
    assert {code: Problem[code].status for code in STATUS_OF_CODE} == STATUS_OF_CODE


def test_importing_the_client_loads_nothing_heavy() -> None:
    code = "import sys, marquee.client; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "httpx" in run.stdout.split()
    assert not set(run.stdout.split()) & {"numpy", "faiss", "polars", "torch", "bentoml", "serving"}
