"""Bounds the size of a request's body, declared or not, before it fills the memory."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimitMiddleware:
    """Ends requests whose body is over `limit` bytes with 413, while the body is being read."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with a `receive` that counts."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        got = int(declared) if declared.isdecimal() else 0

        async def counted() -> Message:
            nonlocal got
            self._check(got)
            message = await receive()
            if not declared:
                got += len(message.get("body", b""))
                self._check(got)
            return message

        await self._app(scope, counted, send)

    def _check(self, size: int) -> None:
        if size > self._limit:
            # The rest is left unread, so the connection cannot carry another request.
            raise HTTPException(
                413, f"A request body is at most {self._limit} bytes.", {"Connection": "close"}
            )
