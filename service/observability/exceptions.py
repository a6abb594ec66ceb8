"""Exceptions as the log has them: what they were and where they came from, never what they said.

A message, a note and the locals of a frame hold whatever a client sent: a token, a body, an e-mail
address, the parameter of a statement ("invalid input for query argument $1: ..."). So an exception
is its type and its last frames; the SQLSTATE, where it has one; and its message only when it is a
DatabaseError, whose texts are written in this service and have no value in them
(service/database/failures.py). All of it is bounded: no locals to print, no line that grows with
the depth of a recursion.
"""

from collections import deque
from collections.abc import Iterator
from traceback import walk_tb
from typing import Any

from structlog.typing import ExcInfo

from service.errors import DatabaseError

FRAMES = 15  # of one exception, the last ones: where it was raised
CHAIN = 4  # an exception, and those that it came from
MEMBERS = 3  # of a group
TEXT = 120  # characters of a name or a path; 500 of a message


def describe(exc_info: ExcInfo) -> list[dict[str, Any]]:
    """Return an exception and those that it came from, the last first; for ExceptionRenderer."""
    return [_one(each) for each in _chain(exc_info[1])]


def name(error: BaseException | None) -> str | None:
    """Return an exception's type, with its SQLSTATE if it has one."""
    if error is None:
        return None
    cls = type(error)
    return " ".join(filter(None, (f"{cls.__module__}.{cls.__qualname__}"[:TEXT], _sqlstate(error))))


def message(error: BaseException) -> str | None:
    """Return an exception's message if it is one of ours, which hold no value."""
    return str(error)[:500] if isinstance(error, DatabaseError) else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen and len(seen) < CHAIN:
        seen.add(id(error))
        yield error
        suppressed = error.__cause__ is not None or error.__suppress_context__
        error = error.__cause__ if suppressed else error.__context__


def _one(error: BaseException) -> dict[str, Any]:
    told: dict[str, Any] = {"type": name(error), "frames": _frames(error)}
    if (text := message(error)) is not None:
        told["message"] = text
    if isinstance(error, BaseExceptionGroup):
        told["members"] = [name(each) for each in error.exceptions[:MEMBERS]]
    return told


def _frames(error: BaseException) -> list[str]:
    last = deque(walk_tb(error.__traceback__), maxlen=FRAMES)
    return [
        f"{frame.f_code.co_filename[-TEXT:]}:{line} in {frame.f_code.co_qualname[:TEXT]}"
        for frame, line in last
    ]


def _sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE of a driver's error, whichever the driver."""
    state = getattr(error, "sqlstate", None)
    return state[:5] if isinstance(state, str) else None
