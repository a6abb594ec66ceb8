"""What each step of a keyed write is there for: the claim, what is stored, and its recall."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from service.database import Database, IdempotencyKey, PlainJson, WriteConnection
from service.errors import TransactionAborted
from tests.integration.scenarios import forget_keys
from tests.integration.service_client import running_service
from tests.integration.support import eventually, superuser, waiting_backend
from tests.integration.twins import (
    KEY,
    Twins,
    assert_replay,
    create,
    new_user,
    problem,
)

if TYPE_CHECKING:
    import asyncpg

    from ops.embedded import EmbeddedStack
    from tests.integration.fault_proxy import FaultProxy

EXPIRE = "UPDATE idempotency_keys SET expires_at = now() - interval '1 second'"
KEY_WAIT = 0.3  # seconds for somebody else's key
HELD = 1.0  # seconds that a key is held for: far longer than that
RETRIES = "holdfast_database_retries_total"


# ---------------------------------------------------------------- what is stored
async def test_an_expired_key_forgets_what_it_was_used_for(pair: Twins) -> None:
    """Used anew it stands for the new request, and for that one only."""
    assert (await create(pair.first, "old", "k")).status_code == 201
    await pair.sql(EXPIRE)
    renewed = await create(pair.first, "new", "k")
    assert renewed.status_code == 201, renewed.text
    assert_replay(renewed, await create(pair.second, "new", "k"))
    refused = await create(pair.second, "old", "k")
    assert (refused.status_code, problem(refused)) == (422, "idempotency-key-reused")
    assert await pair.names() == ["old", "new"]


async def test_what_is_stored_is_not_overwritten(pair: Twins) -> None:
    """Even if a claim had let two writes with one key through, one of them would be undone."""
    await forget_keys(pair)
    await pair.sql("CREATE TABLE ledger (entry text NOT NULL)")
    await pair.sql("GRANT INSERT ON ledger TO holdfast_app")
    key, text = IdempotencyKey.made(), PlainJson(str)
    database = pair.first.app.state.database
    assert isinstance(database, Database)

    async def enter(connection: WriteConnection) -> str:
        await connection.execute("INSERT INTO ledger (entry) VALUES ('once')")
        return "done"

    assert (await database.write_once(key, text, enter)).value == "done"
    with pytest.raises(TransactionAborted) as refused:
        await database.write_once(key, text, enter)
    assert refused.value.kind == "key-taken"
    assert await pair.sql("SELECT count(*) FROM ledger") == 1


# ---------------------------------------------------------------- recalled
async def test_a_recall_that_stopped_waiting_is_local(
    disturbed_stack: EmbeddedStack, database: str, onlooker: asyncpg.Connection
) -> None:
    """What a known key did is committed again: if that wait is cancelled, the answer says so.

    As pg_auto_failover does it with each backend that waits when it gives a standby up.
    """
    stack = disturbed_stack
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port
    ) as service:
        stack.standby.kill()
        request = asyncio.create_task(service.create("recalled"))
        first = await waiting_backend(onlooker, "SyncRep")
        await onlooker.execute("SELECT pg_terminate_backend($1)", first)
        recall = await waiting_backend(onlooker, "SyncRep", besides=first)
        await onlooker.execute("SELECT pg_cancel_backend($1)", recall)
        response = await request
        assert response.status_code == 201, response.text
        assert response.headers.get("Durability") == "local"
        assert await onlooker.fetchval("SELECT count(*) FROM users WHERE name = 'recalled'") == 1


# ---------------------------------------------------------------- claimed by ourselves
@pytest.mark.parametrize("table", ["idempotency_keys", "users"], ids=["claim", "effect"])
async def test_a_key_that_our_own_lost_session_holds_is_waited_for(
    stack: EmbeddedStack,
    database: str,
    proxy: FaultProxy,
    onlooker: asyncpg.Connection,
    table: str,
) -> None:
    """A request whose session was lost in the middle is not told that another one has its key.

    The server has not noticed yet: its process stands still, and with it the transaction. The lock
    on a table only says where: in the claim, which has the key's lock by then, or in the effect.
    """
    patient = {"db_statement_timeout": 15, "idempotency_wait": KEY_WAIT}
    async with (
        running_service(database, proxy.port, stack.standby.serving_port, **patient) as service,
        AsyncExitStack() as frozen,
        superuser(stack, database) as admin,
    ):
        await service.create("before")  # a statement that is to be prepared waits as well
        async with admin.transaction():
            await admin.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            request = asyncio.create_task(
                service.client.post("/api/users", json=new_user("ours"), headers={KEY: "k"})
            )
            backend = await waiting_backend(onlooker, "relation")
            os.kill(backend, signal.SIGSTOP)
            frozen.callback(os.kill, backend, signal.SIGCONT)
            await proxy.cut()
            await eventually(
                "the key to be found in flight",
                lambda: service.metric(RETRIES, kind="key-in-flight") > 0,
            )
            done, _ = await asyncio.wait([request], timeout=HELD)
            assert not done, request.result().text
            await frozen.aclose()
        response = await request
        assert response.status_code == 201, response.text
        assert await onlooker.fetchval("SELECT count(*) FROM users WHERE name = 'ours'") == 1
