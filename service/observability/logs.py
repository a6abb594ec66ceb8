"""Structured logs: one JSON object a line, ours and the libraries' alike.

Every line carries `request_id`; it is null where there is no request. One of a request that is
traced has `trace_id` as well. No line has what a client
sent: of exceptions the log has what `exceptions` leaves, of a library's sentence its first line.
"""

import json
import logging
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol, TextIO, cast

import structlog
from pydantic_core import to_json
from structlog.typing import EventDict, Processor, WrappedLogger

from service.observability import exceptions
from service.observability.record import current_record


class Lines(Protocol):
    """Where lines go: a stream, or what gathers them for one."""

    def write(self, text: str, /) -> int:
        """Take a line."""

    def flush(self) -> None:
        """Write at once what was taken."""


LEVELS = {"debug": logging.DEBUG, "info": logging.INFO}
SENTENCE = 1000  # characters of a library's sentence
# asyncio goes on with the repr of a task and its exception, or of a call and its arguments.
_FIRST_WORDS = re.compile(r"[^\n<(\[{'\"]*")


@dataclass(frozen=True, slots=True)
class Output:
    """Where the lines of this process go, from which level on, and whose they are."""

    lines: Lines
    level: int
    instance: str

    def identity(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        """Say whose line it is."""
        event["instance"] = self.instance
        if "request_id" not in event:
            record = current_record()
            event["request_id"] = record.request_id or None
            if record.trace is not None:
                event["trace_id"] = record.trace.trace_id
        return event


_output: Output | None = None


def configure(level: str, instance: str, stream: Lines) -> None:
    """Send this process's logs from `level` on to `stream` as JSON."""
    global _output  # noqa: PLW0603 - as structlog's own configuration is
    _output = Output(stream, logging.getLevelNamesMapping()[level], instance)

    shared: list[Processor] = [
        _output.identity,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.ExceptionRenderer(exceptions.describe),
    ]
    structlog.configure(
        processors=[*shared, _render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", stream)),
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, _first_line, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _render],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True


def tell(level: str, event: EventDict) -> None:
    """Write one line as structlog would, without its machinery: every request has one."""
    if _output is None:
        getattr(structlog.get_logger(), level)(**event)
    elif _output.level <= LEVELS[level]:
        event["level"] = level
        event["timestamp"] = f"{_second(int(now := time.time()))}.{int(now % 1 * 1e6):06d}Z"
        _output.lines.write(_json(_output.identity(None, level, event)) + "\n")


@lru_cache(maxsize=1)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _render(_: WrappedLogger, __: str, event: EventDict) -> str:
    """Return the line, its fields in order."""
    return _json(dict(sorted(event.items())))


def _json(fields: EventDict) -> str:
    try:
        return to_json(fields, fallback=repr).decode()
    except ValueError:  # what is no UTF-8, such as the name of a file
        return json.dumps(fields, default=repr)


def _first_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Keep of a library's sentence what it says by itself."""
    sentence = event["event"].lstrip()
    if event["logger"] == "asyncio":
        first = _FIRST_WORDS.match(sentence)
        sentence = first[0] if first else ""
    event["event"] = sentence.partition("\n")[0].rstrip()[:SENTENCE]
    return event
