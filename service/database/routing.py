"""`Database`: `write_once()` and `read()`, the two ways to the data; `write()` without a key.

The service knows two endpoints and never a node. A write is one transaction, committed here,
before any response exists. A read runs its statements by themselves on the read
endpoint, in sessions that are read-only; when no reader answers it runs on the write endpoint in
a READ ONLY transaction.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from service.database import consistency
from service.database.admission import Admission
from service.database.connections import ReadConnection, WriteConnection
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
from service.database.link import Link, rolled_back_on_error
from service.database.observer import Observer, Role, Route
from service.database.options import DatabaseOptions
from service.database.pools import Pool
from service.database.prober import Prober
from service.database.purger import Purger
from service.database.retry import RetryPolicy
from service.database.traced import TracedPool
from service.database.tracing import Tracer
from service.database.unit import UnitOfWork, current_unit
from service.errors import CommitInDoubt, DatabaseError, EndpointUnreachable, TokenAhead

T = TypeVar("T")

STALE_PROBES = 3  # that a prober may miss until /health calls its endpoint's state stale
CLOSE_BOUND = 2.0  # seconds for connections on loan when the pools are closed


class Database:
    """Both endpoints. Construct it anywhere; open it on the event loop that will use it.

    Either `async with database:`, or `open` and `close`.
    """

    def __init__(
        self,
        options: DatabaseOptions,
        observer: Observer | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        observer = observer or Observer()
        self.observer = observer
        self.tracer = tracer
        self.admission = Admission(options.held_most, self._send_away)
        self._options = options
        self._readers = Readers(options.consistency_wait)
        pool = Pool if tracer is None else partial(TracedPool, tracer)
        self._write = pool(Role.WRITE, options.write, options, observer)
        self._read = pool(Role.READ, options.read, options, observer)
        # A probe gets as long as a connection and an answer may take on a slow day, no longer: its
        # outcome is what /health says.
        patience = 2 * options.connect_timeout
        # Seconds without a word of an endpoint after which its prober must have failed to ask.
        self.stale_after = STALE_PROBES * (options.probe_interval + patience)
        self.purger = Purger(self._write, observer, options.key_purge_interval)
        self.tasks = (
            self.purger,
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
        if key.local and not self._options.local_allowed:
            key = replace(key, local=False)
        lifetime = self._options.key_lifetime
        attempt = KeyedWrite(key, codec, effect, lifetime, self.observer).attempt
        try:
            deadline = self.deadline(unit)
            async with self._write.lend(deadline) as link:
                written = await attempt(link, unit or UnitOfWork(deadline))
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
            self.observer.local_commit(asked=written.commit.asked)
        return written

    @asynccontextmanager
    async def write(self) -> AsyncIterator[WriteConnection]:
        """Give a connection inside a transaction, and commit when the block ends without error.

        For what may be applied twice without harm. Raises what `service.errors` has under
        DatabaseError; CommitInDoubt alone leaves open whether the block's effect was applied.
        """
        self.observer.routed(Route.WRITE)
        async with self._write.lend(self.deadline(current_unit())) as link:
            async with rolled_back_on_error(link):
                await link.begin()
                yield WriteConnection(link)
            if (await observed_commit(link, self.observer)).local:
                self.observer.local_commit()
            self._write.endpoint.served()

    def read(
        self, after: ConsistencyToken | None = None
    ) -> AbstractAsyncContextManager[ReadConnection]:
        """Give a connection that can only read, and sees at least the state of the token `after`.

        A reader's; or the write endpoint's when no reader answers or has reached the token in
        time. Raises TokenAhead when the primary has not either; the unit of work's next attempts
        ask the primary alone.
        """
        return _Reading(self, after)

    def reader_at_hand(self, deadline: Deadline) -> Link | None:
        """Return a reader on loan if one is idle: no coroutine, as nearly every read begins so."""
        return self._read.take(deadline)

    async def borrow_reader(
        self, deadline: Deadline, after: ConsistencyToken | None
    ) -> Link | None:
        """Return a reader on loan that has reached the token; None without one."""
        try:
            link = self._read.take(deadline) or await self._read.wait(deadline)
        except EndpointUnreachable:
            return None
        if after is None:
            return link
        try:
            reached = await self._readers.reach(link, after, deadline)
        except BaseException as error:
            self.return_reader(link, error)
            raise
        if reached:
            return link
        self.observer.behind()
        self.return_reader(link, None)
        return None

    async def end_reading(self, link: Link, error: BaseException | None) -> None:
        """End the transaction that a pooler made necessary, and its reader's loan."""
        try:
            # Nothing may be awaited in a generator's end: its session closes as it is taken back.
            if not isinstance(error, GeneratorExit):
                await (link.end_read() if error is None else link.roll_back())
        except BaseException as lost:
            self.return_reader(link, lost)
            raise
        self.return_reader(link, error)

    def return_reader(self, link: Link, error: BaseException | None) -> None:
        """End a reader's loan; without an error it did what it was asked for."""
        if error is None:
            self._read.endpoint.served()
        self._read.give_back(link, error)

    @asynccontextmanager
    async def read_from_primary(
        self, deadline: Deadline, after: ConsistencyToken | None
    ) -> AsyncIterator[ReadConnection]:
        """Give a connection that reads on the write endpoint, in a transaction."""
        async with self._write.lend(deadline) as link:
            self.observer.routed(Route.READ_FALLBACK)
            async with rolled_back_on_error(link):
                await link.begin_read()
                if after is not None:
                    await _confirm(link, after, current_unit())
                yield ReadConnection(link)
            await link.end_read()

    def _send_away(self, caller: str, error: DatabaseError) -> bool:
        return any(pool.send_away(caller, error) for pool in self.pools)

    def deadline(self, unit: UnitOfWork | None) -> Deadline:
        """Return the deadline of the unit of work at hand, or one that begins now."""
        return Deadline.after(self.retry_policy.deadline) if unit is None else unit.deadline


async def _confirm(link: Link, after: ConsistencyToken, unit: UnitOfWork | None) -> None:
    try:
        await consistency.confirm(link, after)
    except TokenAhead:
        if unit is not None:
            unit.ahead = True
        raise


class _Reading:
    """The block of a read. No generator: it is what every request pays for."""

    __slots__ = ("_after", "_database", "_fallback", "_reader")

    def __init__(self, database: Database, after: ConsistencyToken | None) -> None:
        self._database = database
        self._after = after

    async def __aenter__(self) -> ReadConnection:
        database, unit, after = self._database, current_unit(), self._after
        deadline = database.deadline(unit)
        database.observer.routed(Route.READ)
        reader = None
        if unit is None or not unit.ahead:
            if after is None:
                reader = database.reader_at_hand(deadline)
            if reader is None:
                reader = await database.borrow_reader(deadline, after)
        self._reader = reader
        if reader is not None:
            return ReadConnection(reader)
        self._fallback = database.read_from_primary(deadline, after)
        return await self._fallback.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._reader is not None:
            if self._reader.pinned:
                await self._database.end_reading(self._reader, error)
            else:
                self._database.return_reader(self._reader, error)
        else:
            await self._fallback.__aexit__(kind, error, trace)
