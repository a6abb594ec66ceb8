"""Removes expired idempotency keys, in small batches, by one instance at a time.

Out of the way of writes: a batch holds one connection for milliseconds, takes no lock that a write
waits for, does not wait for a standby, and skips rows that are being read.
"""

import asyncio
import random
import time

from service.database.background import Background
from service.database.deadline import Deadline
from service.database.link import Link, rolled_back_on_error
from service.database.observer import Observer
from service.database.pools import Pool
from service.errors import DatabaseError

BATCH = 500
PAUSE = 0.05  # seconds between two batches
BOUND = 5.0  # seconds for one batch
LONGEST = 30.0  # seconds of batches in a row; what is left waits for the next turn
# Any number that nothing else in the database takes for its advisory lock. Keys take the numbers
# of their digests: one that meets this is only waited for.
LOCK = 7_052_314_401
TURN = "SELECT pg_try_advisory_xact_lock($1)"
PURGE = """
    DELETE FROM idempotency_keys WHERE digest = ANY (ARRAY(
        SELECT digest FROM idempotency_keys
         WHERE expires_at <= now() ORDER BY expires_at LIMIT $1
           FOR UPDATE SKIP LOCKED))
 RETURNING true
"""


class Purger(Background):
    """Purges every `interval` seconds, or a little more often."""

    def __init__(self, pool: Pool, observer: Observer, interval: float) -> None:
        super().__init__("purger", observer, bound=LONGEST + 2 * BOUND)
        self.purged_at = 0.0  # Unix time at which nothing was left to remove; 0: not yet
        self._pool = pool
        self._interval = interval

    def pause(self) -> float:
        """Return the seconds until the next turn, not the same for all instances."""
        return self._interval * random.uniform(0.5, 1)  # noqa: S311 - a spread, no secret

    def first_pause(self) -> float:
        """Return the seconds until the first turn: a service that starts has more urgent work."""
        return self.pause()

    async def work(self) -> None:
        """Purge.

        A database that is away, or another instance that purges, fails no turn. So `worked_at`
        does not tell whether keys are removed: `purged_at` does.
        """
        await self.purge()

    async def purge(self) -> int:
        """Remove what has expired, unless another instance does; return the number of keys."""
        total, end = 0, Deadline.after(LONGEST)
        try:
            while (gone := await self._batch()) is not None:
                total += gone
                if gone:
                    self._observer.purged(gone)
                if gone < BATCH:
                    self.purged_at = time.time()
                    break
                if end.remaining() <= 0:
                    break
                await asyncio.sleep(PAUSE)
        except DatabaseError:
            pass  # counted where it happened; the next turn is soon enough
        return total

    async def _batch(self) -> int | None:
        """Remove a batch; return the number of keys, or None if it is another instance's turn."""
        async with self._pool.lend(Deadline.after(BOUND)) as link:
            async with rolled_back_on_error(link):
                await link.begin(wait_for_standby=False)
                gone = await _delete(link)
            await link.commit()
        return gone


async def _delete(link: Link) -> int | None:
    if not await link.fetchval(TURN, LOCK):
        return None
    return len(await link.fetch(PURGE, BATCH))
