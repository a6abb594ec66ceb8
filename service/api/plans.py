"""How one route is served: what reads each of its parameters, and what is called with what."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any, TypeAlias

from fastapi import HTTPException, Request, Response
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import ResponseValidationError
from fastapi.params import Body, File, Form
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from service.api.parameters import (
    Arrival,
    Field,
    OwnWay,
    Reader,
    adapter_of,
    reader,
    whole_body,
)

Served: TypeAlias = Callable[[Arrival, Request, Response | None], Awaitable[Any]]

BEGUN = "holdfast.begun"
"""In a scope: the answer has begun, and nobody can give another."""

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
        self._status = route.status_code or 200
        result = adapter_of(_plain_answer(route))
        self._validate = result.validator.validate_python
        self._serialize = result.serializer.to_json
        self._add(route.dependant)
        self._call = _in_order(self._steps)

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
        if self._body is None:
            request, body = Request(scope, receive, send), None
        else:
            request = await _received(scope, receive, send)
            body = request.value
        told = _Told() if self._tells else None
        result = await self._call(Arrival(request, scope["path_params"], body), request, told)
        await self._answer(result, told, request, send)

    async def _answer(
        self, result: object, told: Response | None, request: Request, send: Send
    ) -> None:
        scope = request.scope
        if isinstance(result, Response):
            scope[BEGUN] = True
            await result(scope, request.receive, send)
            return
        try:
            value = self._validate(result, from_attributes=True)
        except ValidationError as error:
            found = error.errors(include_url=False)
            raise ResponseValidationError(errors=found, body=result) from error
        content = self._serialize(value, by_alias=True)
        status = self._status
        headers = [(b"content-length", b"%d" % len(content)), (b"content-type", JSON)]
        if told is not None:
            status = told.status_code or status
            headers += told.raw_headers
        scope[BEGUN] = True
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def _in_order(steps: Sequence[_Step]) -> Served:
    """Return a coroutine function that reads all values, then calls the steps one after another.

    Written out as source, so that no request works out again what goes where. All names in it are
    numbers of steps, or of parameters that are names in Python already.
    """
    known: dict[str, Any] = {}
    reading, calling = [], []
    for number, step in enumerate(steps):
        known[f"call{number}"] = step.call
        given = [f"{name}=result{other}" for name, other in step.uses]
        for name, read in step.readers:
            value = f"{number}_{name}"
            known[f"read{value}"] = read
            reading.append(f" value{value} = read{value}(arrival)")
            given.append(f"{name}=value{value}")
        given += [f"{step.request}=request"] if step.request else []
        given += [f"{step.response}=told"] if step.response else []
        calling.append(f" result{number} = await call{number}({', '.join(given)})")
    lines = [*reading, *calling, f" return result{len(steps) - 1}"]
    source = "\n".join(["async def served(arrival, request, told):", *lines])
    exec(compile(source, "<plan>", "exec"), known)  # noqa: S102 - see above
    served: Served = known["served"]
    return served


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


class _Received(Request):
    """A request whose body has been read, and is the JSON of a value."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, whole: bytes) -> None:
        super().__init__(scope, receive, send)
        self._whole = whole
        self.value = json.loads(whole)

    async def body(self) -> bytes:
        """Return it."""
        return self._whole

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Return it in one part, and the end."""
        yield self._whole
        yield b""

    async def json(self) -> object:
        """Return its value."""
        return self.value


async def _received(scope: Scope, receive: Receive, send: Send) -> _Received:
    """Read a request's body. Raises OwnWay when it is not JSON."""
    kinds = [value for name, value in scope["headers"] if name == b"content-type"]
    if len(kinds) != 1 or kinds[0].partition(b";")[0] != JSON:
        raise OwnWay
    parts: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":  # FastAPI's own words; nobody hears them
            raise HTTPException(400, "There was an error parsing the body")
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    whole = b"".join(parts)
    if not whole:
        raise OwnWay
    try:
        return _Received(scope, receive, send, whole)
    except (ValueError, RecursionError):
        raise OwnWay from None


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
