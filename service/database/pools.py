"""Opens, refreshes and closes a pool of sessions on one endpoint.

asyncpg's pool lends and takes back; this adds what a failover asks for:

- it opens without a database, and connects when somebody asks;
- sessions have a maximum age, and all of them can be expired at once. Otherwise reads would never
  return to a recovered replica, and writes could stay with a demoted primary;
- a session goes back only when it is idle and known to be good: one that was left in the middle
  of anything, by a failure or by a cancelled task, is closed;
- every wait is bounded, and whoever waits is counted.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import TypeAlias, cast

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from service.database.connections import Link
from service.database.deadline import Deadline
from service.database.endpoint import Endpoint
from service.database.failures import DEADLINE, DRIVER_ERRORS
from service.database.observer import Observer, Role
from service.database.options import DatabaseOptions, EndpointOptions
from service.database.session import Session, connect
from service.database.turns import Turns
from service.errors import (
    CommitInDoubt,
    ConnectionLost,
    DatabaseError,
    NotWritable,
    PoolExhausted,
    Unavailable,
)

Proxy: TypeAlias = PoolConnectionProxy

# Sessions that may be on their way at a time: after a failover the pool refills, it does not storm
# the new primary. A login costs as much as several requests, and the first that is done serves all
# who wait: four pools that opened two at a time kept a write from its first session for half a
# second, on two cores. Attempts that keep a pace (endpoint.OVERLAP) are not counted: some hang.
CONNECTS_AT_ONCE = 1
# Seconds for a session's farewell, and for asyncpg's bookkeeping when one is given back.
FAREWELL = 1.0


class Pool:
    """A pool of sessions on one endpoint."""

    def __init__(
        self, role: Role, endpoint: EndpointOptions, options: DatabaseOptions, observer: Observer
    ) -> None:
        self.role = role
        self.endpoint = Endpoint(role, observer)
        self.waiting = 0  # tasks that have asked for a session and do not have it yet
        self.floor = endpoint.pool_min
        self.limit = endpoint.pool_max
        self._where = endpoint
        self._options = options
        self._observer = observer
        self._generation = 0
        self._connects = asyncio.Semaphore(CONNECTS_AT_ONCE)
        self._turns = Turns(self._free)
        self._pool: asyncpg.Pool | None = None
        self._farewells: set[asyncio.Task[None]] = set()

    @property
    def size(self) -> int:
        """The number of open sessions."""
        return self._pool.get_size() if self._pool else 0

    @property
    def idle(self) -> int:
        """The number of open sessions that nobody uses."""
        return self._pool.get_idle_size() if self._pool else 0

    async def open(self) -> None:
        """Get ready to lend; connects to nothing."""
        self._pool = await asyncpg.create_pool(
            min_size=0,  # asyncpg's own floor would connect here; the keeper holds ours
            max_size=self.limit,
            max_queries=2**31,  # the age replaces sessions
            max_inactive_connection_lifetime=self._options.connection_max_age,
            connect=self._connect,
        )

    async def close(self, bound: float) -> None:
        """Wait up to `bound` seconds for loans to come back, then close all sessions."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        self._turns.look()  # whoever is in line hears of it
        try:
            async with asyncio.timeout(bound):
                await pool.close()
        except (*DRIVER_ERRORS, TimeoutError):
            pool.terminate()  # whoever still held one finds it closed

    def expire(self) -> None:
        """Let no session that is open now be lent again."""
        self._generation += 1

    @asynccontextmanager
    async def lend(self, deadline: Deadline) -> AsyncIterator[Link]:
        """Lend a session until the block ends.

        Raises EndpointUnreachable, PoolExhausted, DatabaseFailure, or Unavailable once closed.
        Counts what fails inside, and expires the pool if the failure concerns its other sessions.
        """
        try:
            proxy, session = await self._acquire(deadline)
        except DatabaseError as error:
            self._observer.failure(self.role, error)
            raise
        try:
            yield Link(session, deadline, self._options.statement_timeout, self.role)
        except DatabaseError as error:
            self._observer.failure(self.role, error)
            self._learn(error, session)
            raise
        finally:
            await self._take_back(proxy, session)

    def _learn(self, error: DatabaseError, session: Session) -> None:
        """Expire the other sessions when one of their age was lost, or leads to a read-only node.

        Once per generation: ten losses at a time must not expire what the first retry opened.
        """
        if isinstance(error, NotWritable):
            self.endpoint.failed(error)
        elif not isinstance(error, ConnectionLost | CommitInDoubt) or error.kind == DEADLINE:
            return
        if session.generation == self._generation:
            self.expire()
            if not isinstance(error, NotWritable):
                self.endpoint.lost(error)

    async def _acquire(self, deadline: Deadline) -> tuple[Proxy, Session]:
        self.waiting += 1
        try:
            while True:
                proxy = await self._next(min(self._options.acquire_timeout, deadline.remaining()))
                session = cast("Session", proxy).unwrapped
                if self._fit(session):
                    return proxy, session
                # Perhaps a node that fell silent: no farewell that waits for its answer.
                session.terminate()
        finally:
            self.waiting -= 1

    async def _next(self, bound: float) -> Proxy:
        if bound <= 0:
            raise PoolExhausted("No time was left to wait for a connection", kind="deadline")
        try:
            async with asyncio.timeout(bound):
                await self._turns.wait()
                if self._pool is None:
                    raise Unavailable("The service is stopping.", kind="stopping")
                return await self._pool.acquire()
        except TimeoutError as error:
            message = f"All {self.limit} connections were busy for {bound:.1f} s"
            raise PoolExhausted(message, kind="exhausted") from error
        except asyncpg.InterfaceError as error:  # the pool's "I am closing"
            raise Unavailable("The service is stopping.", kind="stopping") from error

    def _free(self) -> bool:
        """Say whether it makes sense to ask asyncpg's pool now."""
        if self._pool is None or self.endpoint.paced:
            return True  # to hear that it is closed; to try, or be sent away to come again
        return self.idle > 0 or (self.size < self.limit and not self._connects.locked())

    def _fit(self, session: Session) -> bool:
        current = session.generation == self._generation
        return current and time.monotonic() < session.expires_at and not session.is_closed()

    async def _take_back(self, proxy: Proxy, session: Session) -> None:
        if session.is_closed() or session.is_in_transaction():
            session.terminate()
        elif not self._fit(session):
            farewell = asyncio.create_task(_say_farewell(session))
            self._farewells.add(farewell)
            farewell.add_done_callback(self._farewells.discard)
            farewell.add_done_callback(lambda _: self._turns.look())
        elif self._pool is None:
            session.terminate()
        else:
            await self._pool.release(proxy, timeout=FAREWELL)
        self._turns.look()

    async def _connect(self, *_: object, **__: object) -> Session:
        """Open a session for asyncpg's pool, which passes arguments of its own."""
        generation = self._generation
        try:
            async with nullcontext() if self.endpoint.paced else self._connects:
                with self.endpoint.connecting():
                    session = await connect(self._where, self._options, self.role)
        finally:
            self._turns.look()
        session.generation = generation
        return session


async def _say_farewell(session: Session) -> None:
    try:
        await session.close(timeout=FAREWELL)
    except DRIVER_ERRORS:
        session.terminate()  # it was to be closed: how is of no interest
