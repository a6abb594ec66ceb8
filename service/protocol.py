"""HTTP/1.1 as uvicorn speaks it, with an answer of known size in one packet.

uvicorn writes an answer's head and its body one after another, which are two system calls, two
packets, and two times that a proxy wakes up. A small answer costs as much as the query behind it
then. Whatever is not plain (a stream, a connection that ends, a header that has to be looked at) is
uvicorn's to write.
"""

import re
from functools import lru_cache
from typing import Any

from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

# RFC 9110, 5.1 and 5.5: what no name has, and no value.
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_ODD = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# About the connection, which is uvicorn's.
_HOP = frozenset({b"connection", b"transfer-encoding"})


class Answer:
    """The answer to one request: its head waits for its body, if it has a size."""

    __slots__ = ("_app", "_cycle", "_head")

    def __init__(self, app: Any, cycle: RequestResponseCycle) -> None:  # noqa: ANN401 - ASGI, as uvicorn types it
        self._app = app
        self._cycle = cycle
        self._head: Message | None = None

    def __call__(self, scope: Scope, receive: Receive, _: Send) -> Any:  # noqa: ANN401 - what the application returns
        """Serve the request: uvicorn takes this for the application."""
        return self._app(scope, receive, self.send)

    async def send(self, message: Message) -> None:
        """Take a part of the answer."""
        cycle, head = self._cycle, self._head
        if head is None:
            if message["type"] == "http.response.start" and _has_size(message):
                self._head = message
            else:
                await cycle.send(message)  # type: ignore[arg-type]
            return
        self._head = None
        if not _is_plain(cycle) or (packet := _packet(cycle, head, message)) is None:
            await cycle.send(head)  # type: ignore[arg-type]
            await cycle.send(message)  # type: ignore[arg-type]
            return
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.transport.write(packet)
        cycle.message_event.set()
        cycle.on_response()


class Protocol(HttpToolsProtocol):
    """One connection of a client."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401 - ASGI, as uvicorn types it
        super()._start_asgi_task(cycle, Answer(app, cycle))  # type: ignore[arg-type]


def _has_size(head: Message) -> bool:
    for name, _ in head.get("headers", ()):  # noqa: SIM110 - a generator costs every answer
        if name == b"content-length":
            return True
    return False


def _is_plain(cycle: RequestResponseCycle) -> bool:
    """Say whether nothing has been written yet, anything may be, and the connection goes on."""
    told = cycle.response_started or cycle.disconnected or cycle.flow.write_paused
    return not told and cycle.keep_alive and cycle.scope["method"] != "HEAD"


def _packet(cycle: RequestResponseCycle, head: Message, rest: Message) -> bytes | None:
    """Return the bytes of a whole answer; None when there is something to be looked at."""
    body = rest.get("body", b"")
    if rest["type"] != "http.response.body" or rest.get("more_body", False):
        return None
    headers = [*cycle.default_headers, *head["headers"]]
    parts = [STATUS_LINE[head["status"]]]
    for name, value in headers:
        before = _before(name)
        if before is None or (name == b"content-length" and int(value) != len(body)):
            return None
        parts += before, value, b"\r\n"
    if _ODD.search(b" ".join([value for _, value in headers])):
        return None
    parts += b"\r\n", body
    return b"".join(parts)


@lru_cache(maxsize=256)
def _before(name: bytes) -> bytes | None:
    """Return what stands before a header's value; None if it is not for us to write."""
    return None if name in _HOP or not _NAME.fullmatch(name) else name + b": "
