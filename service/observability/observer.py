"""Turns what the database tells into metrics, log lines and the record of the request."""

import structlog

from service.database import Observer, Role, Route
from service.errors import DatabaseError, TransientError
from service.observability.metrics import Metrics
from service.observability.record import current_record

logger = structlog.get_logger()


class ServiceObserver(Observer):
    """Counts everything; logs changes, and the first failure of each request."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        for role in Role:
            metrics.serving.labels(role).set(0)
        self._attempts = {route: metrics.attempts.labels(route) for route in Route}

    def attempt(self, number: int) -> None:
        """Keep the number for the response."""
        current_record().attempts = number

    def routed(self, route: Route) -> None:
        """Count the attempt, and keep the route for the response."""
        current_record().route = route
        self._attempts[route].count += 1
        if route is Route.READ_FALLBACK:
            self._metrics.read_fallbacks.inc()

    def failure(self, role: Role, error: DatabaseError) -> None:
        """Count the failure."""
        self._metrics.failures.labels(role, type(error).__name__, error.kind).inc()

    def retry(self, error: TransientError, *, number: int, wait: float) -> None:
        """Count the retry; log the first of each request, not the hundreds that may follow."""
        self._metrics.retries.labels(type(error).__name__, error.kind).inc()
        if number == 1:
            logger.info("retrying", error=str(error), kind=error.kind, wait=round(wait, 3))

    def gave_up(self, error: TransientError, *, attempts: int) -> None:  # noqa: ARG002 - in the headers
        """Count it; the response's handler logs it."""
        self._metrics.gave_up.labels(type(error).__name__, error.kind).inc()

    def local_commit(self, *, asked: bool = False) -> None:
        """Count it, and tell the client and the request's line in the log."""
        metrics = self._metrics
        (metrics.local_commits_asked if asked else metrics.local_commits).inc()
        current_record().local_commit = True

    def commit_sent(self) -> None:
        """Keep it for the answer of an instance that stops meanwhile."""
        current_record().commits += 1

    def not_applied(self) -> None:
        """Take it back."""
        current_record().commits -= 1

    def resolved(self, *, applied: bool) -> None:
        """Count it, and log it: without keys it would have been an answer in doubt."""
        outcome = "applied" if applied else "absent"
        self._metrics.resolved_commits.labels(outcome).inc()
        logger.info("commit in doubt resolved", outcome=outcome)

    def replayed(self) -> None:
        """Count it."""
        self._metrics.replays.inc()

    def behind(self) -> None:
        """Count it."""
        self._metrics.readers_behind.inc()

    def purged(self, keys: int) -> None:
        """Count them."""
        self._metrics.purged_keys.inc(keys)

    def serving(self, role: Role, *, serves: bool, reason: str) -> None:
        """Log the change."""
        self._metrics.serving.labels(role).set(serves)
        if serves:
            logger.info("endpoint serves", role=role)
        else:
            logger.warning("endpoint does not serve", role=role, reason=reason)

    def certificate(self, name: str, ends: float) -> None:
        """Keep it: whoever scrapes compares it with the clock."""
        self._metrics.certificates.labels(name).set(ends)

    def background_failed(self, name: str, error: BaseException) -> None:
        """Count it, and log it: nobody else would hear of it."""
        self._metrics.background_failures.labels(name).inc()
        logger.error("background task failed", task=name, exc_info=error)
