"""Looks after one pool in the background.

It asks an idle endpoint whether it serves, closes sessions that are too old, and keeps the pool's
floor of sessions open, so that the first requests after a failover need not connect. Requests tell
the endpoint's state as well: the prober asks only when they have not lately.
"""

from service.database.background import Background
from service.database.deadline import Deadline
from service.database.observer import Observer, Role
from service.database.pools import Pool
from service.errors import DatabaseError, NotWritable

QUESTION = "SHOW transaction_read_only"  # what HAProxy's check asks, too
SLACK = 2  # a turn may take this many times what it should: nothing is exact


class Prober(Background):
    """Probes every `interval` seconds; a probe waits `patience` seconds for its answer."""

    def __init__(self, pool: Pool, observer: Observer, *, interval: float, patience: float) -> None:
        bound = SLACK * (patience + patience * pool.floor)  # a probe, and one login after another
        super().__init__(f"prober-{pool.role}", observer, bound=bound)
        self._pool = pool
        self._interval = interval
        self._patience = patience

    def pause(self) -> float:
        """Return the seconds until the next probe."""
        return self._interval

    async def work(self) -> None:
        """Ask once, if nobody else did within the interval; then put the pool in order."""
        try:
            if self._pool.endpoint.idle_for(self._interval):
                await self._ask()
            self._pool.trim()
            await self._pool.fill()
        except DatabaseError as error:
            self._pool.endpoint.failed(error)

    async def _ask(self) -> None:
        async with self._pool.lend(Deadline.after(self._patience)) as link:
            read_only = await link.fetchval(QUESTION)
            if self._pool.role is Role.WRITE and read_only != "off":
                raise NotWritable("The write endpoint leads to a read-only node", kind="read-only")
        self._pool.endpoint.served()
