"""The spans of a request, and of its attempts, checkouts and statements, each below its cause.

Imported only with OTEL_EXPORTER_OTLP_ENDPOINT (service/observability/tracing.py). The rule of the
log holds here, and a stricter one: names and attributes have route templates, statements' texts,
classes of failures and numbers, and nothing that a client sent: no path, no query, no header, no
parameter of a statement, no message of an exception, no `tracestate`.

Names and attributes follow OpenTelemetry's conventions for HTTP servers and for PostgreSQL; what
these have no name for begins with `holdfast.`.
"""

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar, Token
from dataclasses import dataclass
from functools import lru_cache

from opentelemetry.context import Context
from opentelemetry.semconv.attributes.db_attributes import (
    DB_NAMESPACE,
    DB_QUERY_SUMMARY,
    DB_QUERY_TEXT,
    DB_RESPONSE_STATUS_CODE,
    DB_SYSTEM_NAME,
    DbSystemNameValues,
)
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.attributes.http_attributes import (
    HTTP_REQUEST_METHOD,
    HTTP_RESPONSE_STATUS_CODE,
    HTTP_ROUTE,
)
from opentelemetry.semconv.attributes.server_attributes import SERVER_ADDRESS, SERVER_PORT
from opentelemetry.semconv.attributes.url_attributes import URL_SCHEME
from opentelemetry.trace import (
    NoOpTracer,
    Span,
    SpanKind,
    StatusCode,
    Tracer,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from starlette.types import Scope

from service.database import DatabaseOptions, EndpointOptions, Role
from service.errors import DatabaseError, RequestError
from service.observability.journal import METHODS, QUIET, Journal, template
from service.observability.metrics import Metrics
from service.observability.record import RequestRecord, current_record

ROUTE, ATTEMPT, ATTEMPTS = "holdfast.route", "holdfast.attempt", "holdfast.attempts"
OUTCOME, ROLE, KIND = "holdfast.outcome", "holdfast.role", "holdfast.failure.kind"
AHEAD, DURABILITY = "holdfast.sent_ahead", "holdfast.durability"

TRACEPARENT = b"traceparent"
_W3C = TraceContextTextMapPropagator()
_NOTHING = nullcontext()
# What spans are below; None: in no request, or in one that is not traced.
_above: ContextVar[Context | None] = ContextVar("holdfast_span", default=None)
# A statement's verb, and what it is for: the name of the first table.
_VERB = re.compile(r"\s*\(*\s*([A-Za-z]+)")
_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+([A-Za-z_][\w.]*)", re.IGNORECASE)


@dataclass(slots=True)
class RequestSpan:
    """The span of the request at hand, kept in its record."""

    trace_id: str
    span: Span
    token: Token[Context | None]


class Spans:
    """Makes spans: of requests for the journal, and of what is below them for the database."""

    def __init__(self, options: DatabaseOptions) -> None:
        self.tracer: Tracer = NoOpTracer()  # until there is somewhere to send spans
        self._places = {
            Role.WRITE: _place(Role.WRITE, options.write, options.name),
            Role.READ: _place(Role.READ, options.read, options.name),
        }

    # ------------------------------------------------------------ requests
    def begin(self, scope: Scope) -> RequestSpan | None:
        """Begin a request's span, below its client's if it says which that is.

        None when nothing is traced (OTEL_SDK_DISABLED).
        """
        method = _method(scope)
        span = self.tracer.start_span(
            method,
            context=_clients(scope) or Context(),
            kind=SpanKind.SERVER,
            attributes={HTTP_REQUEST_METHOD: method, URL_SCHEME: scope.get("scheme", "http")},
        )
        here = span.get_span_context()
        if not here.is_valid:
            return None
        context = set_span_in_context(span, Context()) if span.is_recording() else None
        return RequestSpan(format_trace_id(here.trace_id), span, _above.set(context))

    def end(self, scope: Scope, record: RequestRecord, request: RequestSpan) -> None:
        """End it, with what became of the request."""
        _above.reset(request.token)
        span, status = request.span, record.status
        if span.is_recording():
            span.set_attributes(_told_of(record))
            if (route := template(scope)) is not None:
                span.set_attribute(HTTP_ROUTE, route)
                span.update_name(f"{_name(scope)} {route}")
            else:
                span.update_name(_name(scope))
            if status == 0 or status >= 500:  # noqa: PLR2004 - HTTP's own
                span.set_status(StatusCode.ERROR)
                span.set_attribute(ERROR_TYPE, str(status or "unanswered"))
        span.end()

    # ------------------------------------------------------------ service.database.Tracer
    def attempt(self, number: int) -> AbstractContextManager[object]:
        """Return the span of an attempt."""
        if (above := _above.get()) is None:
            return _NOTHING
        return _Attempt(self.tracer.start_span("attempt", above, attributes={ATTEMPT: number}))

    def checkout(self, role: Role) -> AbstractContextManager[object]:
        """Return the span of the wait for a session."""
        if (above := _above.get()) is None:
            return _NOTHING
        place = self._places[role]
        return _Below(self.tracer.start_span("checkout", above, SpanKind.INTERNAL, place))

    def exchange(
        self, role: Role, text: str, ahead: tuple[str, ...]
    ) -> AbstractContextManager[object]:
        """Return the span of a statement."""
        if (above := _above.get()) is None:
            return _NOTHING
        summary = summary_of(text)
        attributes = {**self._places[role], DB_QUERY_SUMMARY: summary, DB_QUERY_TEXT: text}
        if ahead:
            attributes[AHEAD] = ahead
        return _Below(self.tracer.start_span(summary, above, SpanKind.CLIENT, attributes))


class TracedJournal(Journal):
    """A journal that has a span for each request, but for those that machines ask every second."""

    def __init__(self, metrics: Metrics, spans: Spans) -> None:
        super().__init__(metrics)
        self._spans = spans

    def begin(self, scope: Scope, record: RequestRecord) -> None:
        """Begin the request's span."""
        super().begin(scope, record)
        if scope["path"] not in QUIET:
            record.trace = self._spans.begin(scope)

    def end(self, scope: Scope, record: RequestRecord, seconds: float) -> None:
        """End it."""
        super().end(scope, record, seconds)
        if isinstance(record.trace, RequestSpan):
            self._spans.end(scope, record, record.trace)


class _Below:
    """The block of a span that has none below it."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None:
            _fail(self._span, error)
        self._span.end()


class _Attempt:
    """The block of an attempt, which other spans are below."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> None:
        self._token = _above.set(set_span_in_context(self._span, Context()))

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        _above.reset(self._token)
        span = self._span
        if (route := current_record().route) is not None:
            span.set_attribute(ROUTE, route)
        span.set_attribute(OUTCOME, _outcome(error))
        if error is not None:
            _fail(span, error)
        span.end()


def _outcome(error: BaseException | None) -> str:
    """Say in a word what became of an attempt."""
    if error is None:
        return "done"
    if isinstance(error, RequestError):
        return "refused"
    return "failed" if isinstance(error, Exception) else "cancelled"


def _fail(span: Span, error: BaseException) -> None:
    """Say of what class a failure is. Its message may hold anything."""
    if not isinstance(error, RequestError):
        span.set_status(StatusCode.ERROR)
    span.set_attribute(ERROR_TYPE, type(error).__name__)
    if (state := _sqlstate(error.__cause__)) is not None:
        span.set_attribute(DB_RESPONSE_STATUS_CODE, state)
        span.set_attribute(ERROR_TYPE, state)
    if isinstance(error, DatabaseError):
        span.set_attribute(KIND, error.kind)


def _sqlstate(cause: BaseException | None) -> str | None:
    """Return what the server said. The driver's own errors have a SQLSTATE too, by their class."""
    said = getattr(cause, "severity", None) is not None
    return getattr(cause, "sqlstate", None) if said else None


def _told_of(record: RequestRecord) -> dict[str, AttributeValue]:
    status = record.status
    told: dict[str, AttributeValue] = {OUTCOME: _answered(status)}
    if status:
        told[HTTP_RESPONSE_STATUS_CODE] = status
    if record.route is not None:
        told[ROUTE] = record.route
        told[ATTEMPTS] = record.attempts
    if record.local_commit:
        told[DURABILITY] = "local"
    return told


def _answered(status: int) -> str:
    """Say in a word what became of a request."""
    if status == 0:
        return "unanswered"
    return "done" if status < 400 else "refused" if status < 500 else "failed"  # noqa: PLR2004


def _clients(scope: Scope) -> Context | None:
    """Return the span that a client's `traceparent` names; None without one that is valid."""
    found = [value for name, value in scope["headers"] if name == TRACEPARENT]
    if len(found) != 1:
        return None
    return _W3C.extract({"traceparent": found[0].decode("latin-1")}, Context())


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in METHODS else "_OTHER"


def _name(scope: Scope) -> str:
    return scope["method"] if scope["method"] in METHODS else "HTTP"


def _place(role: Role, endpoint: EndpointOptions, name: str) -> Mapping[str, AttributeValue]:
    return {
        DB_SYSTEM_NAME: DbSystemNameValues.POSTGRESQL.value,
        DB_NAMESPACE: name,
        SERVER_ADDRESS: endpoint.host,
        SERVER_PORT: endpoint.port,
        ROLE: role.value,
    }


@lru_cache(maxsize=1024)
def summary_of(text: str) -> str:
    """Return what a statement does, and to which table: `SELECT users`."""
    verb = _VERB.match(text)
    said = verb[1].upper() if verb else "QUERY"
    if said == "PREPARE":
        return f"PREPARE {summary_of(text[verb.end() :])}" if verb else said
    table = None if said == "COMMIT" else _TABLE.search(text)
    return f"{said} {table[1]}" if table else said
