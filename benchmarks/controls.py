"""What Holdfast is measured beside: two services without its promises, on the same database.

- `control`: bare Starlette, asyncpg's pool, orjson. About what Python can do with a driver and a
  framework: no validation, no log, no metrics, no retry.
- `plain`: FastAPI as its documentation shows it, with response models and asyncpg's pool.

Both read `users`, and write a copy of that table that has no audit: neither keys nor audit nor
tokens are in their writes. Sessions come through the same HAProxy, as many as Holdfast has.

`python -m benchmarks.controls control --port 8000`
"""

from __future__ import annotations

import argparse
import os
from contextlib import asynccontextmanager
from datetime import datetime  # noqa: TC003 - pydantic reads the annotation
from typing import TYPE_CHECKING, Annotated, Any

import asyncpg
import orjson
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request as BareRequest

TABLE = "plain_users"
"""What the controls write to: `users` without its triggers."""

POOL_MIN, POOL_MAX = 2, 10  # the service's defaults
BIGGEST = 2**63 - 1
_COLUMNS = "id, email, name, created_at, updated_at, version"
SELECT = f"SELECT {_COLUMNS} FROM users WHERE id = $1"  # noqa: S608 - constants of this file
PAGE = f"SELECT {_COLUMNS} FROM users WHERE id < $1 ORDER BY id DESC LIMIT $2"  # noqa: S608
INSERT = f"INSERT INTO {TABLE} (email, name) VALUES ($1, $2) RETURNING {_COLUMNS}"  # noqa: S608


@asynccontextmanager
async def pools(app: Starlette) -> AsyncIterator[None]:
    """Open a pool for each of the two endpoints while the application runs."""
    env = os.environ
    for kind, user in (("read", "DB_READ_USER"), ("write", "DB_USER")):
        pool = await asyncpg.create_pool(
            host=env[f"DB_{kind.upper()}_HOST"],
            port=int(env[f"DB_{kind.upper()}_PORT"]),
            user=env[user],
            password=env["DB_PASSWORD"],
            database=env["DB_NAME"],
            ssl=False,
            min_size=POOL_MIN,
            max_size=POOL_MAX,
        )
        setattr(app.state, kind, pool)
    yield
    for kind in ("read", "write"):
        await getattr(app.state, kind).close()


# ------------------------------------------------------------ bare Starlette


async def _get(request: BareRequest) -> Response:
    async with request.app.state.read.acquire() as connection:
        row = await connection.fetchrow(SELECT, request.path_params["id"])
    return Response(status_code=404) if row is None else _json(dict(row))


async def _page(request: BareRequest) -> Response:
    after = int(request.query_params.get("after", BIGGEST))
    limit = int(request.query_params.get("limit", 50))
    async with request.app.state.read.acquire() as connection:
        rows = await connection.fetch(PAGE, after, limit)
    return _json({"items": [dict(row) for row in rows], "next": rows[-1]["id"] if rows else None})


async def _post(request: BareRequest) -> Response:
    new = orjson.loads(await request.body())
    async with request.app.state.write.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(INSERT, new["email"], new["name"])
    return _json(dict(row), 201)


def _json(value: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def control() -> Starlette:
    """Make the bare one."""
    routes = [
        Route("/api/users/{id:int}", _get),
        Route("/api/users", _page),
        Route("/api/users", _post, methods=["POST"]),
    ]
    return Starlette(routes=routes, lifespan=pools)


# ------------------------------------------------------------ plain FastAPI


class NewUser(BaseModel):
    """What a client sends."""

    email: str
    name: str


class User(NewUser):
    """What it is answered."""

    id: int
    created_at: datetime
    updated_at: datetime
    version: int


class Page(BaseModel):
    """A page of users."""

    items: list[User]
    next: int | None


async def _reading(request: Request) -> AsyncIterator[asyncpg.Connection]:
    async with request.app.state.read.acquire() as connection:
        yield connection


async def _writing(request: Request) -> AsyncIterator[asyncpg.Connection]:
    async with request.app.state.write.acquire() as connection:
        yield connection


# The annotation is read at run time, where asyncpg's classes have no parameters.
Reading = Annotated[Any, Depends(_reading)]
Writing = Annotated[Any, Depends(_writing)]


def plain() -> FastAPI:
    """Make the one that most people write."""
    app = FastAPI(lifespan=pools)

    @app.get("/api/users/{user_id}")
    async def get_user(user_id: int, connection: Reading) -> User:
        row = await connection.fetchrow(SELECT, user_id)
        if row is None:
            raise HTTPException(404, "no such user")
        return User(**row)

    @app.get("/api/users")
    async def list_users(connection: Reading, after: int = BIGGEST, limit: int = 50) -> Page:
        users = [User(**row) for row in await connection.fetch(PAGE, after, limit)]
        return Page(items=users, next=users[-1].id if users else None)

    @app.post("/api/users", status_code=201)
    async def create_user(new: NewUser, connection: Writing) -> User:
        async with connection.transaction():
            return User(**await connection.fetchrow(INSERT, new.email, new.name))

    return app


APPS: dict[str, Callable[[], Starlette]] = {"control": control, "plain": plain}


def main() -> None:
    """Serve one of them until a signal ends it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.controls", description=__doc__)
    parser.add_argument("name", choices=APPS)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    uvicorn.run(
        APPS[options.name](),
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main()
