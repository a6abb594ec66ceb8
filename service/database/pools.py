"""A pool of sessions on one endpoint: acquires, takes back, opens and closes them.

- It opens without a database, and connects when somebody waits.
- Whoever asks takes an idle session, or stands in the wait queue, where callers take turns.
  Sessions are opened by tasks of the pool's own, one at a time, and the first in the queue takes
  what is there first: a session that came back, or one that was opened for somebody else. After a
  failover forty logins at once would need the processors that the waiting work needs.
- Giving a session back awaits nothing, so that no cancellation can come between.
- Sessions have a maximum age, and all of them can be expired at once. Otherwise reads would never
  return to a recovered replica, and writes could stay with a demoted primary.
- A session goes back only when it is idle and known to be good: one that was left in the middle
  of anything, by a failure or by a cancelled task, is closed.
- Every wait is bounded, and whoever waits is counted.
"""

import asyncio
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from service.database import certificates
from service.database.bounds import Bounds
from service.database.deadline import Deadline
from service.database.endpoint import Endpoint
from service.database.failures import INNOCENT
from service.database.link import Link
from service.database.observer import Observer, Role
from service.database.options import DatabaseOptions, EndpointOptions
from service.database.session import Session, connect
from service.database.unit import current_caller
from service.database.waiting import Waiter, WaitQueue
from service.errors import (
    CommitInDoubt,
    ConnectionLost,
    DatabaseError,
    NotWritable,
    PoolExhausted,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# Sessions that may be on their way at a time: after a failover the pool refills, it does not storm
# the new primary. A login costs as much as several requests, and the first that is done serves all
# who wait: four pools that opened two at a time kept a write from its first session for half a
# second, on two cores. Attempts that keep a pace (endpoint.OVERLAP) are not counted: some hang.
CONNECTS_AT_ONCE = 1
# Seconds that a loan has at least. An exchange that meets its bound costs its session, and all who
# wait a login: nobody can be allowed that who asks for an answer in no time.
LEAST = 0.01


class Pool:
    """A pool of sessions on one endpoint. Everything runs on one event loop: no locks."""

    def __init__(
        self, role: Role, endpoint: EndpointOptions, options: DatabaseOptions, observer: Observer
    ) -> None:
        self.role = role
        self.link: Callable[..., Link] = Link  # what a session is lent as
        self.endpoint = Endpoint(role, observer)
        self.floor = endpoint.pool_min
        self.limit = endpoint.pool_max
        self._where = endpoint
        self._options = options
        self._observer = observer
        self._patience = options.statement_timeout  # with a statement
        self._generation = 0
        self._closed = True
        self._sessions: set[Session] = set()  # all that are open: idle and lent
        self._idle: deque[Session] = deque()
        self._queue = WaitQueue()
        self._bounds = Bounds()
        self._opening: set[asyncio.Task[DatabaseError | None]] = set()
        self._changed = asyncio.Event()  # since `close` looked

    @property
    def size(self) -> int:
        """The number of open sessions."""
        return len(self._sessions)

    @property
    def idle(self) -> int:
        """The number of open sessions that nobody uses."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """The number of tasks that have asked for a session and do not have it yet."""
        return len(self._queue)

    def open(self) -> None:
        """Get ready to lend; connects to nothing."""
        self._closed = False

    async def close(self, bound: float) -> None:
        """Wait up to `bound` seconds for loans to come back, then close all sessions."""
        self._closed = True
        self._queue.fail_all(_stopping)
        for task in self._opening:
            task.cancel()
        while self._idle:
            self._drop(self._idle.pop())
        try:
            async with asyncio.timeout(bound):
                while self._sessions or self._opening:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass  # whoever still holds one finds it closed
        finally:
            for session in list(self._sessions):
                self._drop(session)

    def expire(self) -> None:
        """Let no session that is open now be lent again."""
        self._generation += 1

    def send_away(self, caller: str, error: DatabaseError) -> bool:
        """End the caller's last wait with an error; say whether there was one."""
        return self._queue.send_away(caller, error)

    def trim(self) -> None:
        """Close idle sessions that are too old, or expired: nobody may ask for them for long."""
        for session in [each for each in self._idle if not self._fit(each)]:
            self._drop(session)

    async def fill(self) -> None:
        """Open sessions up to `floor`, in as many attempts at most. Raises DatabaseError."""
        for _ in range(self.floor):
            if self._closed or self.size + len(self._opening) >= self.floor:
                return
            if (refusal := self.endpoint.admit()) is not None:
                raise refusal
            task = self._start(None)
            await asyncio.wait([task])  # not awaited itself: who fills may be cancelled, it not
            if not task.cancelled() and (error := task.result()) is not None:
                raise error

    def lend(self, deadline: Deadline) -> "Loan":
        """Lend a session until the block ends.

        Raises EndpointUnreachable, PoolExhausted, DatabaseFailure, or Unavailable once closed.
        Counts what fails inside, and expires the pool if the failure concerns its other sessions.
        """
        return Loan(self, deadline)

    def take(self, deadline: Deadline) -> Link | None:
        """Begin a loan, if a session is idle, and there is time to use it.

        No coroutine, as most loans begin so. Whoever takes gives back.
        """
        if self._closed or deadline.remaining() < LEAST or (session := self._take()) is None:
            return None
        return self.link(session, deadline, self._patience, self.role, self._bounds)

    async def wait(self, deadline: Deadline) -> Link:
        """Begin a loan when it is its turn; raises what `lend` does."""
        try:
            session = await self._turn(deadline)
        except DatabaseError as error:
            self._observer.failure(self.role, error)
            raise
        return self.link(session, deadline, self._patience, self.role, self._bounds)

    def give_back(self, link: Link, error: BaseException | None) -> None:
        """End a loan; `error` is what its block raised."""
        session = link.session
        if isinstance(error, DatabaseError):
            self._observer.failure(self.role, error)
            self._learn(error, session)
        self._take_back(session, whole=link.end())

    def _learn(self, error: DatabaseError, session: Session) -> None:
        """Expire the other sessions when one of their age was lost, or leads to a read-only node.

        Once per generation: ten losses at a time must not expire what the first retry opened.
        """
        if isinstance(error, NotWritable):
            self.endpoint.failed(error)
        elif not isinstance(error, ConnectionLost | CommitInDoubt) or error.kind in INNOCENT:
            return
        if session.generation == self._generation:
            self.expire()
            if not isinstance(error, NotWritable):
                self.endpoint.lost(error)

    async def _turn(self, deadline: Deadline) -> Session:
        if self._closed:
            raise _stopping()
        # Half of what is left is for the work: whoever is served first has waited longest.
        bound = min(self._options.acquire_timeout, deadline.remaining() / 2)
        if bound < LEAST / 2:
            raise PoolExhausted("No time was left to wait for a connection", kind="deadline")
        waiter = self._queue.join(current_caller().name)
        number = self._bounds.begin(bound, lambda: waiter.fail(_exhausted(bound)))
        self._look()
        try:
            return await waiter.turn
        except asyncio.CancelledError:
            if (session := waiter.session) is not None:  # served and cancelled in the same turn
                self._take_back(session, whole=True)
            raise
        finally:
            self._bounds.end(number)
            self._queue.leave(waiter)

    def _take(self) -> Session | None:
        """Take the session that was idle for the shortest time, if one is fit to be used."""
        while self._idle:
            session = self._idle.pop()
            if self._fit(session):
                return session
            self._drop(session)
        return None

    def _fit(self, session: Session) -> bool:
        current = session.generation == self._generation
        return current and time.monotonic() < session.expires_at and not session.is_closed()

    def _take_back(self, session: Session, *, whole: bool) -> None:
        """Take a session; `whole`: nothing was left half-done on it.

        One that is as good as before goes to whoever is first: for the others nothing has changed.
        """
        if not (whole and self._fit(session) and session.is_idle()) or self._closed:
            self._drop(session)
        elif (waiter := self._queue.first()) is not None:
            self._queue.serve(waiter, session)
        else:
            self._idle.append(session)

    def _look(self) -> None:
        """Serve the wait queue with what there is. Wanted after every change.

        So nobody waits while a session is idle.
        """
        while (waiter := self._queue.first()) is not None:
            session = self._take()
            if session is None:
                break
            self._queue.serve(waiter, session)
        while self._may_connect() and (waiter := self._queue.first_without_attempt()) is not None:
            if (refusal := self.endpoint.admit()) is None:
                self._start(waiter)
            else:
                waiter.fail(refusal)
                self._queue.leave(waiter)

    def _may_connect(self) -> bool:
        """Say whether there is room for one session more, and nothing to be awaited before."""
        if self.size + len(self._opening) >= self.limit:
            return False
        return self.endpoint.paced or len(self._opening) < CONNECTS_AT_ONCE

    def _start(self, waiter: Waiter | None) -> asyncio.Task[DatabaseError | None]:
        """Begin to open a session; `waiter` is told if that fails, should it still wait then."""
        task = asyncio.create_task(self._open_one(), name=f"connect-{self.role}")
        self._opening.add(task)
        if waiter is not None:
            waiter.attempted = True
        task.add_done_callback(partial(self._opened, waiter))
        return task

    async def _open_one(self) -> DatabaseError | None:
        """Open a session for whoever is first in the queue then; return why it failed."""
        generation = self._generation
        try:
            with self.endpoint.attempt():
                session = await connect(self._where, self._options, self.role, self._forget)
        except DatabaseError as error:
            return error
        own_ca = bool(self._options.sslrootcert)
        for name, end in certificates.ends(session.sslobject, own_ca=own_ca):
            self._observer.certificate(name, end)
        session.generation = generation
        self._sessions.add(session)
        self._take_back(session, whole=True)
        return None

    def _opened(self, waiter: Waiter | None, task: asyncio.Task[DatabaseError | None]) -> None:
        self._opening.discard(task)
        error = None if task.cancelled() else task.result()
        if waiter is not None:
            waiter.attempted = False  # it may have gone to somebody who waited longer
        if error is not None and (waiter is None or not waiter.fail(error)):
            self._observer.failure(self.role, error)  # nobody waits for it any more who would
        self._look()
        self._changed.set()

    def _drop(self, session: Session) -> None:
        """Close a session at once, and make room for another."""
        session.drop()
        self._forget(session)

    def _forget(self, session: object) -> None:
        """Note that a session is closed: by us, by the server, or on the way."""
        assert isinstance(session, Session)  # noqa: S101 - asyncpg says so less exactly
        self._sessions.discard(session)
        if session in self._idle:
            self._idle.remove(session)
        self._look()
        self._changed.set()


class Loan:
    """One session on loan, for one block."""

    __slots__ = ("_deadline", "_link", "_pool")

    def __init__(self, pool: Pool, deadline: Deadline) -> None:
        self._pool = pool
        self._deadline = deadline

    async def __aenter__(self) -> Link:
        # So nobody waits while a session is idle: see `_look`.
        self._link = self._pool.take(self._deadline) or await self._pool.wait(self._deadline)
        return self._link

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._pool.give_back(self._link, error)


def _exhausted(bound: float) -> PoolExhausted:
    message = f"No connection was free, or could be opened, within {bound:.1f} s"
    return PoolExhausted(message, kind="exhausted")


def _stopping() -> Unavailable:
    return Unavailable("The service is stopping.", kind="stopping")
