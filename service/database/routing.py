"""`Database.read()` and `Database.write()`: the two ways to a connection.

The service knows two endpoints and never a node. A write is one transaction, committed here when
its block ends, before any response exists. A read runs its statements by themselves on the read
endpoint, in sessions that are read-only; when no reader answers it runs on the write endpoint in
a READ ONLY transaction.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from service.database.connections import Link, ReadConnection, WriteConnection
from service.database.deadline import Deadline, current_deadline
from service.database.endpoint import EndpointState
from service.database.keeper import Keeper
from service.database.observer import Observer, Role, Route
from service.database.options import DatabaseOptions
from service.database.pools import Pool
from service.database.retry import RetryPolicy
from service.errors import EndpointUnreachable


class Database:
    """Both endpoints. Construct it anywhere; `open` it on the event loop that will use it."""

    def __init__(self, options: DatabaseOptions, observer: Observer) -> None:
        self.observer = observer
        self._options = options
        self._write = Pool(Role.WRITE, options.write, options, observer)
        self._read = Pool(Role.READ, options.read, options, observer)
        # A question gets as long as a connection and an answer may take on a slow day, no longer:
        # its outcome is what /health says.
        bound = 2 * options.connect_timeout
        self._keepers = [
            Keeper(pool, interval=options.probe_interval, bound=bound) for pool in self.pools
        ]

    @property
    def retry_policy(self) -> RetryPolicy:
        """The bounds of a unit of work."""
        return self._options.retry

    @property
    def pools(self) -> tuple[Pool, Pool]:
        """The write and the read pool, for those who count connections."""
        return self._write, self._read

    @property
    def state(self) -> Mapping[Role, EndpointState]:
        """What is known of both endpoints; never waits."""
        return {pool.role: pool.endpoint.state for pool in self.pools}

    async def open(self) -> None:
        """Get ready. Connects in the background: a database that is away holds nothing up."""
        for pool in self.pools:
            await pool.open()
        for keeper in self._keepers:
            keeper.start()

    async def close(self, bound: float) -> None:
        """Close both pools; each waits up to `bound` seconds for its loans."""
        for keeper in self._keepers:
            await keeper.stop()
        for pool in self.pools:
            await pool.close(bound)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[WriteConnection]:
        """Give a connection inside a transaction, and commit when the block ends without error.

        Raises what `service.errors` has under DatabaseError; CommitInDoubt alone leaves open
        whether the block's effect was applied.
        """
        self.observer.routed(Route.WRITE)
        async with self._write.lend(self._deadline()) as link:
            async with _rolled_back_on_error(link):
                await link.begin()
                yield WriteConnection(link)
            if await link.commit():
                self.observer.local_commit()
            self._write.endpoint.served()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[ReadConnection]:
        """Give a connection that can only read: a reader's, or the write endpoint's without one."""
        deadline = self._deadline()
        async with AsyncExitStack() as loan:
            self.observer.routed(Route.READ)
            try:
                link = await loan.enter_async_context(self._read.lend(deadline))
                endpoint = self._read.endpoint
            except EndpointUnreachable:
                link = await loan.enter_async_context(self._write.lend(deadline))
                self.observer.routed(Route.READ_FALLBACK)
                await loan.enter_async_context(_read_only(link))
                endpoint = None  # a read says nothing of whether writes are served
            yield ReadConnection(link)
            if endpoint is not None:
                endpoint.served()

    def _deadline(self) -> Deadline:
        return current_deadline() or Deadline.after(self.retry_policy.deadline)


@asynccontextmanager
async def _rolled_back_on_error(link: Link) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:  # cancellation included: nothing half-done may stay open
        await link.roll_back()
        raise


@asynccontextmanager
async def _read_only(link: Link) -> AsyncIterator[None]:
    async with _rolled_back_on_error(link):
        await link.begin_read()
        yield
    await link.end_read()
