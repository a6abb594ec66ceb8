"""Spans: what a unit of work did, when, and for how long, for whoever wants to see it whole.

A `Tracer` given to `Database` is asked for a span around each attempt, each checkout of a session
and each exchange with the server. Without one nothing of this runs: pools and links are the plain
ones (service/database/traced.py has the others), and a unit of work looks once whether there is a
tracer. No tracing library is imported here.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from itertools import count
from typing import Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar

from service.database.observer import Role

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

Span: TypeAlias = AbstractContextManager[object]
"""From its beginning to its end; it sees the error that its block ends with."""


class Tracer(Protocol):
    """Makes spans. Like an observer: quick, never waiting, never raising."""

    def attempt(self, number: int) -> Span:
        """Return the span of a unit of work's attempt, from 1. Spans made within are below it."""

    def checkout(self, role: Role) -> Span:
        """Return the span of the wait for a session."""

    def exchange(self, role: Role, text: str, ahead: tuple[str, ...]) -> Span:
        """Return the span of one exchange with the server, for a statement of this text.

        `ahead`: texts that went ahead of it, in the same message. Parameters are never told.
        """


def traced(
    method: Callable[Concatenate[S, P], Awaitable[R]], tracer: Tracer
) -> Callable[Concatenate[S, P], Awaitable[R]]:
    """Return the method of one unit of work, each run of which is an attempt with its span."""
    numbers = count(1)

    async def attempt(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with tracer.attempt(next(numbers)):
            return await method(self, *args, **kwargs)

    return attempt
