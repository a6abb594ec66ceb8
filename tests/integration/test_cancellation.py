"""A task may be cancelled anywhere: nothing is lost by it, and nobody else notices.

Each case cancels one task at one of its waits, and then looks: no session is missing from the pool
and none left in a transaction, nobody waits while one is idle, no lock is left at the server, the
next units of work succeed at once, and the write is there once when it is sent again.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from ops.embedded.pair import APP, READ
from service.database import (
    Database,
    DatabaseOptions,
    EndpointOptions,
    IdempotencyKey,
    Observer,
    PlainJson,
    RetryPolicy,
    WriteConnection,
    is_transient,
    retry_on_failover,
)
from service.database.prober import Prober
from tests.integration.stepping import Moment, SteppedTasks, cancelled_at
from tests.integration.support import eventually, eventually_whole, superuser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    import asyncpg

    from ops.embedded import EmbeddedStack

NAME = "stepped"
AFTERWARDS = 20  # units of work that have to find every session in order
AT_ONCE = 5.0  # seconds for all of them, on a busy machine
COMPANIONS = 3  # who want a session at the same time
STEPS_MOST = 60  # more waits than any unit of work has here

INSERT = "INSERT INTO users (email, name) VALUES ($1, $2) RETURNING id"


class Failures(Observer):
    """Keeps what became of background tasks."""

    def __init__(self) -> None:
        self.background: list[tuple[str, str]] = []

    def background_failed(self, name: str, error: BaseException) -> None:
        """Keep it."""
        self.background.append((name, type(error).__name__))


@dataclass
class World:
    """A database, users on it, and somebody who looks at it past every pool."""

    database: Database
    admin: asyncpg.Connection[Any]
    told: Failures
    aging: bool = False  # every session is too old by the end of its loan

    def age(self) -> None:
        """Let what is on loan now not be lent again, where that is the case at hand."""
        if self.aging:
            for pool in self.database.pools:
                pool.expire()

    @retry_on_failover(on=is_transient)
    async def create(self, name: str) -> None:
        """Create a user, or find it created."""
        key = IdempotencyKey(name.encode().ljust(32, b"."), b"the same")

        async def insert(connection: WriteConnection) -> int:
            self.age()
            return int(await connection.fetchval(INSERT, f"{name}@example.com", name))

        await self.database.write_once(key, PlainJson(int), insert)

    async def write(self, name: str) -> None:
        """Create a user without a key: at most once."""
        async with self.database.write() as connection:
            self.age()
            await connection.execute(INSERT, f"{name}@example.com", name)

    @retry_on_failover(on=is_transient)
    async def read(self, _: str) -> None:
        """Read a page on the read endpoint."""
        async with self.database.read() as connection:
            self.age()
            await connection.fetch("SELECT * FROM users LIMIT 5")

    async def rows(self, name: str) -> int:
        """Count a user's rows."""
        return int(await self.admin.fetchval("SELECT count(*) FROM users WHERE name = $1", name))

    async def assert_whole(self) -> None:
        """Nothing is missing, and nothing is left behind."""
        pools = self.database.pools
        await eventually_whole(pools, self.admin, NAME)
        try:
            async with asyncio.timeout(AT_ONCE):
                work = [self.read(""), self.create("afterwards")] * (AFTERWARDS // 2)
                await asyncio.gather(*work)
        except TimeoutError:
            pytest.fail("the next units of work do not succeed at once")
        assert all(pool.size <= pool.limit for pool in pools)


@asynccontextmanager
async def world(stack: EmbeddedStack, name: str, **options: Any) -> AsyncIterator[World]:  # noqa: ANN401
    """Open a database without probers that would come between."""
    most = options.pop("pool_max", 2)
    floor = options.pop("pool_min", 0)
    told = Failures()
    chosen = DatabaseOptions(
        write=EndpointOptions(
            host="127.0.0.1", port=stack.primary.serving_port, pool_min=floor, pool_max=most
        ),
        read=EndpointOptions(
            host="127.0.0.1",
            port=stack.standby.serving_port,
            pool_min=floor,
            pool_max=most,
            user=READ,
        ),
        name=name,
        user=APP,
        application_name=NAME,
        retry=RetryPolicy(deadline=10.0, backoff_first=0.002, backoff_most=0.01),
        **{"probe_interval": 600.0, "key_purge_interval": 600.0} | options,
    )
    async with superuser(stack, name) as admin, Database(chosen, told) as database:
        yield World(database, admin, told)


WORK: dict[str, Callable[[World, str], Coroutine[Any, Any, None]]] = {
    "read": World.read,
    "write": World.write,
    "write_once": World.create,
}
# How the pool is when the work begins.
STATES = {"warm": 2, "cold": 2, "one session": 1, "aged": 2}  # sessions of each pool at most


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("work", WORK)
async def test_unit_of_work(
    stack: EmbeddedStack, database: str, work: str, state: str, moment: Moment
) -> None:
    """Cancelled at each of its waits, beside others that want the same sessions."""
    async with world(stack, database, pool_max=STATES[state]) as here:
        for step in range(1, STEPS_MOST):
            name = f"{work}-{state}-{step}".replace(" ", "-")
            if state == "cold":
                for pool in here.database.pools:
                    pool.expire()
            here.aging = state == "aged"
            # Others come right after it: who waits as it is cancelled must not be forgotten.
            companions = [WORK[work](here, f"{name}-{number}") for number in range(COMPANIONS)]
            struck = await cancelled_at(
                lambda name=name: WORK[work](here, name), step, moment, *companions
            )
            here.aging = False
            await here.assert_whole()
            if work == "write_once":
                await here.create(name)
                assert await here.rows(name) == 1
            elif work == "write":
                assert await here.rows(name) <= 1
            if not struck:
                assert step > 1, "the work had no waits to be cancelled at"
                return
    pytest.fail(f"more than {STEPS_MOST} steps")


@pytest.mark.parametrize("moment", Moment)
async def test_waiting_for_a_session(stack: EmbeddedStack, database: str, moment: Moment) -> None:
    """Cancelled in the wait queue, or as it is served: the next one gets the session."""
    async with world(stack, database, pool_max=1) as here:
        pool = here.database.pools[0]
        for number in range(10):
            entered, leave = asyncio.Event(), asyncio.Event()

            async def hold(entered: asyncio.Event = entered, leave: asyncio.Event = leave) -> None:
                async with here.database.write():
                    entered.set()
                    await leave.wait()

            holder = asyncio.create_task(hold())
            await entered.wait()
            first = asyncio.create_task(
                cancelled_at(lambda n=number: here.create(f"first-{n}"), 1, moment)
            )
            if moment is Moment.WOKEN:
                await eventually("the first to wait", lambda: pool.waiting == 1)
            second = asyncio.create_task(here.create(f"second-{number}"))
            await eventually("the second to wait", lambda: pool.waiting >= 1)
            leave.set()
            async with asyncio.timeout(AT_ONCE):
                await asyncio.gather(holder, first, second)
            await here.assert_whole()


@pytest.mark.parametrize("moment", Moment)
async def test_tasks_of_the_pool(stack: EmbeddedStack, database: str, moment: Moment) -> None:
    """Whoever cancels a task that opens a session: who waits for it is served."""
    async with world(stack, database) as here:
        loop = asyncio.get_running_loop()
        for step in range(1, STEPS_MOST):
            for pool in here.database.pools:
                pool.expire()
            stepped = SteppedTasks("Pool._open_one", step, moment)
            loop.set_task_factory(stepped)
            try:
                work = [here.create(f"opened-{step}-{number}") for number in range(COMPANIONS)]
                async with asyncio.timeout(AT_ONCE):
                    await asyncio.gather(*work)
            finally:
                loop.set_task_factory(None)
            await here.assert_whole()
            if not stepped.struck:
                assert step > 1, "no such task had a wait"
                return
    pytest.fail(f"more than {STEPS_MOST} steps")


def _probed(database: Database) -> bool:
    return all(task.worked_at > 0 for task in database.tasks if isinstance(task, Prober))


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("index", [0, 1, 2], ids=["purger", "write prober", "read prober"])
async def test_background_tasks(
    stack: EmbeddedStack, database: str, index: int, moment: Moment
) -> None:
    """A turn that somebody cancels leaves the pool whole, and the task begins anew by itself."""
    async with world(stack, database, pool_min=2, pool_max=3) as here:
        task = here.database.tasks[index]
        await eventually("the first turn of both probers", lambda: _probed(here.database))
        if isinstance(task, Prober):
            task._interval = 0.0  # asks at each turn, though others have been served lately
        for step in range(1, STEPS_MOST):
            for pool in here.database.pools:
                pool.expire()
            struck = await cancelled_at(task.work, step, moment)
            await here.assert_whole()
            if not struck:
                assert step > 2, "the turn had no waits to be cancelled at"
                break
        assert here.told.background == []
        assert task._task is not None
        task._task.cancel()
        await eventually("the end to be told", lambda: len(here.told.background) == 1)
        assert here.told.background == [(task.name, "CancelledError")]
        await eventually("the task to begin anew", lambda: task.alive)


async def test_closing(stack: EmbeddedStack, database: str) -> None:
    """However closing is cancelled, no session stays open at the server."""
    for step in range(1, STEPS_MOST):
        for moment in Moment:
            async with world(stack, database) as here:
                await asyncio.gather(*(here.create(f"closing-{n}") for n in range(COMPANIONS)))
                struck = await cancelled_at(here.database.close, step, moment)
                await here.database.close()
                sessions = (
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name LIKE 'stepped/%'"
                )

                async def gone(admin: Any = here.admin, sql: str = sessions) -> bool:  # noqa: ANN401
                    return bool(await admin.fetchval(sql) == 0)

                await eventually("every session to be gone", gone)
        if not struck:
            return
    pytest.fail(f"more than {STEPS_MOST} steps")
