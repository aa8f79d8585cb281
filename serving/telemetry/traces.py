"""Traces of requests by OpenTelemetry, for those who ask for them with `MARQUEE_TRACES`.

A request becomes one span with a child for each stage it went through, made when its reply is made: what a
request costs on its way are a few readings of the clock, with traces or without. Without, this module is
never loaded. Bodies, keys, users and items stay out of traces.
"""

import time
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from marquee.errors import ConfigError
from serving.http.exchange import Call
from serving.telemetry.settings import TelemetrySettings

_NANOSECONDS = 1_000_000_000
_OTLP_HINT = (
    "MARQUEE_TRACES=otlp needs OpenTelemetry's exporter; pip install opentelemetry-exporter-otlp-proto-http"
)


class OpenTelemetryTracer:
    """Makes a span of each request, a child of the caller's span if it names one.

    Args:
        exporter: Where spans go.
        share: Share of the requests without a caller's decision that is recorded, 0 to 1.
        version: Of the service.
    """

    def __init__(self, exporter: SpanExporter, share: float, version: str) -> None:
        resource = Resource.create({"service.name": "marquee", "service.version": version})
        # A caller decides for its whole trace: a part of one explains nothing.
        self._provider = TracerProvider(resource=resource, sampler=ParentBased(TraceIdRatioBased(share)))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("serving")
        self._propagator = TraceContextTextMapPropagator()

    def record(self, call: Call, route: str, status: int, seconds: float, traceparent: str) -> None:
        """As `serving.telemetry.tracer.Tracer` says."""
        # The wall clock for the end alone: durations are of a clock that never goes back.
        ended = time.time_ns()
        started = ended - int(seconds * _NANOSECONDS)
        # W3C Trace Context: a header that is malformed gives a trace of our own.
        parent = self._propagator.extract({"traceparent": traceparent}) if traceparent else None
        span = self._tracer.start_span(route, parent, SpanKind.SERVER, start_time=started)
        call.facts["trace_id"] = trace.format_trace_id(span.get_span_context().trace_id)
        # Most requests may not be recorded: attributes are made for those that are.
        if span.is_recording():
            span.set_attributes(
                {
                    "http.route": route,
                    "http.response.status_code": status,
                    "marquee.request_id": call.request_id,
                    **{f"marquee.{name}": value for name, value in call.facts.items() if name != "trace_id"},
                }
            )
            # For a server a status of 4xx is no error (OpenTelemetry's conventions for HTTP).
            if status >= 500:
                span.set_status(StatusCode.ERROR)
            within = trace.set_span_in_context(span)
            for stage, stage_seconds in call.stages.items():
                until = started + int(stage_seconds * _NANOSECONDS)
                self._tracer.start_span(stage, within, start_time=started).end(until)
                started = until
        span.end(ended)

    def close(self) -> None:
        """As `serving.telemetry.tracer.Tracer` says."""
        self._provider.shutdown()


def read_tracer(settings: TelemetrySettings, version: str) -> OpenTelemetryTracer:
    """Returns the tracer that the operator asked for.

    Raises:
        ConfigError: If `settings.traces` names no exporter, or one that is not installed.
    """
    return OpenTelemetryTracer(_exporter(settings.traces), settings.trace_percent / 100, version)


def validate_traces(settings: TelemetrySettings) -> None:
    """Raises ConfigError if no worker could record traces where the operator asked for them."""
    _exporter(settings.traces).shutdown()


def _exporter(traces: str) -> SpanExporter:
    """Returns the exporter that `MARQUEE_TRACES` names."""
    if traces == "console":
        return ConsoleSpanExporter(formatter=_one_line)
    if traces.startswith("file:"):
        return _FileExporter(Path(traces.removeprefix("file:")))
    if traces != "otlp":
        raise ConfigError(
            f"MARQUEE_TRACES must be console, file:<path> or otlp, got {traces!r}; leave it out for no traces"
        )
    try:
        # An extra that few need: without it the other exporters must work.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise ConfigError(f"{_OTLP_HINT}: {error}") from error
    exporter: SpanExporter = OTLPSpanExporter()  # reads OTEL_EXPORTER_OTLP_ENDPOINT and its like
    return exporter


class _FileExporter(ConsoleSpanExporter):
    """Adds spans to a file that all workers share, each as one whole line."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("a", buffering=1, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"MARQUEE_TRACES must name a file to write, got {path}: {error}") from error
        super().__init__(out=self._file, formatter=_one_line)

    def shutdown(self) -> None:
        """Closes the file."""
        self._file.close()


def _one_line(span: ReadableSpan) -> str:
    """Returns a span as one line of JSON."""
    return f"{span.to_json(indent=None)}\n"
