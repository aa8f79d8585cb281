"""The log: one JSON object per line, whatever is in it."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from serving.telemetry import logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    logger = logging.getLogger(logs.LOGGER)
    before = (logger.handlers, logger.level, logger.propagate)
    output = io.StringIO()
    logs.configure(output)
    yield output
    logger.handlers, logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def test_line_is_json_with_the_request_s_id(stream: io.StringIO) -> None:
    logging.getLogger("serving.api.app").info("%s %s", "a\nb", 200, extra={"facts": {"request_id": "r1"}})
    (line,) = stream.getvalue().splitlines()
    facts = json.loads(line)
    assert (facts["level"], facts["message"], facts["request_id"]) == ("info", "a\nb 200", "r1")
    assert facts["time"].endswith("Z")


def test_no_fact_fills_the_disk(stream: io.StringIO) -> None:
    facts = {"long": "x" * 100_000, "many": ["y" * 10] * 10_000, "few": ["z"], "n": 3}
    logging.getLogger("serving.api.app").info("told", extra={"facts": facts})
    (line,) = stream.getvalue().splitlines()
    told = json.loads(line)
    assert (len(told["long"]), told["few"], told["n"]) == (10_000, ["z"], 3)
    assert len(line) < 25_000


def test_stack_of_a_fault_stays_in_its_line(stream: io.StringIO) -> None:
    try:
        raise ZeroDivisionError("on purpose")
    except ZeroDivisionError as error:
        logging.getLogger("serving.api.recommend").error("failed", exc_info=error)
    (line,) = stream.getvalue().splitlines()
    assert "ZeroDivisionError: on purpose" in json.loads(line)["stack"]
