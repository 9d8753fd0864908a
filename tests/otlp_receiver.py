"""A collector inside the test's own process: what OTLP exporters of other processes send to it."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from waiting import eventually

KINDS = {number: name.removeprefix("SPAN_KIND_") for name, number in SpanMessage.SpanKind.items()}


@dataclass
class Span:
    """A span as it arrived; instants in seconds."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    begin: float
    end: float
    attributes: dict[str, Any]
    links: list[tuple[str, str]]
    events: list[tuple[str, dict[str, Any]]]
    is_error: bool
    message: str
    scope: str
    schema_url: str
    resource: dict[str, Any]

    @property
    def place(self) -> tuple[str, str]:
        """Its trace and itself, as a link to it says."""
        return self.trace_id, self.span_id

    def event(self, name: str) -> dict[str, Any]:
        """Return the attributes of its one event of a name."""
        (found,) = [about for known, about in self.events if known == name]
        return found


@dataclass
class Point:
    """One number of a metric, and when it was observed; `value` is the sum of a histogram."""

    name: str
    attributes: dict[str, Any]
    value: float
    count: int
    bounds: tuple[float, ...]
    at: float
    resource: dict[str, Any]


@dataclass
class Line:
    """A log record as it arrived."""

    text: str
    severity: str
    number: int
    trace_id: str
    span_id: str
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class Received:
    spans: list[Span] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)


class Receiver:
    """Answers OTLP over HTTP on 127.0.0.1 until closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received = Received()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self._server.server_port}",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
            "OTEL_BSP_SCHEDULE_DELAY": "100",  # ms
            "OTEL_METRIC_EXPORT_INTERVAL": "200",  # ms
            "OTEL_SERVICE_NAME": "shop",
        }

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            spans = list(_spans(ExportTraceServiceRequest.FromString(body)))
            with self._lock:
                self._received.spans += spans
        elif path == "/v1/metrics":
            points = list(_points(ExportMetricsServiceRequest.FromString(body)))
            with self._lock:
                self._received.points += points
        elif path == "/v1/logs":
            lines = list(_lines(ExportLogsServiceRequest.FromString(body)))
            with self._lock:
                self._received.lines += lines

    @property
    def spans(self) -> list[Span]:
        with self._lock:
            return list(self._received.spans)

    @property
    def lines(self) -> list[Line]:
        """What was logged, by when it came."""
        with self._lock:
            return list(self._received.lines)

    def named(self, name: str) -> list[Span]:
        """Return the spans of a name, by when they began."""
        return sorted((s for s in self.spans if s.name == name), key=lambda span: span.begin)

    def wait_for(self, name: str, count: int = 1) -> list[Span]:
        """Wait until so many spans of a name are there, and return them."""
        eventually(lambda: len(self.named(name)) >= count)
        return self.named(name)

    def points(self, name: str) -> list[Point]:
        """Return the numbers of a metric, by when they came."""
        with self._lock:
            return [point for point in self._received.points if point.name == name]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def tree(spans: list[Span]) -> str:
    """Return one trace as text: a line for each span, below its parent."""
    known = {span.span_id: span.name for span in spans}
    lines: list[str] = []

    def show(span: Span, depth: int) -> None:
        links = ", ".join(known.get(at, f"{at} elsewhere") for _, at in span.links)
        attempt = span.attributes.get("jtask.attempt")
        lines.append(
            f"{'  ' * depth}{span.name}"
            f"{'' if attempt is None else f' #{attempt}'} [{span.kind}]"
            f" {(span.end - span.begin) * 1000:.1f} ms"
            f"{' ERROR' if span.is_error else ''}{f' -> {links}' if links else ''}"
        )
        below = [child for child in spans if child.parent_id == span.span_id]
        for child in sorted(below, key=lambda one: one.begin):
            show(child, depth + 1)

    for root in sorted(spans, key=lambda span: span.begin):
        if root.parent_id not in known:
            show(root, 0)
    return "\n".join(lines)


def _spans(request: Any) -> Iterator[Span]:
    for resource in request.resource_spans:
        about = _attributes(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    name=span.name,
                    kind=KINDS[span.kind],
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    begin=span.start_time_unix_nano / 1e9,
                    end=span.end_time_unix_nano / 1e9,
                    attributes=_attributes(span.attributes),
                    links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                    events=[(event.name, _attributes(event.attributes)) for event in span.events],
                    is_error=span.status.code == 2,
                    message=span.status.message,
                    scope=scope.scope.name,
                    schema_url=scope.schema_url,
                    resource=about,
                )


def _lines(request: Any) -> Iterator[Line]:
    for resource in request.resource_logs:
        about = _attributes(resource.resource.attributes)
        for scope in resource.scope_logs:
            for record in scope.log_records:
                yield Line(
                    text=record.body.string_value,
                    severity=record.severity_text,
                    number=record.severity_number,
                    trace_id=record.trace_id.hex(),
                    span_id=record.span_id.hex(),
                    attributes=_attributes(record.attributes),
                    resource=about,
                )


def _points(request: Any) -> Iterator[Point]:
    for resource in request.resource_metrics:
        about = _attributes(resource.resource.attributes)
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                for point in getattr(metric, kind).data_points:
                    is_histogram = kind == "histogram"
                    number = point.sum if is_histogram else point.as_int or point.as_double
                    yield Point(
                        name=metric.name,
                        attributes=_attributes(point.attributes),
                        value=number,
                        count=point.count if is_histogram else 1,
                        bounds=tuple(point.explicit_bounds) if is_histogram else (),
                        at=point.time_unix_nano / 1e9,
                        resource=about,
                    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()
