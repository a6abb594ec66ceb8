"""What an Observer hears of COMMIT: whether a cancelled unit of work may have left something."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from ops.embedded.pair import APP, OWNER
from service.database import (
    Database,
    DatabaseOptions,
    EndpointOptions,
    IdempotencyKey,
    Observer,
    PlainJson,
    WriteConnection,
    is_transient,
    retry_on_failover,
)
from service.errors import CommitInDoubt, ConstraintViolated
from tests.integration.fault_proxy import Fault, FaultProxy
from tests.integration.support import superuser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ops.embedded import EmbeddedStack

# A violation that COMMIT finds.
TABLE = "CREATE TABLE marks (mark int UNIQUE DEFERRABLE INITIALLY DEFERRED)"
MARK = "INSERT INTO marks VALUES ($1) RETURNING mark"
BOUND = 15.0  # seconds for what takes none


class Listener(Observer):
    """Keeps what is told of COMMIT, in order."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def commit_sent(self) -> None:
        """Keep it."""
        self.heard.append("sent")

    def not_applied(self) -> None:
        """Keep it."""
        self.heard.append("not applied")


class Marks:
    """Writes marks, with a key and without."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @retry_on_failover(on=is_transient)
    async def once(self, mark: int) -> bool:
        """Write a mark with the key of its number; return whether another call had done it."""

        async def insert(connection: WriteConnection) -> int:
            return int(await connection.fetchval(MARK, mark))

        key = IdempotencyKey.of(str(mark), scope="", request=b"")
        return (await self.database.write_once(key, PlainJson(int), insert)).replayed

    async def plainly(self, mark: int) -> None:
        """Write a mark without a key."""
        async with self.database.write() as connection:
            await connection.execute(MARK, mark)


@pytest.fixture
def listener() -> Listener:
    """Listen to the database of `marks`."""
    return Listener()


@pytest.fixture
async def marks(
    stack: EmbeddedStack, database: str, proxy: FaultProxy, listener: Listener
) -> AsyncIterator[Marks]:
    """Marks, one of which is there: 0."""
    async with superuser(stack, database) as admin:
        await admin.execute(f"SET ROLE {OWNER}")
        await admin.execute(f"{TABLE}; GRANT SELECT, INSERT ON marks TO {APP}")
        await admin.execute("INSERT INTO marks VALUES (0)")
    where = EndpointOptions(host="127.0.0.1", port=proxy.port)
    options = DatabaseOptions(write=where, read=where, name=database, user=APP)
    async with Database(options, listener) as opened:
        yield Marks(opened)


async def test_a_commit_that_is_answered_stays(marks: Marks, listener: Listener) -> None:
    """Also one that was answered: whoever is cancelled after it leaves its effect behind."""
    assert not await marks.once(1)
    await marks.plainly(2)
    assert listener.heard == ["sent", "sent"]


async def test_a_replay_is_a_commit(marks: Marks, listener: Listener) -> None:
    """Its result is not passed on before the COMMIT that waits for the standby."""
    await marks.once(1)
    assert await marks.once(1)
    assert listener.heard == ["sent", "sent"]


async def test_a_commit_that_is_refused_is_taken_back(marks: Marks, listener: Listener) -> None:
    """An ERROR in answer to COMMIT says that the server rolled back."""
    with pytest.raises(ConstraintViolated):
        await marks.once(0)
    with pytest.raises(ConstraintViolated):
        await marks.plainly(0)
    assert listener.heard == ["sent", "not applied"] * 2


async def test_what_fails_before_commit_says_nothing(marks: Marks, listener: Listener) -> None:
    """There was no COMMIT to be in doubt of."""
    with pytest.raises(ValueError, match="pooled connection"):
        async with marks.database.write() as connection:
            await connection.execute("COMMIT")
    assert listener.heard == []


async def test_a_commit_in_doubt_is_taken_back_when_the_key_tells(
    marks: Marks, listener: Listener, proxy: FaultProxy
) -> None:
    """It never arrived: the key is unknown, and the effect is made again."""
    proxy.trap(b"COMMIT", Fault.CUT_BEFORE)
    assert not await marks.once(1)
    assert listener.heard == ["sent", "not applied", "sent"]


async def test_a_commit_in_doubt_that_was_applied_is_not(
    marks: Marks, listener: Listener, proxy: FaultProxy
) -> None:
    """It arrived, and its answer was lost; without a key nobody can tell."""
    proxy.trap(b"COMMIT", Fault.LOSE_ANSWER)
    assert not await marks.once(1)
    assert listener.heard == ["sent", "sent"]
    proxy.trap(b"COMMIT", Fault.LOSE_ANSWER)
    with pytest.raises(CommitInDoubt):
        await marks.plainly(2)
    assert listener.heard == ["sent", "sent", "sent"]


async def test_a_cancelled_commit_stays_and_the_cancellation_too(
    marks: Marks, listener: Listener, proxy: FaultProxy
) -> None:
    """For a user of the library a cancellation is one: it is theirs to answer."""
    trap = proxy.trap(b"COMMIT", Fault.HOLD)
    task = asyncio.create_task(marks.once(1))
    async with asyncio.timeout(BOUND):
        await trap.sprung.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    trap.release()
    assert listener.heard == ["sent"]
