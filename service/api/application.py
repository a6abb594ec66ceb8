"""FastAPI's application, with the layers that are added to it outside of all that is its own.

FastAPI puts what is added between layers of its own: five calls deep, for what seldom needs any of
them. Here a request meets first what was added; what passes it on is FastAPI's as ever. An error
that nobody expected comes to what was added, too, which has to answer it; the server does
otherwise.
"""

from fastapi import FastAPI
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send


class Application(FastAPI):
    """An application whose added layers are the outermost, the one that was added last first."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or the lifespan."""
        if scope["type"] == "http" and self.middleware_stack is not None:
            scope["app"] = self
            await self.middleware_stack(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """Return the layers that were added, around the framework's."""
        added, self.user_middleware = self.user_middleware, []
        app = super().build_middleware_stack()
        self.user_middleware = added
        if isinstance(app, ServerErrorMiddleware):  # its answer would come before the layers'
            app = app.app
        for cls, args, kwargs in reversed(added):
            app = cls(app, *args, **kwargs)
        return app
