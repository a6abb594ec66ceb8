"""The last resort: whatever ends a request without an answer, its client gets one.

Two things do. An error that nobody expected: 500. And while the instance stops, the end of the
request's task, when SHUTDOWN_TIMEOUT has passed or a further signal came: 503, which says whether a
write may have been applied.
"""

import asyncio

import structlog
from starlette.responses import Response

from service.api import problems
from service.errors import CommitInDoubt, Unavailable
from service.lifecycle import Lifecycle
from service.observability.record import RequestRecord

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


def answer(
    error: BaseException, record: RequestRecord, lifecycle: Lifecycle, path: str
) -> Response | None:
    """Return the answer to a request that ended so; None if the error is to go on.

    An answer that has begun can only be cut off.
    """
    if isinstance(error, asyncio.CancelledError):
        if record.answered or not lifecycle.draining:
            return None
        cls = StoppedInDoubt if record.commits else Stopped
        return problems.expected_problem(cls("The instance stopped", kind="stopping"))
    if not isinstance(error, Exception):
        return None
    # Whatever it was: the client gets an answer, the log the error.
    logger.error("unexpected error", path=path, exc_info=error)
    return None if record.answered else problems.internal_problem()
