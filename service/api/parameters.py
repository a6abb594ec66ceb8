"""Reads the parameters of a route straight from a request, with the validators that FastAPI made.

What is not read here is left to FastAPI, by raising OwnWay: a kind of parameter that is unknown,
when its reader is made; a value that is refused, when it is read.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin

from fastapi import Request
from fastapi.params import Header, Path, Query

Field: TypeAlias = Any  # FastAPI's ModelField, which is no public type

SCALARS = (str, int, float, bool, Enum, NoneType)
_TEXT = (str, str | None)  # nothing to validate, unless there are constraints


class OwnWay(Exception):  # noqa: N818 - no error: `compiled` catches it
    """The request, or the route, is FastAPI's to serve."""


class Arrival:
    """One request, as parameters are read from it."""

    __slots__ = ("_query", "body", "headers", "path", "request")

    def __init__(self, request: Request, path: Mapping[str, str], body: object) -> None:
        self.request = request
        self.path = path
        self.body = body
        # Of each name the first, as FastAPI takes it.
        self.headers: dict[bytes, bytes] = dict(reversed(request.scope["headers"]))
        self._query: Mapping[str, str] | None = None

    @property
    def query(self) -> Mapping[str, str]:
        """The query's parameters."""
        if self._query is None:
            self._query = self.request.query_params if self.request.scope["query_string"] else {}
        return self._query


Reader: TypeAlias = Callable[[Arrival], Any]


def whole_body(field: Field) -> Reader:
    """Return what reads the parameter that the body is."""

    def read(arrival: Arrival) -> object:
        return _valid(field, arrival.body)

    return read


def reader(field: Field) -> Reader:
    """Return what reads one parameter from the path, the query or a header."""
    info = field.field_info
    if not _is_scalar(info.annotation) or not isinstance(info.validation_alias, str | None):
        raise OwnWay
    name = info.validation_alias or field.alias
    check = _as_it_is if info.annotation in _TEXT and not info.metadata else _valid
    if isinstance(info, Path):
        return lambda arrival: check(field, arrival.path[name])
    required = info.is_required()
    default = None if required else info.get_default(call_default_factory=False)
    if not required and (info.default_factory or not isinstance(default, SCALARS)):
        raise OwnWay
    if info.validate_default:
        raise OwnWay
    if isinstance(info, Header):
        find = _header(name.lower().encode("latin-1"))
    elif isinstance(info, Query):
        find = _query(name)
    else:
        raise OwnWay

    def read(arrival: Arrival) -> object:
        value = find(arrival)
        if value is not None:
            return check(field, value)
        if required:
            raise OwnWay
        return default

    return read


def _header(name: bytes) -> Callable[[Arrival], str | None]:
    def find(arrival: Arrival) -> str | None:
        value = arrival.headers.get(name)
        return None if value is None else value.decode("latin-1")

    return find


def _query(name: str) -> Callable[[Arrival], str | None]:
    return lambda arrival: arrival.query.get(name)


def _as_it_is(_: Field, value: object) -> object:
    return value


def _valid(field: Field, value: object) -> object:
    checked, errors = field.validate(value, {})
    if errors:
        raise OwnWay
    return checked


def _is_scalar(annotation: object) -> bool:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _is_scalar(get_args(annotation)[0])
    if origin in {Union, UnionType}:
        return all(_is_scalar(each) for each in get_args(annotation))
    return isinstance(annotation, type) and issubclass(annotation, SCALARS)
