"""Traces: one span a request with a child per stage, under the caller's span; nothing where nobody asks."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from marquee.errors import ConfigError
from serving.config import Settings
from serving.http.exchange import Call
from serving.telemetry.traces import OpenTelemetryTracer, read_tracer
from tests.support.paths import ROOT

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def record(traceparent: str = "", status: int = 200, share: float = 1.0) -> tuple[dict[str, Any], Call]:
    """Returns the spans of one request by name, and the request."""
    exporter = InMemorySpanExporter()
    tracer = OpenTelemetryTracer(exporter, share, "1.0")
    call = Call("request-1", started=0.0, stages={"read": 0.001, "queue": 0.002, "encode": 0.003})
    call.facts = {"source": "personal"}
    tracer.record(call, "/v1/recommend", status, 0.01, traceparent)
    tracer.close()
    return {span.name: span for span in exporter.get_finished_spans()}, call


def test_request_is_a_span_with_a_child_for_each_stage() -> None:
    spans, call = record()
    root = spans["/v1/recommend"]
    assert list(spans) == ["read", "queue", "encode", "/v1/recommend"]
    assert {span.parent.span_id for name, span in spans.items() if name != "/v1/recommend"} == {
        root.context.span_id
    }
    assert spans["queue"].start_time == spans["read"].end_time
    assert spans["encode"].end_time - spans["read"].start_time == 6_000_000
    assert root.end_time - root.start_time == 10_000_000
    assert root.attributes["http.response.status_code"] == 200
    assert root.attributes["marquee.request_id"] == "request-1"
    assert call.facts["trace_id"] == f"{root.context.trace_id:032x}"


def test_caller_s_span_is_the_parent() -> None:
    spans, call = record(f"00-{TRACE}-{PARENT}-01")
    root = spans["/v1/recommend"]
    assert (f"{root.context.trace_id:032x}", f"{root.parent.span_id:016x}") == (TRACE, PARENT)
    assert call.facts["trace_id"] == TRACE


def test_caller_decides_whether_a_request_is_traced() -> None:
    assert record(f"00-{TRACE}-{PARENT}-00")[0] == {}
    assert "/v1/recommend" in record(f"00-{TRACE}-{PARENT}-01", share=0.0)[0]
    assert record(share=0.0)[0] == {}


@pytest.mark.parametrize(
    "traceparent", ["nonsense", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-01", "é" * 500]
)
def test_wrong_traceparent_begins_a_trace_of_its_own(traceparent: str) -> None:
    assert record(traceparent)[0]["/v1/recommend"].parent is None


def test_fault_of_ours_marks_the_span() -> None:
    assert not record(status=503)[0]["/v1/recommend"].status.is_ok
    assert record(status=422)[0]["/v1/recommend"].status.is_unset


def test_traces_go_to_a_file_one_line_each(tmp_path: Path) -> None:
    tracer = read_tracer(Settings(traces=f"file:{tmp_path}/traces.jsonl"), "1.0")
    tracer.record(Call("r", 0.0), "/v1/recommend", 200, 0.01, "")
    tracer.close()
    (line,) = (tmp_path / "traces.jsonl").read_text().splitlines()
    assert json.loads(line)["name"] == "/v1/recommend"


@pytest.mark.parametrize(
    ("traces", "message"),
    [
        ("jaeger", "MARQUEE_TRACES must be console, file:<path> or otlp, got 'jaeger'"),
        ("file:/nowhere/at/all", "MARQUEE_TRACES must name a file to write, got /nowhere/at/all"),
        ("otlp", "pip install opentelemetry-exporter-otlp-proto-http"),
    ],
)
def test_traces_that_cannot_be_written_are_refused(traces: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_tracer(Settings(traces=traces), "1.0")


def test_without_traces_nothing_of_them_is_loaded() -> None:
    code = (
        "import sys, serving.api.app, serving.api.recommend, serving.http.connections, serving.http.exchange;"
        "late = ('serving.telemetry.traces', 'opentelemetry');"
        "print(*[name for name in sys.modules if name.startswith(late)])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
