"""What goes ahead goes with the statement that runs first, and a session is one throughout."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from ops.embedded.pair import APP
from service.database import IdempotencyKey, WriteConnection, is_transient, retry_on_failover
from service.database.observer import Role
from service.database.options import DatabaseOptions, EndpointOptions
from service.database.session import STATEMENTS_MOST, connect
from service.database.transport import Opening
from service.errors import DatabaseError
from tests.integration.test_ahead import COUNT, EFFECTS, INSERT, NUMBER, adding, heart

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg

    from ops.embedded import EmbeddedStack
    from service.database import Database
    from tests.integration.fault_proxy import FaultProxy

__all__ = ["heart"]


async def out_of_order(connection: WriteConnection) -> None:
    """Await the second statement before the first."""
    first = connection.fetchval(INSERT, "later")
    try:
        await connection.fetchval(INSERT, "sooner")
        await first
    finally:
        first.close()  # of a known key the one before is refused


async def never_awaited(connection: WriteConnection) -> None:
    """Give the first statement up before it runs."""
    connection.fetchval(INSERT, "never").close()
    await connection.fetchval(INSERT, "sooner")


async def timed_out(connection: WriteConnection) -> None:
    """Have no time for the first statement."""
    with suppress(TimeoutError):
        await asyncio.wait_for(connection.fetchval(INSERT, "never"), 0)
    await connection.fetchval(INSERT, "sooner")


async def in_a_task(connection: WriteConnection) -> None:
    """Leave the first statement to a task, which begins later."""
    task = asyncio.create_task(connection.fetchval(INSERT, "later"))
    with suppress(DatabaseError):
        await connection.fetchval(INSERT, "sooner")
    with suppress(DatabaseError):
        await task


ORDERS = [out_of_order, never_awaited, timed_out, in_a_task]


@pytest.mark.parametrize("run", ORDERS)
async def test_what_goes_ahead_goes_with_the_statement_that_runs_first(
    heart: Database, admin: asyncpg.Connection, run: Callable[[WriteConnection], Awaitable[None]]
) -> None:
    """Not with the one that was made first: else that one runs in no transaction."""
    await heart.write_once(IdempotencyKey.made(), NUMBER, adding("warm"))

    async def fail(connection: WriteConnection) -> int:
        await run(connection)
        raise LookupError

    with pytest.raises(LookupError):
        await heart.write_once(IdempotencyKey.made(), NUMBER, fail)
    names = "SELECT name FROM users WHERE name IN ('sooner', 'later', 'never')"
    assert [row["name"] for row in await admin.fetch(names)] == []


@pytest.mark.parametrize("run", ORDERS[:3])
async def test_it_is_stored_with_its_key(
    heart: Database, admin: asyncpg.Connection, run: Callable[[WriteConnection], Awaitable[None]]
) -> None:
    """Such an effect is one like any other."""
    await heart.write_once(IdempotencyKey.made(), NUMBER, adding("warm"))

    async def work(connection: WriteConnection) -> int:
        await run(connection)
        return 1

    key = IdempotencyKey.made()
    assert not (await heart.write_once(key, NUMBER, work)).recalled
    assert (await heart.write_once(key, NUMBER, work)).recalled
    assert await admin.fetchval(COUNT, "sooner") == 1


@pytest.mark.parametrize("effect", EFFECTS)
async def test_a_refusal_leaves_the_session(
    heart: Database, proxy: FaultProxy, effect: Callable[[WriteConnection], Awaitable[int]]
) -> None:
    """It is the same one afterwards, not its successor."""
    key = IdempotencyKey.made()
    await heart.write_once(key, NUMBER, adding("first"))
    await heart.write_once(key, NUMBER, effect)
    assert proxy.accepted == 1


async def test_refused_arguments_leave_the_session(heart: Database, proxy: FaultProxy) -> None:
    """The same, when the driver refuses a statement's arguments."""

    async def give_up(connection: WriteConnection) -> int:
        return int(await connection.fetchval("SELECT $1::int", "three"))

    with pytest.raises(DatabaseError):
        await heart.write_once(IdempotencyKey.made(), NUMBER, give_up)
    await heart.write_once(IdempotencyKey.made(), NUMBER, adding("afterwards"))
    assert proxy.accepted == 1


