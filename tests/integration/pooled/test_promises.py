"""What a session of PostgreSQL that is not one client's could break, and does not."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import asyncpg
import pytest

from ops.embedded.pair import APP, READ
from service.database import (
    ConsistencyToken,
    Database,
    DatabaseOptions,
    EndpointOptions,
    IdempotencyKey,
    PlainJson,
    WriteConnection,
)
from service.errors import ConnectionLost, TransactionAborted
from tests.integration.support import superuser, through

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ops.embedded import EmbeddedStack
    from ops.embedded.postgres import Node

INSERT = "INSERT INTO users (email, name) VALUES ($1 || '@example.com', $1) RETURNING id"
COUNT = "SELECT count(*) FROM users WHERE name = $1"
NUMBER = PlainJson(int)
STATES = """
    SELECT DISTINCT state FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.fixture
async def heart(stack: EmbeddedStack, database: str) -> AsyncIterator[Database]:
    """Open a database whose both endpoints are poolers; nobody looks after its pools."""
    options = DatabaseOptions(
        write=EndpointOptions(host="127.0.0.1", port=stack.primary.serving_port, pool_min=0),
        read=EndpointOptions(
            host="127.0.0.1", port=stack.standby.serving_port, pool_min=0, user=READ
        ),
        name=database,
        user=APP,
        probe_interval=600.0,
    )
    async with Database(options) as opened:
        yield opened


async def add(database: Database, name: str) -> ConsistencyToken:
    """Add a user; return what a read needs to see it."""

    async def insert(connection: WriteConnection) -> int:
        return int(await connection.fetchval(INSERT, name))

    return (await database.write_once(IdempotencyKey.made(), NUMBER, insert)).token


# ---------------------------------------------------------------- one node, and its past
class Past:
    """A node's data as they were, to which it returns: it has lost what came since."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._kept = node.data.with_name(f"{node.name}-past")

    def keep(self) -> None:
        """Copy what is there now."""
        self._node.stop("fast")
        shutil.copytree(self._node.data, self._kept, symlinks=True)
        self._own()
        self._node.start()

    def come_back(self) -> None:
        """Start on that again, with nobody to learn from what it has missed. Its pooler goes on."""
        self._node.process.kill()
        shutil.rmtree(self._node.data)
        self._kept.rename(self._node.data)
        configuration = self._node.data / "postgresql.auto.conf"
        configuration.write_text("")
        self._node.start()

    def _own(self) -> None:
        for path in (self._kept, *self._kept.rglob("*")):
            self._node._account.own(path)


async def test_a_token_holds_though_its_reader_begins_anew(
    disturbed_stack: EmbeddedStack, heart: Database
) -> None:
    """A pooler keeps a client while PostgreSQL restarts: the read is not made in another past.

    The reader has said that it has the token's state; before the read it comes back without it.
    """
    stack = disturbed_stack
    past = Past(stack.standby)
    await asyncio.to_thread(past.keep)
    stack.primary.wait_streaming(stack.standby)
    token = await add(heart, "later")
    stack.wait_replayed()
    reading = heart.read(after=token)
    connection = await reading.__aenter__()
    await asyncio.to_thread(past.come_back)
    try:
        found = await connection.fetchval(COUNT, "later")
    except ConnectionLost as error:
        await reading.__aexit__(type(error), error, None)
    else:
        await reading.__aexit__(None, None, None)
        assert found == 1


async def test_a_read_with_a_token_leaves_nothing_open(
    stack: EmbeddedStack, database: str, heart: Database
) -> None:
    """Its transaction ends with it; another client has the session next."""
    token = await add(heart, "seen")
    stack.wait_replayed()
    for _ in range(3):
        async with heart.read(after=token) as connection:
            assert await connection.fetchval(COUNT, "seen") == 1
    _, reader = heart.pools
    assert reader.size == reader.idle == 1
    assert stack.standby.sql(STATES, database) == "idle"


# ---------------------------------------------------------------- statements
async def test_a_plan_of_an_older_schema_is_forgotten(
    stack: EmbeddedStack, database: str, heart: Database
) -> None:
    """One attempt for each change meets it, though the pooler keeps what it has prepared."""

    async def enter(connection: WriteConnection) -> int:
        row = await connection.fetchrow("INSERT INTO things VALUES (1) RETURNING *")
        return len(row or ())

    async with superuser(stack, database) as admin:
        await admin.execute(f"CREATE TABLE things (a int); GRANT ALL ON things TO {APP}")
        assert (await heart.write_once(IdempotencyKey.made(), NUMBER, enter)).value == 1
        for columns in (2, 3):
            await admin.execute(f"ALTER TABLE things ADD column_{columns} int")
            key = IdempotencyKey.made()
            with pytest.raises(TransactionAborted):
                await heart.write_once(key, NUMBER, enter)
            assert (await heart.write_once(key, NUMBER, enter)).value == columns
            # A session that is new has the pooler's old statements, too.
            for pool in heart.pools:
                pool.expire()
            assert (await heart.write_once(IdempotencyKey.made(), NUMBER, enter)).value == columns


async def test_statements_are_prepared_wherever_a_transaction_runs(
    stack: EmbeddedStack, database: str, heart: Database
) -> None:
    """More transactions at a time than the driver's session has met sessions of PostgreSQL."""

    async def busy(number: int) -> None:
        for turn in range(5):
            await add(heart, f"busy-{number}-{turn}")

    await asyncio.gather(*(busy(number) for number in range(10)))
    assert heart.pools[0].size > 1
    async with superuser(stack, database) as admin:
        assert await admin.fetchval("SELECT count(*) FROM users WHERE name LIKE 'busy-%'") == 50


# ---------------------------------------------------------------- what sessions are told
@pytest.mark.parametrize(
    ("role", "setting", "value"),
    [
        (APP, "statement_timeout", "5s"),
        (APP, "idle_in_transaction_session_timeout", "5s"),
        (APP, "client_connection_check_interval", "1s"),
        (APP, "default_transaction_read_only", "off"),
        (READ, "statement_timeout", "5s"),
        (READ, "default_transaction_read_only", "on"),
    ],
)
async def test_roles_have_what_the_service_says_as_it_logs_in(
    stack: EmbeddedStack, database: str, role: str, setting: str, value: str
) -> None:
    """Through the pooler nobody hears it: it is the role's."""
    connection = await through(stack.write_port, database, role)
    try:
        assert await connection.fetchval("SELECT current_setting($1)", setting) == value
    finally:
        await connection.close()


async def test_a_primary_that_is_held_back_is_not_written_to(
    disturbed_stack: EmbeddedStack, database: str
) -> None:
    """A client that came before it was fenced does not bring its `off` along."""
    stack = disturbed_stack
    connection = await through(stack.write_port, database)
    try:
        await connection.execute("INSERT INTO users (email, name) VALUES ('a@b.example', 'before')")
        stack.primary.sql("ALTER SYSTEM SET default_transaction_read_only = on")
        stack.primary.reload("default_transaction_read_only", "on")
        with pytest.raises(
            (asyncpg.ReadOnlySQLTransactionError, asyncpg.ConnectionDoesNotExistError)
        ):
            await connection.execute(
                "INSERT INTO users (email, name) VALUES ('c@d.example', 'past')"
            )
    finally:
        await connection.close(timeout=5)
    assert stack.primary.sql("SELECT count(*) FROM users WHERE name = 'past'", database) == "0"
