"""What is kept of every request when it is over: a count in the metrics, a line in the log."""

from typing import Any

from starlette.types import Scope

from service.observability import logs
from service.observability.metrics import Metrics
from service.observability.record import RequestRecord
from service.observability.tallies import Spread

# Asked every second by machines: in the metrics, and in the log at level DEBUG only.
QUIET = frozenset({"/health", "/livez", "/metrics"})
PATH_MOST = 500  # characters in the log
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Journal:
    """Counts requests, and writes each down."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._spreads: dict[tuple[str, str, int], Spread] = {}
        self._in_flight = 0
        metrics.in_flight.set_function(lambda: self._in_flight)

    def begin(self, scope: Scope, record: RequestRecord) -> None:  # noqa: ARG002 - of those with spans
        """Count a request that is being served."""
        self._in_flight += 1

    def end(self, scope: Scope, record: RequestRecord, seconds: float) -> None:
        """Note one that is over, after so many seconds."""
        self._in_flight -= 1
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        # 500 is what the server says for us.
        route, status = template(scope) or "unmatched", record.status or 500
        self._spread(route, method, status).observe(seconds)
        details: dict[str, Any] = {
            "event": "request",
            "method": method,
            "path": scope["path"][:PATH_MOST],
            "status": status,
            "milliseconds": round(seconds * 1000, 2),
            "request_id": record.request_id,
        }
        if record.trace is not None:
            details["trace_id"] = record.trace.trace_id
        if record.route is not None:
            details["route"] = record.route
            details["attempts"] = record.attempts
        if record.local_commit:
            details["durability"] = "local"
        if record.client:
            details["client"] = record.client
        if record.client_ip:
            details["client_ip"] = record.client_ip
        if record.client_request_id:
            details["client_request_id"] = record.client_request_id
        logs.tell("debug" if scope["path"] in QUIET else "info", details)

    def _spread(self, route: str, method: str, status: int) -> Spread:
        """Return that of these labels, which are few: routes are templates."""
        key = (route, method, status)
        spread = self._spreads.get(key)
        if spread is None:
            labels = route, method, str(status)
            spread = self._spreads[key] = self._metrics.requests.labels(*labels)
        return spread


def template(scope: Scope) -> str | None:
    """Return the route's template, so that metrics do not grow with every path asked for."""
    return getattr(scope.get("route"), "path", None)
