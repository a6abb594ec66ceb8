"""A collector of traces: takes OTLP over HTTP, as OpenTelemetry's own does, and keeps the spans."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ops.embedded import free_port
from tests.http_server import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from tests.http_server import Request

PATH = "/v1/traces"


@dataclass
class Seen:
    """A span, as a test looks at it."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent: str  # empty: none
    error: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]
    start: int
    end: int

    def has(self, **attributes: object) -> bool:
        """Say whether it has these; `__` stands for a dot."""
        wanted = {name.replace("__", "."): value for name, value in attributes.items()}
        return wanted.items() <= self.attributes.items()


@dataclass
class Collector:
    """What has arrived, and how the next is answered."""

    port: int
    host: str = "127.0.0.1"
    status: HTTPStatus = HTTPStatus.OK
    bodies: list[bytes] = field(default_factory=list)
    refused: int = 0  # batches
    gate: Event = field(default_factory=Event)  # unset: nobody is answered
    lock: Lock = field(default_factory=Lock)

    @property
    def url(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT has."""
        return f"http://{self.host}:{self.port}"

    def serve(self, request: Request) -> None:
        """Take a batch."""
        assert request.path == PATH
        self.gate.wait(timeout=60)
        with self.lock:
            if self.status is HTTPStatus.OK:
                self.bodies.append(request.body)
            else:
                self.refused += 1
        request.begin(self.status)

    def spans(self) -> list[Seen]:
        """Return all spans, in the order of their beginnings."""
        found = []
        with self.lock:
            bodies = list(self.bodies)
        for body in bodies:
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = _plain(group.resource.attributes)
                found += [
                    _seen(span, resource) for each in group.scope_spans for span in each.spans
                ]
        return sorted(found, key=lambda span: span.start)

    def trace(self, trace_id: str) -> list[Seen]:
        """Return the spans of one trace."""
        return [span for span in self.spans() if span.trace_id == trace_id]


@contextmanager
def collecting(
    port: int = 0, *, silent: bool = False, host: str = "127.0.0.1"
) -> Iterator[Collector]:
    """Run a collector; a silent one takes connections, and answers nobody until `gate` is set."""
    collector = Collector(port or free_port(), host)
    if not silent:
        collector.gate.set()
    with serving(collector.serve, host, collector.port, "collector"):
        try:
            yield collector
        finally:
            collector.gate.set()


def _seen(span: Span, resource: dict[str, Any]) -> Seen:
    return Seen(
        name=span.name,
        kind=span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        error=span.status.code == span.status.STATUS_CODE_ERROR,
        attributes=_plain(span.attributes),
        resource=resource,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
    )


def _plain(attributes: Any) -> dict[str, Any]:  # noqa: ANN401 - protobuf's own container
    pairs: list[KeyValue] = list(attributes)
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:  # noqa: ANN401 - whatever it is
    if value.HasField("array_value"):
        return [_value(each) for each in value.array_value.values]
    return getattr(value, value.WhichOneof("value") or "string_value")
