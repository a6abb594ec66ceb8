"""What a query gets to see of a connection: `ReadConnection` or `WriteConnection`.

Two types, so that the type checker stops a query that writes from taking a connection that reads.
Beneath both is a `Link`: one session on loan from a pool, which bounds every exchange, translates
every failure in one place, and knows whether COMMIT has been sent.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import asyncpg

from service.database import failures, statements
from service.database.deadline import Deadline
from service.database.failures import KeyKnown, Phase, cancelled_from_outside
from service.database.observer import Role
from service.database.session import CLIENT_MARGIN, Session
from service.errors import (
    CommitInDoubt,
    ConnectionLost,
    DatabaseError,
    DatabaseFailure,
    NotWritable,
)

Row: TypeAlias = asyncpg.Record
T = TypeVar("T")

# Seconds that COMMIT gets though the deadline has passed: an answer a little late is worth more
# than a write in doubt.
COMMIT_GRACE = 1.0
# Seconds for ROLLBACK; a session that does not answer in time is closed, which rolls back as well.
ROLLBACK_TIMEOUT = 1.0

# What COMMIT is followed by, POSITION, needs what alembic/versions/0009 makes: a database without
# it says so here, before anything was done.
BEGIN = "BEGIN; SELECT 'commit_is_replicated(pg_lsn, interval)'::regprocedure"
# One message, one round trip. All of it is bytes in hexadecimal: nothing to escape. What is set
# ends with the transaction; the audit's trigger reads it (alembic/versions/0006).
CLAIM = (
    f"{BEGIN}, idempotency_claim('\\x{{digest}}'), "
    "set_config('holdfast.client', convert_from('\\x{client}', 'UTF8'), true), "
    "set_config('holdfast.request_id', convert_from('\\x{request_id}', 'UTF8'), true)"
)
# The server disarms the timeout before it waits for its standby. One that fired just before is
# noticed only in that wait, and ends it: the commit is then on the primary alone. So COMMIT arms
# none; the client's own bound ends the session instead.
COMMIT = "SET LOCAL statement_timeout = 0; COMMIT"
# What was flushed survives a crash of the primary; what was only inserted may not. `local` means
# that a standby may lack it. A session reads a new synchronous_standby_names at once, but COMMIT
# waits only when the checkpointer has read it, too, and an immediate checkpoint keeps it from that.
# So for 300 s, PostgreSQL's checkpoint_timeout, a standby has to have the position; it is given
# 100 ms, as the position counts what others have written since (docs/decisions/0030).
POSITION = """
    SELECT pg_walfile_name(here) AS segment, (here - '0/0'::pg_lsn)::bigint AS lsn,
           (SELECT id FROM database_history) AS history,
           CASE WHEN current_setting('synchronous_standby_names') = ''
                  OR current_setting('synchronous_commit') IN ('local', 'off') THEN true
                WHEN now() > pg_conf_load_time() + interval '300 s' THEN false
                ELSE NOT commit_is_replicated(here, interval '100 ms') END AS local
      FROM pg_current_wal_flush_lsn() AS here
"""
_TIMELINE_DIGITS = 8  # hexadecimal, at the start of a segment's name
NO_TIMELINE = 0  # a standby's: it has replayed the position on whichever
_FINGERPRINT = 4  # bytes of a history's id, which is random


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the history of a database: a timeline, and a position in its WAL in bytes."""

    timeline: int
    lsn: int
    history: int = 0  # the first bytes of its id; 0 is the one from before they had ids


