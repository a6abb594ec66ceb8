"""Structured logs: one JSON object a line, ours and the libraries' alike.

Every line carries `request_id`; it is null where there is no request. No line has what a client
sent: of exceptions the log has what `exceptions` leaves, of a library's sentence its first line.
"""

import logging
import re
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from service.observability import exceptions

SENTENCE = 1000  # characters of a library's sentence
# asyncio goes on with the repr of a task and its exception, or of a call and its arguments.
_FIRST_WORDS = re.compile(r"[^\n<(\[{'\"]*")


def configure(level: str, instance: str, stream: TextIO) -> None:
    """Send this process's logs from `level` on to `stream` as JSON."""

    def identity(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["instance"] = instance
        event.setdefault("request_id", None)
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        identity,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.ExceptionRenderer(exceptions.describe),
    ]
    renderer = structlog.processors.JSONRenderer(sort_keys=True)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, _first_line, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True


def _first_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Keep of a library's sentence what it says by itself."""
    sentence = event["event"].lstrip()
    if event["logger"] == "asyncio":
        first = _FIRST_WORDS.match(sentence)
        sentence = first[0] if first else ""
    event["event"] = sentence.partition("\n")[0].rstrip()[:SENTENCE]
    return event
