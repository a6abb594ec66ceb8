"""The one layer around the application: what every request gets, and what no answer lacks.

From the outside in: its record and its place in the metrics and the log; headers; HEAD; CORS; an
answer whatever happens; who may do what; the size of its body. One ASGI layer, because each costs
every request as much as a good part of a query.
"""

import time
from collections.abc import Awaitable, Mapping
from typing import Any

from fastapi.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import last_resort
from service.api.access import Gate
from service.api.limits import bounded
from service.database.unit import calling
from service.lifecycle import Lifecycle
from service.observability.journal import Journal
from service.observability.record import current_record, request_record

CLOSE = (b"connection", b"close")


class RequestLayer:
    """The outermost layer of the application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        instance: str,
        journal: Journal,
        lifecycle: Lifecycle,
        gate: Gate,
        body_most: int,  # bytes
        cors: Mapping[str, Any] | None = None,
    ) -> None:
        self._app = app
        self._instance = instance.encode("latin-1")
        self._journal = journal
        self._lifecycle = lifecycle
        self._gate = gate
        self._body_most = body_most
        # Around the last resort, so that pages can read its answers.
        self._inside = CORSMiddleware(self._guarded, **cors) if cors else self._guarded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with request_record(scope["headers"]) as record:

            def told(message: Message) -> Awaitable[None]:
                if message["type"] == "http.response.start":
                    record.status = message["status"]
                    headers = [*message.get("headers", ()), *record.headers(self._instance)]
                    if self._lifecycle.draining:
                        headers.append(CLOSE)
                    message["headers"] = headers
                return send(message)

            # HEAD wherever GET is (RFC 9110, 9.3.2): the body ends at the server, which knows.
            inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
            started = time.perf_counter()
            self._journal.begin(scope, record)
            try:
                await self._inside(inner, receive, told)
            finally:
                scope["route"] = inner.get("route")
                self._journal.end(scope, record, time.perf_counter() - started)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in any case, and let through what may go on."""
        try:
            if (refusal := self._gate.refusal(scope)) is not None:
                await refusal(scope, receive, send)
            else:
                record = current_record()
                with calling(record.client or record.client_ip):
                    await self._app(scope, bounded(receive, scope, self._body_most), send)
        except BaseException as error:
            record = current_record()
            answer = last_resort.answer(error, record, self._lifecycle, scope["path"])
            if answer is None:
                raise
            await answer(scope, receive, send)
