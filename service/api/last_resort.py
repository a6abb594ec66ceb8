"""The last resort: whatever ends a request without an answer, its client gets one.

Two things do. An error that nobody expected: 500. And while the instance stops, the end of the
request's task, when SHUTDOWN_TIMEOUT has passed or a further signal came: 503, which says whether a
write may have been applied. A layer of its own within CORS, so that pages can read these answers.
"""

import asyncio

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api import problems
from service.errors import CommitInDoubt, Unavailable
from service.lifecycle import Lifecycle
from service.observability.record import RequestRecord, current_record

logger = structlog.get_logger()


class Stopped(Unavailable):
    """The instance ended before the request did; no COMMIT of it was sent."""

    detail = "This instance stopped while it held the request. Nothing was applied."


class StoppedInDoubt(CommitInDoubt):
    """The instance ended before it could tell what became of a COMMIT."""

    detail = (
        "This instance stopped before it could tell what became of the write. Send the request "
        "again with the same Idempotency-Key, which is in this response's headers: it will be "
        "applied once in all."
    )


class LastResortMiddleware:
    """Answers for the application, unless its answer has begun: then only cutting it off tells."""

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle) -> None:
        self._app = app
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            record = current_record()
            if record.answered or not self._lifecycle.draining:
                raise
            await problems.expected_problem(_stopped(record))(scope, receive, send)
        except Exception:  # whatever it was: the client gets an answer, the log the error
            logger.exception("unexpected error", path=scope["path"])
            if current_record().answered:
                raise
            await problems.internal_problem()(scope, receive, send)


def _stopped(record: RequestRecord) -> Stopped | StoppedInDoubt:
    cls = StoppedInDoubt if record.commits else Stopped
    return cls("The instance stopped", kind="stopping")