async def test_a_stale_plan_leaves_the_session(
    heart: Database, proxy: FaultProxy, admin: asyncpg.Connection
) -> None:
    """A write and a read within retries go on by themselves, by the same session."""
    await admin.execute("CREATE TABLE things (a int)")
    await admin.execute("INSERT INTO things VALUES (1)")
    await admin.execute(f"GRANT ALL ON things TO {APP}")

    async def enter(connection: WriteConnection) -> int:
        row = await connection.fetchrow("INSERT INTO things VALUES (1) RETURNING *")
        return len(row or ())

    class Things:
        def __init__(self) -> None:
            self.database = heart

        @retry_on_failover(on=is_transient)
        async def write(self, key: IdempotencyKey) -> int:
            return (await self.database.write_once(key, NUMBER, enter)).value

        @retry_on_failover(on=is_transient)
        async def read(self) -> int:
            async with self.database.write() as connection:
                row = await connection.fetchrow("SELECT * FROM things LIMIT 1")
                return len(row or ())

    things = Things()
    assert await things.write(IdempotencyKey.made()) == 1
    assert await things.read() == 1
    await admin.execute("ALTER TABLE things ADD b int")
    assert await things.write(IdempotencyKey.made()) == 2
    assert await things.read() == 2
    await admin.execute("ALTER TABLE things ALTER a TYPE bigint")
    assert await things.write(IdempotencyKey.made()) == 2
    assert await things.read() == 2
    assert await admin.fetchval("SELECT count(*) FROM things") == 4
    assert proxy.accepted == 1


async def test_a_claim_that_is_evicted_is_still_there_when_it_goes(heart: Database) -> None:
    """As the oldest statement, between a refused statement and another new one."""

    async def fill(connection: WriteConnection) -> int:
        for number in range(STATEMENTS_MOST - 3 - 1):
            await connection.fetchval(f"SELECT {number}")
        return 1

    await heart.write_once(IdempotencyKey.made(), NUMBER, adding("warm"))
    await heart.write_once(IdempotencyKey.made(), NUMBER, fill)
    (session,) = heart.pools[0]._idle
    assert len(session.statements) == STATEMENTS_MOST

    async def push_out(connection: WriteConnection) -> int:
        for number in range(6):
            with suppress(DatabaseError):
                await connection.fetchval(f"SELECT $1::int + {number}", "no number")
        return int(await connection.fetchval("SELECT 7"))

    assert (await heart.write_once(IdempotencyKey.made(), NUMBER, push_out)).value == 7


async def test_a_session_is_freed_when_it_has_ended(stack: EmbeddedStack, database: str) -> None:
    """By its last reference, not by the collector."""
    endpoint = EndpointOptions(host="127.0.0.1", port=stack.primary.serving_port)
    options = DatabaseOptions(write=endpoint, read=endpoint, name=database, user=APP)
    gc.collect()
    gc.disable()
    try:
        session = await connect(endpoint, options, Role.WRITE, lambda _: None)
        statement = await session.prepared("SELECT 1")
        assert await statement.fetchval() == 1
        there = weakref.ref(session)
        session.drop()
        del statement, session
        for _ in range(5):
            await asyncio.sleep(0)
        assert there() is None
    finally:
        gc.enable()


async def test_a_protocol_is_freed_when_its_connection_has_ended(stack: EmbeddedStack) -> None:
    """What gave it its transport does not keep it."""
    ended = asyncio.Event()

    class Plain(asyncio.Protocol):
        def connection_lost(self, _: Exception | None) -> None:
            ended.set()

    gc.collect()
    gc.disable()
    try:
        wire, protocol = await Opening().create_connection(
            Plain, "127.0.0.1", stack.primary.serving_port
        )
        there = weakref.ref(protocol)
        wire.close()
        del wire, protocol
        async with asyncio.timeout(5):
            await ended.wait()
        await asyncio.sleep(0)  # a turn of the loop, which has called it
        assert there() is None
    finally:
        gc.enable()
