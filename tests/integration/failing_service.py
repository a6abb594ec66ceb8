"""`python -m service` with routes that fail in every way, for what its log must not have.

The routes get a secret from the request, and put it where a mistake would: into an error's message,
a statement's parameter, a row, a task, a callback's arguments.
"""

import asyncio
import sys
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from service import __main__ as entry
from service import server
from service.app import create_app
from service.lifecycle import Lifecycle
from service.settings import Settings

DUPLICATE = "INSERT INTO users (email, name) VALUES ($1, 'a'), ($1, 'b')"


class Unraisable:
    """Fails where nobody can catch it."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __del__(self) -> None:
        raise LookupError(self._secret)


def _fail(secret: str) -> None:
    raise LookupError(secret)


async def _fail_later(secret: str) -> None:
    _fail(secret)


async def ours(request: Request) -> None:
    """Raise an error with the secret in it, from another with it in it."""
    secret = (await request.json())["email"]
    try:
        _fail(secret)
    except LookupError as error:
        error.add_note(secret)
        raise RuntimeError(secret) from error


async def argument(request: Request) -> None:
    """Send a parameter that the driver cannot encode."""
    secret = (await request.json())["email"]
    database = request.app.state.database
    async with database.read() as connection:
        await connection.fetch("SELECT $1::int", secret)


async def refused(request: Request) -> None:
    """Send a parameter that the server does not take."""
    secret = (await request.json())["email"]
    database = request.app.state.database
    async with database.read() as connection:
        await connection.fetch("SELECT $1::text::int", secret)


async def duplicate(request: Request) -> None:
    """Violate a constraint whose DETAIL quotes the row."""
    secret = (await request.json())["email"]
    database = request.app.state.database
    async with database.write() as connection:
        await connection.execute(DUPLICATE, secret)


async def begun(request: Request) -> StreamingResponse:
    """Fail after the response began."""
    secret = (await request.json())["email"]

    async def parts() -> AsyncIterator[bytes]:
        yield b"begun"
        _fail(secret)

    return StreamingResponse(parts())


async def background(request: Request) -> None:
    """Fail in a task, in a callback and in a finalizer, that nobody looks after."""
    secret = (await request.json())["email"]
    task = asyncio.create_task(_fail_later(secret))
    await asyncio.wait([task])
    del task
    asyncio.get_running_loop().call_soon(_fail, secret)
    Unraisable(secret)


ROUTES = (ours, argument, refused, duplicate, begun, background)


def create_failing_app(settings: Settings, lifecycle: Lifecycle) -> FastAPI:
    """Return the service's application with the routes added, under their names."""
    app = create_app(settings, lifecycle)
    for route in ROUTES:
        app.add_api_route(f"/{route.__name__}", route, methods=["POST"])
    return app


if __name__ == "__main__":
    server.create_app = create_failing_app  # type: ignore[assignment]
    sys.exit(entry.main())
