"""Reads the parameters of a route straight from a request, with the validators that FastAPI made.

What is not read here is left to FastAPI, by raising OwnWay: a kind of parameter that is unknown,
when its reader is made; a value that is refused, when it is read.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.params import Header, Path, Query
from pydantic import TypeAdapter, ValidationError

Field: TypeAlias = Any  # FastAPI's ModelField, which is no public type

SCALARS = (str, int, float, bool, Enum, NoneType)
_TEXT = (str, str | None)  # nothing to validate, unless there are constraints
_QUERY_MOST = 64  # bytes of a query that is kept in mind: most are the same few
_QUERIES = 512


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
            sent = self.request.scope["query_string"]
            self._query = _seen(sent) if len(sent) <= _QUERY_MOST else _parsed(sent)
        return self._query


def _parsed(query: bytes) -> Mapping[str, str]:
    """Return a query's parameters, of each name the last, as Starlette reads them."""
    return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)) if query else {}


_seen = lru_cache(maxsize=_QUERIES)(_parsed)


def adapter_of(field: Field) -> TypeAdapter[Any]:
    """Return the validator and serializer that FastAPI made for a field.

    It has them for itself; its own methods put errors into words, for which no request of a plan
    waits.
    """
    adapter: TypeAdapter[Any] = field._type_adapter  # noqa: SLF001 - see above
    return adapter


Reader: TypeAlias = Callable[[Arrival], Any]


def whole_body(field: Field) -> Reader:
    """Return what reads the parameter that the body is."""
    check = _checker(field)
    return lambda arrival: check(arrival.body)


def reader(field: Field) -> Reader:
    """Return what reads one parameter from the path, the query or a header."""
    info = field.field_info
    if not _is_scalar(info.annotation) or not isinstance(info.validation_alias, str | None):
        raise OwnWay
    name = info.validation_alias or field.alias
    plain = info.annotation in _TEXT and not info.metadata
    check = None if plain else _checker(field)
    if isinstance(info, Path):
        return _reader(lambda arrival: arrival.path[name], check)
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

    return _reader(find, check, required=required, default=default)


def _reader(
    find: Callable[[Arrival], str | None],
    check: Callable[[object], Any] | None,
    *,
    required: bool = True,
    default: object = None,
) -> Reader:
    if check is None and not required and default is None:
        return find

    def read(arrival: Arrival) -> object:
        value = find(arrival)
        if value is not None:
            return value if check is None else check(value)
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


def _checker(field: Field) -> Callable[[object], Any]:
    """Return what validates a value as FastAPI would; it raises OwnWay where that finds errors."""
    validate = adapter_of(field).validator.validate_python

    def check(value: object) -> object:
        try:
            return validate(value, from_attributes=True)
        except ValidationError:
            raise OwnWay from None

    return check


def _is_scalar(annotation: object) -> bool:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _is_scalar(get_args(annotation)[0])
    if origin in {Union, UnionType}:
        return all(_is_scalar(each) for each in get_args(annotation))
    return isinstance(annotation, type) and issubclass(annotation, SCALARS)
