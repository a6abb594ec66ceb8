"""Endpoints of every kind that FastAPI's documentation shows."""

# No `from __future__ import annotations`: FastAPI reads the annotations.

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Cookie, Depends, Header, Query, Request
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel


class Thing(BaseModel):
    """A body."""

    name: str


class Things:
    """The endpoints, and what they have done."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.router = router = APIRouter(prefix="/things")

        async def opened() -> AsyncIterator[str]:
            yield "opened"
            self.done.append("closed")

        async def generator(value: Annotated[str, Depends(opened)]) -> str:
            return value

        router.add_api_route("/generator", generator)
        router.add_api_route("/function", function)
        router.add_api_route("/background", self.background)
        router.add_api_route("/cookie", cookie)
        router.add_api_route("/many", many)
        router.add_api_route("/text", text, response_class=PlainTextResponse)
        router.add_api_route("/shaped", raw, response_model=Thing, response_model_exclude={"name"})
        router.add_api_route("/two", two, methods=["POST"])
        router.add_api_route("/again", again, methods=["POST"])
        router.add_api_route("/raw", raw)
        router.add_api_route("/wrong", wrong, response_model=Thing)
        router.add_api_route("/{name}", named)

    async def background(self, tasks: BackgroundTasks) -> str:
        """Do something when the answer is sent."""
        tasks.add_task(self.done.append, "task")
        return "soon"


def plain() -> str:
    """A dependency that runs in a thread."""
    return "plain"


def function(value: Annotated[str, Depends(plain)]) -> str:
    """Run in a thread."""
    return value


async def cookie(mine: Annotated[str | None, Cookie()] = None) -> str:
    """Read a cookie."""
    return mine or "none"


async def many(
    q: Annotated[list[int], Query()], h: Annotated[list[str] | None, Header()] = None
) -> list[int]:
    """Read all values of a name."""
    return [*q, len(h or [])]


async def text() -> str:
    """Answer as plain text."""
    return "text"


async def two(one: Thing, other: Thing) -> list[str]:
    """Read a body that is two parameters."""
    return [one.name, other.name]


async def again(one: Thing, request: Request) -> list[str]:
    """Read the body once more, in each way there is."""
    whole, value = await request.body(), await request.json()
    parts = [part async for part in request.stream()]
    return [one.name, whole.decode(), value["name"], b"|".join(parts).decode()]


async def raw() -> dict[str, str]:
    """Answer with JSON."""
    return {"name": "x"}


async def wrong() -> dict[str, int]:
    """Answer with what the model does not take."""
    return {"other": 1}


async def named(name: str, limit: Annotated[int, Query(gt=0)] = 3) -> dict[str, int]:
    """Read path and query; declared last, as it takes any path."""
    return {name: limit}
