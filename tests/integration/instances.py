"""Instances of the service that a test plays, at the addresses where HAProxy expects them.

In threads, which have ended when their server is closed: a connection that asyncio accepts as its
loop ends stays open, and Python complains of it in whatever test runs later.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ops.embedded import EmbeddedStack

BOTH = ("app1", "app2")

SILENCE_LIMIT = 15.0
"""Seconds for an instance to give up on a connection that says nothing."""

SHUTDOWN_POLL = 0.05
"""Seconds between two looks whether a server is to stop."""

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


class Request(BaseHTTPRequestHandler):
    """One request; unless it is answered, its connection ends without a word."""

    server: _Server
    timeout = SILENCE_LIMIT
    body: bytes

    @property
    def instance(self) -> str:
        """The name of the instance that has it."""
        return self.server.instance

    @property
    def is_check(self) -> bool:
        """Whether HAProxy asks on its own behalf."""
        return self.path.startswith("/health")

    def begin(self, status: HTTPStatus = HTTPStatus.OK, length: int = 0) -> None:
        """Send a header, to be followed by a body of `length` bytes."""
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def reset(self) -> None:
        """End the connection with RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        os.close(self.connection.detach())  # at once: the library's own way sends FIN first

    def do_GET(self) -> None:
        """Let the test answer."""
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.serve(self)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, instance: str, port: int, serve: Callable[[Request], None]) -> None:
        super().__init__(("127.0.0.1", port), Request)
        self.instance = instance
        self.serve = serve

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # HAProxy resets checks, too
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextmanager
def instances(
    stack: EmbeddedStack, serve: Callable[[Request], None], names: tuple[str, ...] = BOTH
) -> Iterator[None]:
    """Run instances that give each request to `serve`, in a thread of its own."""
    with ExitStack() as running:
        for name in names:
            server = running.enter_context(_Server(name, stack.ports.by_name()[name], serve))
            thread = Thread(target=server.serve_forever, args=[SHUTDOWN_POLL])
            thread.start()
            running.callback(thread.join)
            running.callback(server.shutdown)
        yield
