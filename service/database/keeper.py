"""Looks after one pool in the background.

It asks an idle endpoint whether it serves, and keeps the pool's floor of sessions open, so that the
first requests after a failover need not connect. Requests tell the endpoint's state as well: the
keeper asks only when they have not lately.
"""

import asyncio
from contextlib import AsyncExitStack

from service.database.background import Background
from service.database.deadline import Deadline
from service.database.observer import Role
from service.database.pools import Pool
from service.errors import DatabaseError, NotWritable

QUESTION = "SHOW transaction_read_only"  # what HAProxy's check asks, too


class Keeper(Background):
    """Runs as a task from `start` to `stop`; `interval` and `bound` in seconds."""

    def __init__(self, pool: Pool, *, interval: float, bound: float) -> None:
        super().__init__(f"keeper-{pool.role}")
        self._pool = pool
        self._interval = interval
        self._bound = bound

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(self._interval)

    async def look(self) -> None:
        """Ask once, if nobody else did within the interval; then fill the pool to its floor."""
        try:
            if self._pool.endpoint.idle_for(self._interval):
                await self._ask()
            if self._pool.size < self._pool.floor:
                await self._fill()
        except DatabaseError as error:
            self._pool.endpoint.failed(error)

    async def _ask(self) -> None:
        async with self._pool.lend(Deadline.after(self._bound)) as link:
            read_only = await link.fetchval(QUESTION)
            if self._pool.role is Role.WRITE and read_only != "off":
                raise NotWritable("The write endpoint leads to a read-only node", kind="read-only")
        self._pool.endpoint.served()

    async def _fill(self) -> None:
        deadline = Deadline.after(self._bound)
        async with AsyncExitStack() as loans:
            for _ in range(self._pool.floor):
                await loans.enter_async_context(self._pool.lend(deadline))
