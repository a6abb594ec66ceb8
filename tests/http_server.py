"""Tiny HTTP servers that a test plays behind a real proxy.

In threads, which have ended when their server is closed: a connection that asyncio accepts as its
loop ends stays open, and Python complains of it in whatever test runs later.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket
    from collections.abc import Callable, Iterator

SILENCE_LIMIT = 15.0
"""Seconds for a server to give up on a connection that says nothing."""

SHUTDOWN_POLL = 0.05
"""Seconds between two looks whether a server is to stop."""


def reset_on_close(connection: socket.socket | TransportSocket) -> None:
    """Have a connection end with RST: a linger time of 0 makes the kernel forget what is unsent."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Request(BaseHTTPRequestHandler):
    """One request; unless it is answered, its connection ends without a word."""

    server: _Server
    timeout = SILENCE_LIMIT
    body: bytes

    @property
    def server_name(self) -> str:
        """The name of the server that has it."""
        return self.server.name

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
        reset_on_close(self.connection)
        os.close(self.connection.detach())  # at once: the library's own way sends FIN first

    def do_GET(self) -> None:
        """Let the test answer."""
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.serve(self)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


class _Server(ThreadingTCPServer):  # http.server's own leaves threads, and asks DNS for a name
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, serve: Callable[[Request], None], host: str, port: int, name: str) -> None:
        super().__init__((host, port), Request)
        self.serve = serve
        self.name = name

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # HAProxy resets checks, too
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextmanager
def serving(
    serve: Callable[[Request], None], host: str = "127.0.0.1", port: int = 0, name: str = ""
) -> Iterator[int]:
    """Run a server that gives each request to `serve`, in a thread of its own; yield its port."""
    with _Server(serve, host, port, name) as server:
        thread = Thread(target=server.serve_forever, args=[SHUTDOWN_POLL])
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