@dataclass(frozen=True, slots=True)
class Commit:
    """What is known of a COMMIT that was answered."""

    local: bool  # a standby may lack it: the server waited for none, or stopped waiting
    position: Position  # read after it


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a write comes from, for the audit. Empty: nobody said."""

    client: str = ""
    request_id: str = ""


NOBODY = Origin()


class Link:
    """One session on loan, for one unit of work."""

    def __init__(
        self, session: Session, deadline: Deadline, statement_timeout: float, role: Role
    ) -> None:
        self._session = session
        self._exchanges = 0  # under way: more than one only by a caller's mistake
        self._ended = False
        self._reads_only = role is Role.READ
        self._deadline = deadline
        self._statement_timeout = statement_timeout * CLIENT_MARGIN

    def end(self) -> bool:
        """End the loan: nothing gets through any more. Say whether nothing was left half-done."""
        self._ended = True
        return self._exchanges == 0

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        """Run one statement. Raises DatabaseError."""
        return await self._work(self._session.fetch, sql, *args)

    async def fetchrow(self, sql: str, *args: object) -> Row | None:
        """Run one statement and return its first row."""
        return await self._work(self._session.fetchrow, sql, *args)

    async def fetchval(self, sql: str, *args: object) -> Any:  # noqa: ANN401 - SQL decides
        """Run one statement and return the first column of its first row."""
        return await self._work(self._session.fetchval, sql, *args)

    async def begin(self, *, wait_for_standby: bool = True) -> None:
        """Start a transaction that may write.

        No READ WRITE here: it would override the default of a fenced node (see session.py).
        """
        begin = BEGIN if wait_for_standby else "BEGIN; SET LOCAL synchronous_commit = local"
        await self._work(self._session.execute, begin)

    async def claim(self, digest: bytes, origin: Origin) -> bool:
        """Start a transaction that holds an idempotency key; False, and none, if it is known.

        Raises KeyInFlight when another transaction holds it.
        """
        claim = CLAIM.format(
            digest=digest.hex(),
            client=origin.client.encode().hex(),
            request_id=origin.request_id.encode().hex(),
        )
        try:
            await self._work(self._session.execute, claim)
        except KeyKnown:
            await self.roll_back()
            return False
        return True

    async def begin_read(self) -> None:
        """Start a transaction that only reads."""
        self._reads_only = True
        await self._work(self._session.execute, "BEGIN READ ONLY")

    async def end_read(self) -> None:
        """End a transaction that only read: nothing of it can be in doubt."""
        await self._work(self._session.execute, "COMMIT")

    async def commit(self, *, resolvable: bool = False) -> Commit:
        """Commit, and return how far the primary was afterwards.

        `resolvable`: a lost answer is asked for by other means, so that it is not waited for until
        the deadline. Raises CommitInDoubt when an answer is lost, DatabaseFailure when the server
        rolled back because a statement's failure was swallowed on the way.
        """
        if self._session.is_closed():
            raise ConnectionLost("The connection ended before COMMIT", kind="connection-lost")
        self._session.local = False
        await self._committing(self._session.execute, COMMIT, resolvable=resolvable)
        there = await self._committing(self._session.fetchrow, POSITION, resolvable=resolvable)
        assert there is not None  # noqa: S101 - a SELECT of functions has one row
        local = self._session.local or there["local"]
        return Commit(local=local, position=position_of(there))

    async def roll_back(self) -> None:
        """Roll back, by closing the session if need be. Never raises a DatabaseError."""
        if self._session.is_closed():
            return
        try:
            await self._exchange(Phase.WORK, ROLLBACK_TIMEOUT, self._session.execute, "ROLLBACK")
        except DatabaseError:
            # The failure that led here is the one that matters; ending the session rolls back.
            self._session.drop()

    async def _work(self, call: Callable[..., Awaitable[T]], sql: str, *args: object) -> T:
        budget = min(self._deadline.remaining(), self._statement_timeout)
        return await self._exchange(Phase.WORK, budget, call, sql, *args)

    async def _committing(
        self, call: Callable[..., Awaitable[T]], sql: str, *, resolvable: bool
    ) -> T:
        budget = max(self._deadline.remaining(), COMMIT_GRACE)
        if resolvable:
            budget = min(budget, self._statement_timeout)
        return await self._exchange(Phase.COMMIT, budget, call, sql)

    async def _exchange(
        self, phase: Phase, budget: float, call: Callable[..., Awaitable[T]], *args: object
    ) -> T:
        """Await one exchange with the server for `budget` seconds at most.

        The bound closes the session instead of cancelling the query: a cancel request that meets
        a COMMIT waiting for its standby would turn it into a commit on the primary alone.
        """
        if self._ended:
            raise RuntimeError("The block that this connection was lent to has ended")
        session, expired = self._session, False

        def expire() -> None:
            nonlocal expired
            expired = True
            session.drop()

        self._exchanges += 1
        timer = asyncio.get_running_loop().call_later(max(budget, 0), expire)
        try:
            return await call(*args)
        except asyncio.CancelledError as error:
            session.drop()  # half an exchange: nobody may use this session again
            if cancelled_from_outside():
                raise
            raise self._meaning(error, phase) from error
        except Exception as error:  # the driver raises more than it says
            cause = self._timed_out(budget) if expired else error
            raise self._meaning(cause, phase) from error
        finally:
            timer.cancel()
            self._exchanges -= 1

    def _meaning(self, error: BaseException, phase: Phase) -> DatabaseError:
        """Say what an error means; close the session unless it is known to be good."""
        failure = failures.translate(error, phase, closed=self._session.is_closed())
        answered = isinstance(error, asyncpg.PostgresError)
        if isinstance(failure, ConnectionLost | CommitInDoubt) and not answered:
            self._session.drop()
        if self._reads_only and isinstance(failure, NotWritable):
            # No other node would make a difference: the statement should not have come here.
            return DatabaseFailure("A read connection was given a write", kind="permanent")
        return failure

    def _timed_out(self, budget: float) -> TimeoutError:
        passed = self._deadline.remaining() <= 0
        return (failures.DeadlinePassed if passed else TimeoutError)(f"no answer in {budget:.1f} s")


@asynccontextmanager
async def rolled_back_on_error(link: Link) -> AsyncIterator[None]:
    """Roll back when the block fails, cancellation included: nothing half-done may stay open."""
    try:
        yield
    except GeneratorExit:
        raise  # nothing may be awaited now: the session is closed as it is taken back
    except BaseException:
        await link.roll_back()
        raise


def position_of(row: Row) -> Position:
    """Return the position in a row of `segment` (none: a standby), `lsn` and the `history`'s id."""
    segment, history = row["segment"], row["history"]
    return Position(
        int(segment[:_TIMELINE_DIGITS], 16) if segment else NO_TIMELINE,
        row["lsn"],
        int.from_bytes(history.bytes[:_FINGERPRINT]) if history else 0,
    )


class _Connection:
    """The statements that both kinds of connection run."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        """Return all rows of one data statement. Raises DatabaseError."""
        return await self._link.fetch(statements.check(sql), *args)

    async def fetchrow(self, sql: str, *args: object) -> Row | None:
        """Return the first row of one data statement, or None. Raises DatabaseError."""
        return await self._link.fetchrow(statements.check(sql), *args)

    async def fetchval(self, sql: str, *args: object) -> Any:  # noqa: ANN401 - SQL decides
        """Return the first column of the first row, or None. Raises DatabaseError."""
        return await self._link.fetchval(statements.check(sql), *args)


class ReadConnection(_Connection):
    """A connection that cannot write, wherever it leads; each statement has its own snapshot."""


class WriteConnection(_Connection):
    """A connection inside the transaction of one unit of work, on the primary."""

    async def execute(self, sql: str, *args: object) -> None:
        """Run one data statement whose rows do not matter. Raises DatabaseError."""
        await self._link.fetch(statements.check(sql), *args)
