"""HEAD wherever GET is (RFC 9110, 9.3.2): the answer of GET without its body."""

from starlette.types import ASGIApp, Receive, Scope, Send


class HeadMiddleware:
    """Asks what is inside for GET. The body ends at the server, which knows the request as HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        asked = {**scope, "method": "GET"}
        try:
            await self._app(asked, receive, send)
        finally:
            scope["route"] = asked.get("route")  # for what is outside: metrics, the log
