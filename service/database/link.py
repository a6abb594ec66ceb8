"""A session on loan from a pool, and the transaction on it.

A `Link` bounds every exchange, translates every failure in one place, and knows whether COMMIT has
been sent. What begins and ends a keyed write goes ahead of the statement that follows: see
`messages` and `transport`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias, TypeVar

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from service.database import failures, messages
from service.database.bounds import Bounds
from service.database.commit import (
    BEGIN,
    BEGIN_AHEAD,
    BEGIN_READ,
    BEGIN_READ_AHEAD,
    CLAIM,
    COMMIT_AHEAD,
    ENDINGS,
    POSITION,
    RECORD,
    UNREPLICATED,
    UNREPLICATED_AHEAD,
    UNTIMED_AHEAD,
    Commit,
    Origin,
    Record,
    commit_of,
)
from service.database.deadline import Deadline
from service.database.failures import STALE_PLAN, KeyKnown, Phase, cancelled_from_outside
from service.database.observer import Role
from service.database.session import CLIENT_MARGIN, Session
from service.errors import (
    CommitInDoubt,
    ConnectionLost,
    DatabaseError,
    DatabaseFailure,
    KeyInFlight,
    NotWritable,
)

Row: TypeAlias = asyncpg.Record
T = TypeVar("T")
Answer: TypeAlias = Coroutine[Any, Any, T]

# Seconds that COMMIT gets though the deadline has passed: an answer a little late is worth more
# than a write in doubt.
COMMIT_GRACE = 1.0
# Seconds for ROLLBACK; a session that does not answer in time is closed, which rolls back as well.
ROLLBACK_TIMEOUT = 1.0


class Link:
    """One session on loan, for one unit of work."""

    __slots__ = (
        "_ahead",
        "_begin",
        "_bounds",
        "_claim",
        "_claiming",
        "_deadline",
        "_ended",
        "_exchanges",
        "_expired",
        "_reads_only",
        "_statement_timeout",
        "refusal",
        "session",
    )

    def __init__(
        self,
        session: Session,
        deadline: Deadline,
        statement_timeout: float,
        role: Role,
        bounds: Bounds,
    ) -> None:
        self.session = session
        self._bounds = bounds
        self._begin = BEGIN_AHEAD
        self._ahead = b""  # what is to go ahead of the next statement
        self._claim: tuple[bytes, str, str] = b"", "", ""  # that is in it: its arguments
        self._claiming: PreparedStatement | None = None  # kept: forgotten, the server closes it
        self.refusal: KeyKnown | KeyInFlight | None = None  # what became of it
        self._expired = False  # the bound of the last exchange fired
        self._exchanges = 0  # under way: more than one only by a caller's mistake
        self._ended = False
        self._reads_only = role is Role.READ
        self._deadline = deadline
        self._statement_timeout = statement_timeout * CLIENT_MARGIN

    def end(self) -> bool:
        """End the loan: nothing gets through any more. Say whether nothing was left half-done."""
        self._ended = True
        return self._exchanges == 0

    @property
    def lost(self) -> bool:
        """Whether nobody can be asked any more."""
        return self.session.is_closed()

    @property
    def pinned(self) -> bool:
        """Whether a transaction keeps one session of the server behind a pooler."""
        session = self.session
        return session.pooled and not session.is_closed() and not session.is_idle()

    # No coroutines of their own, here and below: each costs every statement something.
    def fetch(self, sql: str, *args: object) -> Answer[list[Row]]:
        """Run one statement. Raises DatabaseError."""
        return self._run(PreparedStatement.fetch, sql, args)

    def fetchrow(self, sql: str, *args: object) -> Answer[Row | None]:
        """Run one statement and return its first row."""
        return self._run(PreparedStatement.fetchrow, sql, args)

    def fetchval(self, sql: str, *args: object) -> Answer[Any]:
        """Run one statement and return the first column of its first row."""
        return self._run(PreparedStatement.fetchval, sql, args)

    async def begin(self, *, wait_for_standby: bool = True) -> None:
        """Start a transaction that may write.

        No READ WRITE here: it would override the default of a fenced node (see session.py).
        """
        await self._prepared(POSITION)
        self._begin = BEGIN_AHEAD if wait_for_standby else UNREPLICATED_AHEAD
        await self._command(BEGIN if wait_for_standby else UNREPLICATED)

    async def claim(self, digest: bytes, origin: Origin, *, wait_for_standby: bool = True) -> None:
        """Start a transaction that holds an idempotency key, together with its first statement.

        That one raises KeyKnown when the key has a result, and KeyInFlight when another transaction
        holds it; `refusal` is what it raised, whatever the caller's caller made of it.
        """
        claim = self.session.statements.get(CLAIM)
        if claim is None:
            for ending in ENDINGS:
                await self._prepared(ending)
            claim = await self._prepared(CLAIM)
        self._claiming = claim
        self._claim = digest, origin.client, origin.request_id
        texts = origin.client.encode(), origin.request_id.encode()
        self._begin = BEGIN_AHEAD if wait_for_standby else UNREPLICATED_AHEAD
        self._ahead = self._begin + messages.run(claim.get_name(), digest, *texts)

    async def claimed(self) -> None:
        """Make sure that the key is held. Raises KeyKnown or KeyInFlight."""
        if self.refusal is not None:
            raise self.refusal
        if self._ahead:
            self._ahead = self._begin
            await self.fetch(CLAIM, *self._claim)

    async def begin_read(self) -> None:
        """Start a transaction that only reads."""
        self._reads_only = True
        await self._command(BEGIN_READ)

    def begin_read_ahead(self) -> None:
        """Start a transaction that only reads, together with its first statement."""
        self._reads_only = True
        self._ahead = BEGIN_READ_AHEAD

    async def end_read(self) -> None:
        """End a transaction that only read: nothing of it can be in doubt."""
        await self._command("COMMIT")

    async def commit(self, record: Record | None = None, *, resolvable: bool = False) -> Commit:
        """Store `record`, commit, and return how far the primary was afterwards, in one message.

        `resolvable`: a lost answer is asked for by other means, so that it is not waited for until
        the deadline. Raises CommitInDoubt when an answer is lost, TransactionAborted when the key
        was stored by another request, DatabaseFailure when the server rolled back because a
        statement's failure was swallowed on the way.
        """
        session = self.session
        if session.is_closed():
            raise ConnectionLost("The connection ended before COMMIT", kind="connection-lost")
        if session.is_idle():
            raise DatabaseFailure("There is no transaction to commit", kind="permanent")
        ahead = COMMIT_AHEAD
        if record is None:
            ahead = UNTIMED_AHEAD + ahead
        else:
            stored = await self._prepared(RECORD)
            ahead = messages.run(stored.get_name(), *record.arguments()) + ahead
        position = await self._prepared(POSITION)
        budget = max(self._deadline.remaining(), COMMIT_GRACE)
        if resolvable:
            budget = min(budget, self._statement_timeout)
        session.local = False
        try:
            said = await self._exchange(Phase.COMMIT, budget, ahead, position.fetchval)
        except DatabaseError as error:
            self._ahead = b""
            if not session.is_idle():
                await self.roll_back()
            elif failures.is_of_names(error):  # not COMMIT's: the position could not be asked for
                raise CommitInDoubt(f"No position: {error}", kind="no-position") from error
            raise
        if not said:
            raise CommitInDoubt("The server told no position", kind="no-position")
        asked = self._begin is UNREPLICATED_AHEAD
        return commit_of(said, local=session.local, asked=asked)

    async def roll_back(self) -> None:
        """Roll back, by closing the session if need be. Never raises a DatabaseError."""
        if self.session.is_closed():
            return
        if self._ahead:  # nothing has begun
            self._ahead = b""
            return
        try:
            await self._exchange(
                Phase.WORK, ROLLBACK_TIMEOUT, b"", self.session.execute, "ROLLBACK"
            )
        except DatabaseError:
            # The failure that led here is the one that matters; ending the session rolls back.
            self.session.drop()

    async def _command(self, sql: str) -> None:
        """Run statements without parameters, whose rows do not matter."""
        await self._exchange(Phase.WORK, self._budget(), b"", self.session.execute, sql)

    async def _prepared(self, sql: str) -> PreparedStatement:
        statement = self.session.statements.get(sql)
        if statement is None:
            prepare = self.session.prepared
            statement = await self._exchange(Phase.WORK, self._budget(), b"", prepare, sql)
        return statement

    async def _first(
        self, run: Callable[..., Awaitable[T]], sql: str, args: tuple[object, ...]
    ) -> T:
        statement = await self._prepared(sql)
        return await self._exchange(Phase.WORK, self._budget(), None, run, statement, *args)

    def _run(
        self, run: Callable[..., Awaitable[T]], sql: str, args: tuple[object, ...]
    ) -> Answer[T]:
        statement = self.session.statements.get(sql)
        if statement is None:
            return self._first(run, sql, args)
        return self._exchange(Phase.WORK, self._budget(), None, run, statement, *args)

    def _budget(self) -> float:
        return min(self._deadline.remaining(), self._statement_timeout)

    async def _exchange(
        self,
        phase: Phase,
        budget: float,
        ahead: bytes | None,
        call: Callable[..., Awaitable[T]],
        *args: object,
    ) -> T:
        """Await one exchange with the server for `budget` seconds at most.

        What goes `ahead` needs a call that runs a prepared statement. None: what is due, taken when
        this runs; a caller may make one statement first, and run another.
        The bound closes the session instead of cancelling the query: a cancel request that meets
        a COMMIT waiting for its standby would turn it into a commit on the primary alone.
        """
        if self._ended:
            raise RuntimeError("The block that this connection was lent to has ended")
        self._exchanges += 1
        self._expired = False
        bound = self._bounds.begin(budget, self._expire)
        session = self.session
        if ahead is None:
            ahead, self._ahead = self._ahead, b""
        session.transport.ahead = ahead
        try:
            return await call(*args)
        except asyncio.CancelledError as error:
            self.session.drop()  # half an exchange: nobody may use this session again
            if cancelled_from_outside():
                raise
            raise self._meaning(error, phase) from error
        except Exception as error:  # the driver raises more than it says
            cause = self._timed_out(budget) if self._expired else error
            raise self._meaning(cause, phase) from error
        finally:
            self._bounds.end(bound)
            self._exchanges -= 1
            if session.transport.ahead:  # the driver refused to send anything
                self._ahead, session.transport.ahead = session.transport.ahead, b""

    def _expire(self) -> None:
        self._expired = True
        self.session.drop()

    def _meaning(self, error: BaseException, phase: Phase) -> DatabaseError:
        """Say what an error means; close the session unless it is known to be good."""
        failure = failures.translate(error, phase, closed=self.session.is_closed())
        answered = isinstance(error, asyncpg.PostgresError)
        if isinstance(failure, ConnectionLost | CommitInDoubt) and not answered:
            self.session.drop()
        if failure.kind == STALE_PLAN:
            self.session.stale()
        if isinstance(failure, KeyKnown | KeyInFlight):
            self.refusal = failure
        if self._reads_only and isinstance(failure, NotWritable):
            # No other node would make a difference: the statement should not have come here.
            return DatabaseFailure("A read connection was given a write", kind="permanent")
        return failure

    def _timed_out(self, budget: float) -> TimeoutError:
        passed = self._deadline.remaining() <= 0
        return (failures.DeadlinePassed if passed else TimeoutError)(f"no answer in {budget:.1f} s")


class rolled_back_on_error:  # noqa: N801 - used as a function
    """Roll back when the block fails, cancellation included: nothing half-done may stay open."""

    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        # Nothing may be awaited in a generator's end: the session is closed as it is taken back.
        if error is not None and not isinstance(error, GeneratorExit):
            await self._link.roll_back()
