"""`Database`: `write_once()` and `read()`, the two ways to the data; `write()` without a key.

The service knows two endpoints and never a node. A write is one transaction, committed here,
before any response exists. A read runs its statements by themselves on the read
endpoint, in sessions that are read-only; when no reader answers it runs on the write endpoint in
a READ ONLY transaction.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self, TypeVar

from service.database import consistency
from service.database.admission import Admission
from service.database.connections import (
    Link,
    ReadConnection,
    WriteConnection,
    rolled_back_on_error,
)
from service.database.consistency import ConsistencyToken, Readers
from service.database.deadline import Deadline
from service.database.endpoint import EndpointState
from service.database.idempotency import (
    Codec,
    Effect,
    IdempotencyKey,
    KeyedWrite,
    Written,
    observed_commit,
)
from service.database.observer import Observer, Role, Route
from service.database.options import DatabaseOptions
from service.database.pools import Pool
from service.database.prober import Prober
from service.database.purger import Purger
from service.database.retry import RetryPolicy
from service.database.unit import UnitOfWork, current_unit
from service.errors import CommitInDoubt, EndpointUnreachable, TokenAhead

T = TypeVar("T")

STALE_PROBES = 3  # that a prober may miss until /health calls its endpoint's state stale
CLOSE_BOUND = 2.0  # seconds for connections on loan when the pools are closed


class Database:
    """Both endpoints. Construct it anywhere; open it on the event loop that will use it.

    Either `async with database:`, or `open` and `close`.
    """

    def __init__(self, options: DatabaseOptions, observer: Observer | None = None) -> None:
        observer = observer or Observer()
        self.observer = observer
        self.admission = Admission(options.held_most)
        self._options = options
        self._readers = Readers(options.consistency_wait)
        self._write = Pool(Role.WRITE, options.write, options, observer)
        self._read = Pool(Role.READ, options.read, options, observer)
        # A probe gets as long as a connection and an answer may take on a slow day, no longer: its
        # outcome is what /health says.
        patience = 2 * options.connect_timeout
        # Seconds without a word of an endpoint after which its prober must have failed to ask.
        self.stale_after = STALE_PROBES * (options.probe_interval + patience)
        self.tasks = (
            Purger(self._write, observer, options.key_purge_interval),
            *(
                Prober(pool, observer, interval=options.probe_interval, patience=patience)
                for pool in self.pools
            ),
        )

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

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Get ready. Connects in the background: a database that is away holds nothing up."""
        for pool in self.pools:
            pool.open()
        for task in self.tasks:
            task.start()

    async def close(self, bound: float = CLOSE_BOUND) -> None:
        """Close both pools; each waits up to `bound` seconds for its loans."""
        for task in self.tasks:
            await task.stop()
        for pool in self.pools:
            await pool.close(bound)

    async def write_once(
        self, key: IdempotencyKey, codec: Codec[T], effect: Effect[T]
    ) -> Written[T]:
        """Apply `effect` in a transaction, exactly once for all who come with this key.

        `codec` stores its result beside the key. Within `@retry_on_failover` a lost COMMIT is
        asked for by the key, and CommitInDoubt is what is left when the deadline passes first.
        Raises KeyReused, KeyInFlight, other DatabaseErrors, and what the effect raises.
        """
        self.observer.routed(Route.WRITE)
        unit = current_unit()
        if unit is not None:
            unit.use(key.digest)
        in_doubt = unit is not None and unit.in_doubt is not None
        lifetime = self._options.key_lifetime
        attempt = KeyedWrite(key, codec, effect, lifetime, self.observer).attempt
        try:
            async with self._write.lend(self._deadline()) as link:
                written = await attempt(link, unit or UnitOfWork(self._deadline()))
                self._write.endpoint.served()
        except CommitInDoubt as error:
            if unit is None:
                raise
            raise unit.doubt(error) from error
        if in_doubt:
            self.observer.resolved(applied=written.recalled)
        if written.replayed:
            self.observer.replayed()
        if written.commit.local:
            self.observer.local_commit()
        return written

    @asynccontextmanager
    async def write(self) -> AsyncIterator[WriteConnection]:
        """Give a connection inside a transaction, and commit when the block ends without error.

        For what may be applied twice without harm. Raises what `service.errors` has under
        DatabaseError; CommitInDoubt alone leaves open whether the block's effect was applied.
        """
        self.observer.routed(Route.WRITE)
        async with self._write.lend(self._deadline()) as link:
            async with rolled_back_on_error(link):
                await link.begin()
                yield WriteConnection(link)
            if (await observed_commit(link, self.observer)).local:
                self.observer.local_commit()
            self._write.endpoint.served()

    @asynccontextmanager
    async def read(self, after: ConsistencyToken | None = None) -> AsyncIterator[ReadConnection]:
        """Give a connection that can only read, and sees at least the state of the token `after`.

        A reader's; or the write endpoint's when no reader answers or has reached the token in
        time. Raises TokenAhead when the primary has not either; the unit of work's next attempts
        ask the primary alone.
        """
        deadline, unit = self._deadline(), current_unit()
        async with AsyncExitStack() as loan:
            self.observer.routed(Route.READ)
            ahead = unit is not None and unit.ahead
            link = None if ahead else await self._borrow_reader(loan, deadline, after)
            if link is not None:
                yield ReadConnection(link)
                self._read.endpoint.served()
                return
            link = await loan.enter_async_context(self._write.lend(deadline))
            self.observer.routed(Route.READ_FALLBACK)
            await loan.enter_async_context(_read_only(link))
            if after is not None:
                await _confirm(link, after, unit)
            yield ReadConnection(link)

    async def _borrow_reader(
        self, loan: AsyncExitStack, deadline: Deadline, after: ConsistencyToken | None
    ) -> Link | None:
        """Return a reader that has reached the token, on `loan`; None without one."""
        async with AsyncExitStack() as trial:
            try:
                link = await trial.enter_async_context(self._read.lend(deadline))
            except EndpointUnreachable:
                return None
            if after is not None and not await self._readers.reach(link, after, deadline):
                self._read.endpoint.served()
                self.observer.behind()
                return None
            await loan.enter_async_context(trial.pop_all())
            return link

    def _deadline(self) -> Deadline:
        unit = current_unit()
        return Deadline.after(self.retry_policy.deadline) if unit is None else unit.deadline


async def _confirm(link: Link, after: ConsistencyToken, unit: UnitOfWork | None) -> None:
    try:
        await consistency.confirm(link, after)
    except TokenAhead:
        if unit is not None:
            unit.ahead = True
        raise


@asynccontextmanager
async def _read_only(link: Link) -> AsyncIterator[None]:
    async with rolled_back_on_error(link):
        await link.begin_read()
        yield
    await link.end_read()
