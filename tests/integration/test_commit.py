"""How a transaction ends: what COMMIT gets, what it leaves behind, and a ROLLBACK that fails."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg
import pytest

from service.database import (
    IdempotencyKey,
    PlainJson,
    RetryPolicy,
    WriteConnection,
    Written,
)
from service.database.session import Session
from service.errors import CommitInDoubt, ConnectionLost
from tests.integration.bare_database import warm_database
from tests.integration.fault_proxy import Fault
from tests.integration.service_client import running_service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ops.embedded import EmbeddedStack
    from service.database import Database
    from tests.integration.fault_proxy import FaultProxy

DEADLINE = 2.0  # seconds; it is to pass in the middle of a block
INSERT = "INSERT INTO users (email, name) VALUES ($1 || '@example.com', $1)"
COUNT = "SELECT count(*) FROM users WHERE name = $1"

# Runs in COMMIT itself, as every deferred constraint does, and keeps what it finds there.
AT_COMMIT = """
    CREATE TABLE found (statement_timeout text);
    CREATE FUNCTION look() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS
        'BEGIN INSERT INTO found VALUES (current_setting(''statement_timeout'')); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER look AFTER INSERT ON users
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION look();
"""


@pytest.fixture
async def heart(stack: EmbeddedStack, database: str, proxy: FaultProxy) -> AsyncIterator[Database]:
    """Open a database that has one session to write with, through the fault proxy."""
    async with warm_database(stack, database, proxy.port, 1) as running:
        yield running


async def write(heart: Database, name: str) -> None:
    """Add a user."""
    async with heart.write() as connection:
        await connection.execute(INSERT, name)


# ---------------------------------------------------------------- before COMMIT
async def test_a_block_that_ignores_its_loss_is_not_in_doubt(
    heart: Database, proxy: FaultProxy, admin: asyncpg.Connection
) -> None:
    """No COMMIT can be sent on a session that has ended: nothing was applied, and that is told."""

    async def careless(name: str) -> None:
        async with heart.write() as connection:
            await connection.execute(INSERT, name)
            await proxy.cut()
            with suppress(ConnectionLost):
                await connection.fetchval("SELECT 1")

    with pytest.raises(ConnectionLost):
        await careless("ignored")
    await write(heart, "afterwards")
    assert await admin.fetchval(COUNT, "ignored") == 0


async def test_commit_gets_a_moment_though_the_deadline_has_passed(
    stack: EmbeddedStack, database: str, proxy: FaultProxy, admin: asyncpg.Connection
) -> None:
    """An answer a little late is worth more than a write in doubt."""
    policy = RetryPolicy(deadline=DEADLINE)
    async with (
        warm_database(stack, database, proxy.port, 1, retry=policy) as heart,
        heart.write() as connection,
    ):
        await connection.execute(INSERT, "late")
        await asyncio.sleep(DEADLINE * 1.1)  # until it has passed
    assert await admin.fetchval(COUNT, "late") == 1


async def test_no_statement_timeout_is_armed_in_commit(
    heart: Database, admin: asyncpg.Connection
) -> None:
    """PostgreSQL disarms a statement's timeout just before the COMMIT waits for its standby.

    One that has fired by then, because the process stood still, is noticed in that wait only: the
    wait ends with a warning, and the commit with success, on one node.
    """
    await admin.execute(AT_COMMIT)
    async with heart.write() as connection:
        await connection.execute(INSERT, "bounded")
        bound = await connection.fetchval("SELECT current_setting('statement_timeout')")
    assert bound == "5s"
    assert await admin.fetchval("SELECT statement_timeout FROM found") == "0"


# ---------------------------------------------------------------- after it
async def test_a_position_that_cannot_be_asked_for_leaves_the_commit_in_doubt(
    heart: Database, admin: asyncpg.Connection
) -> None:
    """COMMIT has succeeded by then: that nothing was applied would not be true."""
    await write(heart, "before")  # everything is prepared
    await admin.execute(
        "ALTER FUNCTION position_after_commit(interval, interval) RENAME TO gone; "
        "DROP FUNCTION gone"
    )
    with pytest.raises(CommitInDoubt):
        await write(heart, "committed")
    assert await admin.fetchval(COUNT, "committed") == 1


async def test_what_the_audit_is_told_ends_with_the_transaction(
    stack: EmbeddedStack, database: str, admin: asyncpg.Connection, tmp_path: Path
) -> None:
    """The session's next write, which names nobody, is not put down to the one before."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"ann write {hashlib.sha256(b'secret').hexdigest()}\n")
    before = await admin.fetchval("SELECT count(*) FROM audit_log")
    async with running_service(
        database,
        stack.primary.serving_port,
        stack.standby.serving_port,
        db_write_pool_min=1,
        db_write_pool_max=1,
        access="writes",
        access_tokens_file=tokens,
    ) as service:
        body = {"email": "named@example.com", "name": "named"}
        headers = {"Authorization": "Bearer secret", "X-Request-Id": "r-1"}
        named = await service.client.post("/api/users", json=body, headers=headers)
        assert named.status_code == 201, named.text
        await write(service.app.state.database, "nameless")
        assert service.pool("write")["size"] == 1
    entries = "SELECT client, request_id FROM audit_log ORDER BY id OFFSET $1"
    found = [tuple(row) for row in await admin.fetch(entries, before)]
    assert found == [("ann", "r-1"), (None, None)]


# ---------------------------------------------------------------- ROLLBACK
class OursError(Exception):
    """What a block raises for reasons of its own."""


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.LOSE_ANSWER, Fault.SWALLOW_ANSWER])
async def test_a_rollback_that_fails_hides_nothing(
    heart: Database, proxy: FaultProxy, admin: asyncpg.Connection, fault: Fault
) -> None:
    """The block's own error is what its caller gets; the session is given up."""

    async def refuse(connection: WriteConnection) -> None:
        await connection.execute(INSERT, "refused")
        raise OursError

    async def refused() -> None:
        async with heart.write() as connection:
            await refuse(connection)

    trap = proxy.trap(b"ROLLBACK", fault)
    with pytest.raises(OursError):
        await refused()
    assert trap.count == 1
    await write(heart, "afterwards")
    assert await admin.fetchval(COUNT, "refused") == 0
    assert await admin.fetchval(COUNT, "afterwards") == 1


async def test_a_rollback_that_is_refused_ends_the_session(
    heart: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A known key's transaction is rolled back, and another one begun on the same session.

    Where the server cancels the ROLLBACK that session is of no use: the attempt fails, and the next
    one finds the result.
    """
    key = IdempotencyKey.made()

    async def effect(connection: WriteConnection) -> str:
        await connection.execute(INSERT, "once")
        return "done"

    async def again() -> Written[str]:
        return await heart.write_once(key, PlainJson(str), effect)

    await again()
    execute = Session.execute

    async def refuse(session: Session, sql: str) -> str:
        if sql != "ROLLBACK":
            return await execute(session, sql)
        raise asyncpg.QueryCanceledError("canceling statement due to user request")

    with monkeypatch.context() as patch:
        patch.setattr(Session, "execute", refuse)
        with pytest.raises(ConnectionLost):
            await again()
    assert (await again()).replayed
