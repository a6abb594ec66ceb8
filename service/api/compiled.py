"""Routes that FastAPI declares, served without what it finds out anew for each request.

What a route's parameters are, where each comes from and what it depends on is worked out once, when
the first request comes. A request that fits is then read straight into the same validators, and
its answer written by the same serializer. Everything else is FastAPI's own: a route that has a
parameter of a kind unknown here, and a request with a value that is refused, so that every error
is the framework's, byte for byte. All values are read before anything is called, so nothing has
been done by then.
"""

from collections.abc import Iterable

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.parameters import OwnWay
from service.api.plans import BEGUN, Plan


class CompiledRoutes:
    """ASGI: serves what the routers' plans fit, and passes all other requests on."""

    def __init__(self, app: ASGIApp, routers: Iterable[APIRouter]) -> None:
        self._app = app
        self._routers = list(routers)
        self._routes: _Routes | None = None
        self._failed: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        plan = self._plan(scope) if scope["type"] == "http" else None
        if plan is None or scope["app"].dependency_overrides:
            await self._app(scope, receive, send)
            return
        replay = _Replay(receive) if plan.reads_body else None
        try:
            await plan.serve(scope, replay or receive, send)
        except OwnWay:
            await self._app(scope, replay.again if replay else receive, send)
        except Exception as error:
            if BEGUN in scope:
                raise
            await self._answer(error, scope, receive, send)

    async def _answer(self, error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application's handlers do."""
        if self._failed is None:
            self._failed = ExceptionMiddleware(_raise, handlers=scope["app"].exception_handlers)
        scope["holdfast.error"] = error
        await self._failed(scope, receive, send)

    def _plan(self, scope: Scope) -> Plan | None:
        """Return the plan of the route that a request is for; note the route in its scope."""
        if self._routes is None:
            self._routes = _Routes(_plans(scope["app"], self._routers))
        plan, params = self._routes.find(scope["method"], scope["path"])
        if plan is not None:
            scope["route"], scope["endpoint"] = plan.route, plan.route.endpoint
            scope["path_params"] = params
        return plan


class _Routes:
    """All routes, found by method and path: the first that fits, as Starlette looks for it."""

    def __init__(self, plans: Iterable[tuple[APIRoute, Plan | None]]) -> None:
        # Paths without parameters, which no earlier route fits; and patterns, in their order.
        self._plain: dict[tuple[str, str], Plan | None] = {}
        self._patterns: dict[str, list[tuple[APIRoute, Plan | None]]] = {}
        for route, plan in plans:
            for method in route.methods or ():
                patterns = self._patterns.setdefault(method, [])
                if route.param_convertors:
                    patterns.append((route, plan))
                elif not any(each.path_regex.match(route.path) for each, _ in patterns):
                    self._plain.setdefault((method, route.path), plan)

    def find(self, method: str, path: str) -> tuple[Plan | None, dict[str, str]]:
        """Return the plan, if there is one, and the path's parameters."""
        if (method, path) in self._plain:
            return self._plain[method, path], {}
        for route, plan in self._patterns.get(method, ()):
            if found := route.path_regex.match(path):
                return plan, found.groupdict()
        return None, {}


def include(app: FastAPI, *routers: APIRouter) -> None:
    """Include routers in an application, and compile their routes."""
    for router in routers:
        app.include_router(router)
    app.add_middleware(CompiledRoutes, routers=routers)


class _Replay:
    """A request's messages, which can be received once more."""

    __slots__ = ("_got", "_receive")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._got: list[Message] = []

    async def __call__(self) -> Message:
        message = await self._receive()
        self._got.append(message)
        return message

    async def again(self) -> Message:
        """Receive from the first message on."""
        return self._got.pop(0) if self._got else await self._receive()


async def _raise(scope: Scope, _: Receive, __: Send) -> None:
    raise scope["holdfast.error"]


def _plans(app: FastAPI, routers: Iterable[APIRouter]) -> Iterable[tuple[APIRoute, Plan | None]]:
    """Return all routes in their order, with the plans of those that can be compiled."""
    for route in (route for router in routers for route in router.routes):
        if isinstance(route, APIRoute):
            try:
                yield route, None if app.router.dependencies else Plan(route)
            except OwnWay:
                yield route, None
