"""Wraps every request: its id, its headers, its metrics, and its line in the log.

Pure ASGI: Starlette's BaseHTTPMiddleware costs more than most queries.
"""

import time
from typing import Any

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.lifecycle import Lifecycle
from service.observability.metrics import Metrics
from service.observability.record import RequestRecord, request_record

logger = structlog.get_logger()

# Asked every second by machines: in the metrics, and in the log at level DEBUG only.
QUIET = frozenset({"/health", "/livez", "/metrics"})
PATH_MOST = 500  # characters in the log
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestMiddleware:
    """The outermost layer of the application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        instance: str,
        metrics: Metrics,
        lifecycle: Lifecycle,
    ) -> None:
        self._app = app
        self._instance = instance
        self._metrics = metrics
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with request_record(Headers(scope=scope)) as record:
            await self._serve(scope, receive, send, record)

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, record: RequestRecord
    ) -> None:
        started = time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message["headers"] = [*message.get("headers", ()), *self._headers(record)]
            await send(message)

        with (
            structlog.contextvars.bound_contextvars(request_id=record.request_id),
            self._metrics.in_flight.track_inprogress(),
        ):
            try:
                await self._app(scope, receive, send_with_headers)
            finally:
                self._note(scope, record, time.perf_counter() - started)

    def _headers(self, record: RequestRecord) -> list[tuple[bytes, bytes]]:
        headers = record.headers(self._instance)
        if self._lifecycle.draining:
            headers.append((b"connection", b"close"))
        return headers

    def _note(self, scope: Scope, record: RequestRecord, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        route, status = _template(scope), record.status or 500  # what the server says for us
        self._metrics.requests.labels(route, method, status).observe(seconds)
        details: dict[str, Any] = {
            "method": method,
            "path": scope["path"][:PATH_MOST],
            "status": status,
            "milliseconds": round(seconds * 1000, 2),
        }
        if record.route is not None:
            details |= {"route": record.route, "attempts": record.attempts}
        if record.local_commit:
            details["durability"] = "local"
        for name in ("client", "client_ip", "client_request_id"):
            if value := getattr(record, name):
                details[name] = value
        if scope["path"] in QUIET:
            logger.debug("request", **details)
        else:
            logger.info("request", **details)


def _template(scope: Scope) -> str:
    """Return the route's template, so that metrics do not grow with every path asked for."""
    return getattr(scope.get("route"), "path", None) or "unmatched"
