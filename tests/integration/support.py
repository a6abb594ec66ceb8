"""Helpers of the integration tests that are not fixtures."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import secrets
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from hypothesis import settings

from ops.embedded.pair import APP, DATABASE, OWNER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

    from ops.embedded import EmbeddedStack
    from service.database.pools import Pool

ROOT = Path(__file__).resolve().parents[2]
MIGRATION_TIMEOUT = 60.0  # seconds for Alembic, which needs about one
EVENTUALLY = 20.0  # seconds for anything that takes one at most on an idle machine
LEFT_BEHIND = """
    WITH ours AS (SELECT * FROM pg_stat_activity
                   WHERE datname = current_database() AND starts_with(application_name, $1))
    SELECT (SELECT count(*) FROM ours WHERE state <> 'idle')
         + (SELECT count(*) FROM pg_locks JOIN ours USING (pid) WHERE locktype = 'advisory')
"""
CLIENTS_OF = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname ="
# What asyncpg leaves behind when connecting is given up in the turn in which TCP connects.
DRIVERS_OWN = "unexpected connection_lost() call"
_numbers = itertools.count(1)
_unused: dict[Path, list[str]] = {}  # of each stack


def alembic(
    stack: EmbeddedStack, *arguments: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run Alembic as db-migrate does, through the write port; `settings` override."""
    env = {**os.environ, **stack.service_environment(OWNER), **settings}
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=MIGRATION_TIMEOUT,
        check=False,
    )


def migrate(stack: EmbeddedStack) -> str:
    """Run the real migrations, as a deployment does; return the database's name."""
    done = alembic(stack, "upgrade", "head")
    assert done.returncode == 0, done.stderr
    # A pooler keeps its sessions, and a database that is copied has none.
    stack.primary.sql(f"SELECT pg_terminate_backend(pid) {CLIENTS_OF} '{DATABASE}'")
    return DATABASE


@contextmanager
def temporary_database(stack: EmbeddedStack, template: str) -> Iterator[str]:
    """Copy a database, and wait until the standby has it, too.

    It is dropped by the next call: at the end of a test the stack may still be broken.
    """
    unused = _unused.setdefault(stack.directory, [])
    while unused:
        stack.primary.sql(f"DROP DATABASE {unused.pop()} WITH (FORCE)")
    name = f"test_{next(_numbers)}"
    stack.primary.sql(
        f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER} STRATEGY file_copy"
    )
    stack.wait_replayed()
    yield name
    unused.append(name)


@asynccontextmanager
async def superuser(stack: EmbeddedStack, database: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect to the primary itself, past HAProxy, to arrange things and to look."""
    connection = await asyncpg.connect(
        host="127.0.0.1", port=stack.primary.port, user="postgres", database=database, timeout=5
    )
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


async def through(port: int, database: str = "postgres", user: str = APP) -> asyncpg.Connection:
    """Connect by one of HAProxy's ports as the service does."""
    return await asyncpg.connect(
        host="127.0.0.1", port=port, user=user, database=database, ssl=False, timeout=3
    )


async def left_behind(onlooker: asyncpg.Connection, instance: str) -> int:
    """Count an instance's sessions that are not idle at a server, and its advisory locks."""
    return int(await onlooker.fetchval(LEFT_BEHIND, f"{instance}/"))


def all_idle(pools: Iterable[Pool]) -> bool:
    """Say whether nobody waits for a session, and none is on loan."""
    return all(pool.waiting == 0 and pool.idle == pool.size for pool in pools)


async def eventually_whole(
    pools: Iterable[Pool], onlooker: asyncpg.Connection, instance: str
) -> None:
    """Wait until no session is missing from the pools, and the server holds nothing for them."""
    pools = tuple(pools)

    async def settled() -> bool:
        return all_idle(pools) and await left_behind(onlooker, instance) == 0

    await eventually("every session to be back, and idle at the server", settled)


def what_nobody_awaits() -> list[dict[str, Any]]:
    """Return a list that gets what fails on this event loop and is nobody's result."""
    found: list[dict[str, Any]] = []

    def note(_: object, context: dict[str, Any]) -> None:
        if str(context.get("exception")) != DRIVERS_OWN:
            found.append(context)

    asyncio.get_running_loop().set_exception_handler(note)
    return found


async def eventually(what: str, condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until `condition` is true, EVENTUALLY seconds at most; fail naming `what`."""
    try:
        async with asyncio.timeout(EVENTUALLY):
            while True:
                result = condition()
                if result if isinstance(result, bool) else await result:
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"gave up after {EVENTUALLY:g} s waiting for {what}")


async def waiting_backend(onlooker: asyncpg.Connection, event: str, *, besides: int = 0) -> int:
    """Wait until a backend of the service, another one than `besides`, waits for `event`."""
    query = (
        "SELECT pid FROM pg_stat_activity WHERE wait_event = $1 AND pid <> $2"
        " AND datname = current_database() AND application_name LIKE 'under-test/%'"
    )
    found: list[int] = []

    async def waits() -> bool:
        found[:] = [row["pid"] for row in await onlooker.fetch(query, event, besides)]
        return bool(found)

    await eventually(f"a backend of the service to wait for {event}", waits)
    return found[0]


def seeded(name: str) -> random.Random:
    """Return a source of chance that can be had again: its seed is printed, SEED overrides it.

    `make check` has the same one each time, `make check-long` a new one.
    """
    long = settings.get_current_profile_name() == "long"
    seed = os.environ.get("SEED") or (secrets.token_hex(4) if long else "holdfast")
    print(f"{name}: SEED={seed}")
    return random.Random(f"{name} {seed}")  # noqa: S311 - no secret
