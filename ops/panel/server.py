"""HTTP on loopback: the page's files, a stream of what changes, and what can be done.

The standard library's server with a thread a connection: a person has a page or two open.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from ops.console import StackError
from ops.panel.access import ADDRESS, Guard
from ops.panel.doings import RefusedError
from ops.panel.hub import TooManyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ops.panel.access import Keys
    from ops.panel.doings import Doings
    from ops.panel.hub import Hub

PAGE = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Connection": "close",
}

JUDGED = ("Host", "Origin", "Sec-Fetch-Site", "Cookie", "Content-Type", "X-Console-Key")
"""Headers that say who asks."""

READ_LIMIT = 10.0
"""Seconds for a client to send what it wants, and to take what it is sent."""

ASK_LIMIT = 10.0
"""Seconds for all of a request to come, however little at a time."""

CONNECTIONS = 40
"""At a time: twice as many as may look on. Each is a thread; others are closed at once."""

SHUTDOWN_POLL = 0.05
"""Seconds between two looks at whether the server is to stop."""

LONGEST_BODY = 1000
"""Bytes."""

AGAIN = 500
"""Milliseconds after which a page whose stream has ended asks again."""


class Server(ThreadingHTTPServer):
    """The console's server, on a port of 127.0.0.1 alone."""

    daemon_threads = True

    def __init__(self, port: int, keys: Keys, hub: Hub) -> None:
        """Listen; 0 is any free port. Raises StackError when another one has the port."""
        self.hub = hub
        self.keys = keys
        self._room = threading.BoundedSemaphore(CONNECTIONS)
        try:
            super().__init__((ADDRESS, port), Handler)
        except OSError as error:
            what = f"Port {port} of {ADDRESS}: {error.strerror}."
            raise StackError(f"{what} Is a console running? Else `--port` is another.") from error
        self.guard = Guard(keys, self.server_address[1])

    @property
    def link(self) -> str:
        """What to open in a browser."""
        return self.keys.link(self.guard.port)

    def serve(self) -> None:
        """Answer from now on, by threads, until `shutdown`."""
        serving = {"poll_interval": SHUTDOWN_POLL}
        threading.Thread(target=self.serve_forever, kwargs=serving, daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as there
        """Answer by a thread, if there is room for one."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as there
        """Answer."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that has gone."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = READ_LIMIT

    def setup(self) -> None:
        """Begin to read. `timeout` is for each read: who says a little now and then had no end."""
        super().setup()
        self._watch = threading.Timer(ASK_LIMIT, self._hear_no_more)
        self._watch.daemon = True
        self._watch.start()

    def finish(self) -> None:
        """End."""
        self._watch.cancel()
        super().finish()

    def _hear_no_more(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RD)

    def log_message(self, *_: object) -> None:
        """Keep no log: the link has the token in it."""

    def version_string(self) -> str:
        """Name no versions."""
        return "holdfast"

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no request, or none that there is, as everything else is refused."""
        del message, explain
        self._refuse(HTTPStatus(code), "The request is not understood.")

    def do_GET(self) -> None:
        """Answer with a file of the page, or with the stream."""
        self._watch.cancel()
        address = urlsplit(self.path)
        token = parse_qs(address.query).get("token", [""])[0] if address.path == "/" else ""
        if refused := self.server.guard.refuses(self._headers(), token):
            self._refuse(HTTPStatus.FORBIDDEN, refused)
        elif address.path == "/stream":
            self._stream()
        else:
            self._file(address.path, entering=bool(token))

    def do_POST(self) -> None:
        """Do something."""
        guard, headers = self.server.guard, self._headers()
        if refused := guard.refuses(headers, "") or guard.refuses_to_act(headers):
            self._refuse(HTTPStatus.FORBIDDEN, refused)
            return
        doings = self.server.hub.doings
        if doings is None:
            self._refuse(HTTPStatus.FORBIDDEN, "This console only looks: it runs with --read-only.")
            return
        try:
            self._act(doings, self.path, self._body())
        except (RefusedError, StackError) as error:
            self._refuse(HTTPStatus.CONFLICT, str(error))
        except (KeyError, TypeError, ValueError):
            self._refuse(HTTPStatus.BAD_REQUEST, "The request is not understood.")
        else:
            self._answer(HTTPStatus.NO_CONTENT)

    @staticmethod
    def _act(doings: Doings, path: str, body: dict[str, Any]) -> None:
        if path == "/load":
            doings.load(on=bool(body["on"]))
        elif path == "/drill":
            doings.drill(str(body["name"]), sure=bool(body.get("sure")))
        elif path == "/drill/stop":
            doings.stop_drill()
        else:
            raise ValueError(path)

    def _headers(self) -> dict[str, str]:
        """Return the headers that are judged; none if one comes twice, as no browser sends it."""
        told = {name: self.headers.get_all(name, []) for name in JUDGED}
        twice = any(len(values) > 1 for values in told.values())
        return {} if twice else {name: values[0] for name, values in told.items() if values}

    def _body(self) -> dict[str, Any]:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= LONGEST_BODY:
            raise ValueError("too long")
        body = json.loads(self.rfile.read(length) or b"{}")
        if not isinstance(body, dict):
            raise TypeError
        return body

    def _file(self, path: str, *, entering: bool) -> None:
        name = "index.html" if path == "/" else path[1:]
        there_are = {each.name: each for each in PAGE.iterdir() if each.suffix in TYPES}
        if name not in there_are:
            self._refuse(HTTPStatus.NOT_FOUND, "There is no such page.")
            return
        more = {}
        if entering:
            guard = self.server.guard
            cookie = f"{guard.cookie}={guard.keys.look}; Path=/; HttpOnly; SameSite=Strict"
            more["Set-Cookie"] = cookie
        file = there_are[name]
        self._answer(HTTPStatus.OK, file.read_bytes(), TYPES[file.suffix], more)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._answer(status, f"{why}\n".encode(), "text/plain; charset=utf-8")

    def _answer(
        self,
        status: HTTPStatus,
        body: bytes = b"",
        kind: str = "",
        more: Mapping[str, str] | None = None,
    ) -> None:
        self.close_connection = True
        self.send_response(status)
        length = {"Content-Length": str(len(body))} if status is not HTTPStatus.NO_CONTENT else {}
        for name, value in {**HEADERS, **length, **(more or {})}.items():
            self.send_header(name, value)
        if kind:
            self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        """Send everything, and then what changes, as server-sent events."""
        hub = self.server.hub
        try:
            stream = hub.subscribe()
        except TooManyError:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "Too many pages are open.")
            return
        self.close_connection = True
        self.send_response(HTTPStatus.OK)
        for name, value in {**HEADERS, "Content-Type": "text/event-stream"}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(f"retry: {AGAIN}\n\n".encode())
            while (message := stream.get()) is not None:
                text = json.dumps(message, separators=(",", ":"))
                self.wfile.write(f"data: {text}\n\n".encode())
                self.wfile.flush()
        except OSError:
            pass  # the page was closed
        finally:
            hub.leave(stream)
