"""Routes that FastAPI declares, served without what it finds out anew for each request.

What a route's parameters are, where each comes from and what it depends on is worked out once, when
the first request comes. A request that fits is then read straight into the same validators, and
its answer written by the same serializer. Everything else is FastAPI's own: a route that has a
parameter of a kind unknown here, and a request with a value that is refused, so that every error
is the framework's, byte for byte. All values are read before anything is called, so nothing has
been done by then.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any, TypeAlias

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import ResponseValidationError
from fastapi.params import Body, File, Form
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.parameters import Arrival, Field, OwnWay, Reader, reader, whole_body

Values: TypeAlias = dict[str, Any]

JSON = b"application/json"
_NO_BODY = frozenset({204, 205, 304})


@dataclass(frozen=True, slots=True)
class _Step:
    """One call: of something that the endpoint depends on, or of the endpoint itself."""

    call: Callable[..., Awaitable[Any]]
    readers: tuple[tuple[str, Reader], ...]
    uses: tuple[tuple[str, int], ...]  # parameter's name, and the step whose result it is
    request: str | None  # names of parameters
    response: str | None


class Plan:
    """How one route is served. Raises OwnWay when it cannot be."""

    def __init__(self, route: APIRoute) -> None:
        self.route = route
        self._steps: list[_Step] = []
        self._numbers: dict[Any, int] = {}  # of steps, by what they call
        self._body = _body_of(route)
        self.reads_body = self._body is not None
        self._tells = False  # whether some step writes headers
        self._result = _plain_answer(route)
        self._add(route.dependant)

    def _add(self, dependant: Dependant) -> int:
        """Add a step after those that it depends on; return its number."""
        call = dependant.call
        unknown = (
            dependant.websocket_param_name,
            dependant.background_tasks_param_name,
            dependant.security_scopes_param_name,
            dependant.own_oauth_scopes,
            dependant.parent_oauth_scopes,
            dependant.cookie_params,
            dependant.concurrency,
        )
        if any(unknown) or not dependant.use_cache or call is None or not _is_coroutine(call):
            raise OwnWay
        if call in self._numbers:
            return self._numbers[call]
        uses = [
            (each.name, self._add(each))
            for each in dependant.dependencies
            if not _says_nothing(each)
        ]
        params = (*dependant.path_params, *dependant.query_params, *dependant.header_params)
        readers = [(field.name, reader(field)) for field in params]
        if dependant.body_params:
            readers.append((dependant.body_params[0].name, whole_body(dependant.body_params[0])))
        self._tells |= dependant.response_param_name is not None
        self._numbers[call] = len(self._steps)
        self._steps.append(
            _Step(
                call,
                tuple(readers),
                tuple((name, number) for name, number in uses if name is not None),
                dependant.request_param_name or dependant.http_connection_param_name,
                dependant.response_param_name,
            )
        )
        return self._numbers[call]

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or raise OwnWay before anything was called."""
        request = Request(scope, receive, send)
        body = await self._read(request) if self._body else None
        arrival = Arrival(request, scope["path_params"], body)
        values: list[Values] = [
            {name: read(arrival) for name, read in step.readers} if step.readers else {}
            for step in self._steps
        ]
        told = _Told() if self._tells else None
        results: list[Any] = []
        for step, kwargs in zip(self._steps, values, strict=True):
            for name, number in step.uses:
                kwargs[name] = results[number]
            if step.request is not None:
                kwargs[step.request] = request
            if step.response is not None:
                kwargs[step.response] = told
            results.append(await step.call(**kwargs))
        await self._answer(results[-1], told, request, send)

    async def _read(self, request: Request) -> object:
        """Return the body's JSON."""
        kinds = [value for name, value in request.scope["headers"] if name == b"content-type"]
        if [kind.partition(b";")[0] for kind in kinds] != [JSON] or not await request.body():
            raise OwnWay
        try:
            return await request.json()
        except (ValueError, RecursionError):
            raise OwnWay from None

    async def _answer(
        self, result: object, told: Response | None, request: Request, send: Send
    ) -> None:
        if isinstance(result, Response):
            await result(request.scope, request.receive, send)
            return
        field = self._result
        value, errors = field.validate(result, {}, loc=("response",))
        if errors:
            raise ResponseValidationError(errors=errors, body=result)
        status = self.route.status_code or 200
        if told is not None and told.status_code:
            status = told.status_code
        content = field.serialize_json(value)
        headers = [(b"content-length", b"%d" % len(content)), (b"content-type", JSON)]
        if told is not None:
            headers += told.raw_headers
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})


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
        begun = False

        def told(message: Message) -> Awaitable[None]:
            nonlocal begun
            begun = True
            return send(message)

        try:
            await plan.serve(scope, replay or receive, told)
        except OwnWay:
            await self._app(scope, replay.again if replay else receive, send)
        except Exception as error:
            if begun:
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
        self._by_method: dict[str, list[tuple[APIRoute, Plan | None]]] = {}
        for route, plan in plans:
            for method in route.methods or ():
                self._by_method.setdefault(method, []).append((route, plan))
        # Paths without parameters, which no earlier route fits.
        self._plain = {
            (method, route.path): plan
            for method, routes in self._by_method.items()
            for route, plan in routes
            if not route.param_convertors and self._search(method, route.path)[0] is route
        }

    def find(self, method: str, path: str) -> tuple[Plan | None, dict[str, str]]:
        """Return the plan, if there is one, and the path's parameters."""
        try:
            return self._plain[method, path], {}
        except KeyError:
            _, plan, params = self._search(method, path)
            return plan, params

    def _search(
        self, method: str, path: str
    ) -> tuple[APIRoute | None, Plan | None, dict[str, str]]:
        for route, plan in self._by_method.get(method, ()):
            if found := route.path_regex.match(path):
                return route, plan, found.groupdict()
        return None, None, {}


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


def _plain_answer(route: APIRoute) -> Field:
    """Return the response's field if the answer is its JSON; else raise OwnWay."""
    shaped = (
        route.response_model_include,
        route.response_model_exclude,
        route.response_model_exclude_unset,
        route.response_model_exclude_defaults,
        route.response_model_exclude_none,
    )
    usual = isinstance(route.response_class, DefaultPlaceholder) and route.response_model_by_alias
    if any(shaped) or not usual or route.response_field is None or route.status_code in _NO_BODY:
        raise OwnWay
    return route.response_field


def _body_of(route: APIRoute) -> Field | None:
    """Return the one parameter that the body is, if there is one; raise OwnWay if it is more."""
    field = route.body_field
    if field is None:
        return None
    plain = isinstance(field.field_info, Body) and not isinstance(field.field_info, Form | File)
    embedded = getattr(field.field_info, "embed", None)
    if not plain or [field] != route.dependant.body_params or embedded:
        raise OwnWay
    return field


def _is_coroutine(call: Callable[..., Any]) -> bool:
    return iscoroutinefunction(call) or iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004


class _Told(Response):
    """What steps write headers into, with nothing in it yet."""

    def __init__(self) -> None:
        self.raw_headers = []
        self.status_code = None  # type: ignore[assignment]
        self.background = None
        self.body = b""


def _says_nothing(dependant: Dependant) -> bool:
    """Say whether a dependency is there for the documentation alone: nobody has its result."""
    call = dependant.call
    return dependant.name is None and isinstance(call, HTTPBearer) and not call.auto_error
