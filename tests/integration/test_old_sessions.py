"""What `holdfast secrets rotate` ends at a server: a role's older sessions, and nothing else."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import asyncpg
import pytest

from ops import sessions
from ops.console import StackError
from ops.embedded.pair import APP, READ
from service.database.deadline import Deadline
from tests.integration.bare_database import warm_database
from tests.integration.support import eventually

if TYPE_CHECKING:
    from ops.embedded import EmbeddedStack


def clock(stack: EmbeddedStack) -> float:
    """Return the server's time."""
    return float(stack.primary.sql("SELECT extract(epoch FROM clock_timestamp())"))


async def login(stack: EmbeddedStack, user: str) -> asyncpg.Connection:
    """Open a session at the primary."""
    return await asyncpg.connect(
        host="127.0.0.1", port=stack.primary.port, user=user, database="postgres", timeout=5
    )


async def end(stack: EmbeddedStack, moment: float) -> int:
    """End what the application's role has opened before."""
    return await asyncio.to_thread(sessions.end_older, APP, moment, stack.primary.sql)


async def test_older_ones_of_the_role_end(stack: EmbeddedStack) -> None:
    """Another role's go on, and so do those that were opened since."""
    old, other = await login(stack, APP), await login(stack, READ)
    moment = clock(stack)
    new = await login(stack, APP)
    assert await end(stack, moment) >= 1
    await eventually("the old one's end", old.is_closed)
    assert await new.fetchval("SELECT 1") == await other.fetchval("SELECT 1") == 1
    for each in (new, other):
        await each.close(timeout=5)


async def test_a_statement_may_end_first(stack: EmbeddedStack) -> None:
    """Its session ends after it; a transaction that stays open is not waited for longer."""
    working, lingering = await login(stack, APP), await login(stack, APP)
    await lingering.execute("BEGIN")
    statement = asyncio.create_task(working.fetchval("SELECT pg_sleep(1.5)::text || 'done'"))
    await asyncio.sleep(0.2)  # on its way; if not, it begins later
    begun = time.monotonic()
    assert await end(stack, clock(stack)) >= 2
    assert await statement == "done"
    assert time.monotonic() - begun > sessions.AT_WORK
    for each in (working, lingering):
        await eventually("its end", each.is_closed)


async def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said that old sessions may be left there."""
    monkeypatch.setattr(sessions, "GONE_LIMIT", 0.1)
    with pytest.raises(StackError, match="does not answer"):
        await asyncio.to_thread(sessions.end_older, APP, 0.0, lambda _: "")


async def test_the_service_goes_on(stack: EmbeddedStack, database: str) -> None:
    """Its pool notices the end of idle sessions, and opens new ones for who asks then."""
    async with warm_database(stack, database, stack.primary.port, 4) as heart:
        pool, _ = heart.pools
        async with pool.lend(Deadline.after(5)) as link:
            before = await link.fetchval("SELECT pg_backend_pid()")
        assert await end(stack, clock(stack)) >= 4
        await eventually("the pool to notice", lambda: pool.size == 0)
        async with pool.lend(Deadline.after(5)) as link:
            assert await link.fetchval("SELECT pg_backend_pid()") != before
