"""Errors as clients see them: application/problem+json (RFC 9457), each with a stable type.

The whole mapping from the error tree to HTTP is on the errors themselves; this writes it down.
"""

import random
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from service.api.consistency import forget
from service.errors import HoldfastError, RequestError
from service.observability import exceptions
from service.observability.record import current_record

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:holdfast:problem:"
# Problems that are found before any code of ours runs, or outside of it: name, title.
FRAMEWORK = {
    404: ("not-found", "No such resource"),
    405: ("method-not-allowed", "The path does not take this method"),
    413: ("too-large", "The request's body is too large"),
}
OTHERWISE = ("bad-request", "The request cannot be served as it is")
VALIDATION = ("validation", "The request is not valid")

logger = structlog.get_logger()


class InvalidField(BaseModel):
    """One thing that validation found."""

    where: str = Field(description="body, query, path or header")
    field: str = Field(description="The field's name; empty for the whole")
    message: str


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(description="Stable; programs decide by it")
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[InvalidField] | None = Field(default=None, description="Of validation alone")


def problem(
    status: int,
    name: str,
    *,
    title: str,
    detail: str,
    headers: dict[str, str] | None = None,
    errors: list[InvalidField] | None = None,
) -> JSONResponse:
    """Return the response for one problem."""
    body = Problem(
        type=TYPE_PREFIX + name,
        title=title,
        status=status,
        detail=detail,
        request_id=current_record().request_id,
        errors=errors,
    )
    content = body.model_dump(exclude_none=True)
    return JSONResponse(content, status, headers=headers, media_type=MEDIA_TYPE)


def internal_problem() -> JSONResponse:
    """Return the response for an error that nobody expected."""
    return problem(500, "internal", title=HoldfastError.title, detail=str(HoldfastError.detail))


def expected_problem(error: HoldfastError) -> JSONResponse:
    """Return the response for an error of the tree; log it, unless the client is to mend it."""
    if not isinstance(error, RequestError):
        _log(error)
    return problem(
        error.status,
        error.problem,
        title=error.title,
        detail=error.detail or str(error),
        headers=None if error.retry_after is None else {"Retry-After": _spread(error.retry_after)},
    )


def problems(*errors: type[HoldfastError]) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a route, and 422, for `responses=`: OpenAPI's view of the mapping."""
    names: dict[int, list[str]] = {422: [VALIDATION[0]]}
    for error in errors:
        names.setdefault(error.status, []).append(error.problem)
    content = {MEDIA_TYPE: {"schema": _schema()}}
    return {
        status: {
            "description": ", ".join(f"`{TYPE_PREFIX}{name}`" for name in found),
            "content": content,
        }
        for status, found in names.items()
    }


def _schema() -> dict[str, Any]:
    """Return Problem's schema in one piece: OpenAPI resolves references from its own root."""
    schema = Problem.model_json_schema()
    definitions = schema.pop("$defs")
    schema["properties"]["errors"]["anyOf"][0]["items"] = definitions["InvalidField"]
    return schema


def register(app: FastAPI) -> None:
    """Make `app` answer every expected error with a problem."""
    app.add_exception_handler(HoldfastError, _expected)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _framework)


async def _expected(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HoldfastError)  # noqa: S101 - registered for it
    response = expected_problem(error)
    forget(request, error, response)
    return response


def _log(error: HoldfastError) -> None:
    """Write down what the client is not told, with nothing in it of what the client sent."""
    told = {
        "error": exceptions.message(error),
        "type": type(error).__name__,
        "cause": exceptions.name(error.__cause__),
    }
    if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error(error.problem, exc_info=error, **told)
    else:
        logger.warning(error.problem, **told)


def _spread(seconds: int) -> str:
    """Return when to come back: a herd that was refused together must not return together."""
    return str(random.randint(seconds, 2 * seconds))  # noqa: S311 - spreads load, guards no secret


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    """Say which fields are wrong; never echo a value, which may be secret or unprintable."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    found = [
        InvalidField(
            where=str(item["loc"][0]),
            field=".".join(str(part) for part in item["loc"][1:]),
            message=item["msg"].removeprefix("Value error, "),
        )
        for item in error.errors()
    ]
    name, title = VALIDATION
    return problem(
        422,
        name,
        title=title,
        detail="; ".join(f"{each.field or each.where}: {each.message}" for each in found),
        errors=found,
    )


async def _framework(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    name, title = FRAMEWORK.get(error.status_code, OTHERWISE)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers |= _allowed(request)
    return problem(error.status_code, name, title=title, detail=error.detail, headers=headers)


def _allowed(request: Request) -> dict[str, str]:
    """Name all methods of a path; the framework names those of its first route alone."""
    path = getattr(request.scope.get("route"), "path", None)
    methods = {each.upper() for each in request.app.openapi()["paths"].get(path, ())}
    if "GET" in methods:
        methods.add("HEAD")
    return {"Allow": ", ".join(sorted(methods))} if methods else {}
