"""What goes ahead of a statement: that the driver takes it, that it is one packet, and one fate."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg
import pytest

from ops.embedded.pair import APP
from service.database import Database, IdempotencyKey, PlainJson, WriteConnection, messages
from service.database.failures import STALE_PLAN
from service.database.observer import Role
from service.database.options import DatabaseOptions, EndpointOptions
from service.database.session import STATEMENTS_MOST, Session, connect
from service.errors import DatabaseError, KeyInFlight, TransactionAborted
from tests.integration.bare_database import warm_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ops.embedded import EmbeddedStack
    from tests.integration.fault_proxy import FaultProxy

INSERT = "INSERT INTO users (email, name) VALUES ($1 || '@example.com', $1) RETURNING id"
COUNT = "SELECT count(*) FROM users WHERE name = $1"
NUMBER = PlainJson(int)
BEGIN, COMMIT = messages.once("BEGIN"), messages.once("COMMIT")


@pytest.fixture
async def session(stack: EmbeddedStack, database: str) -> AsyncIterator[Session]:
    """Open a session on the primary, as a pool does."""
    port = stack.primary.serving_port
    endpoint = EndpointOptions(host="127.0.0.1", port=port)
    options = DatabaseOptions(write=endpoint, read=endpoint, name=database, user=APP)
    opened = await connect(endpoint, options, Role.WRITE, lambda _: None)
    yield opened
    opened.drop()


@pytest.fixture
async def heart(stack: EmbeddedStack, database: str, proxy: FaultProxy) -> AsyncIterator[Database]:
    """Open a database that has one session to write with, through the fault proxy."""
    async with warm_database(stack, database, proxy.port, 1) as running:
        yield running


async def add(connection: WriteConnection, name: str) -> int:
    """Add a user, and return his id."""
    number: int = await connection.fetchval(INSERT, name)
    return number


def adding(name: str) -> Callable[[WriteConnection], Awaitable[int]]:
    """Return the effect that adds a user."""
    return lambda connection: add(connection, name)


# ---------------------------------------------------------------- the driver
async def test_answers_to_what_goes_ahead_are_passed_over(session: Session) -> None:
    """The statement's rows are its own, and the transaction is where it was led to."""
    numbers = await session.prepared("SELECT generate_series(1, $1)")
    void = await session.prepared("SELECT WHERE set_config($1, $2, true) IS NULL")
    setting = await session.prepared("SELECT current_setting('holdfast.x', true)")
    session.transport.ahead = BEGIN + messages.run(void.get_name(), b"holdfast.x", b"ahead")
    assert [row[0] for row in await numbers.fetch(3)] == [1, 2, 3]
    assert session.is_in_transaction()
    assert await setting.fetchval() == "ahead"
    session.transport.ahead = COMMIT
    assert [row[0] for row in await numbers.fetch(2)] == [1, 2]
    assert session.is_idle()
    assert await setting.fetchval() == ""


async def test_an_error_of_what_goes_ahead_is_the_statements(session: Session) -> None:
    """Nothing behind it runs, COMMIT no more than the statement."""
    insert = await session.prepared(INSERT)
    failing = await session.prepared("SELECT WHERE 1 / length($1) IS NULL")
    await session.execute("BEGIN")
    await insert.fetchval("rolled-back")
    session.transport.ahead = messages.run(failing.get_name(), b"") + COMMIT
    with pytest.raises(asyncpg.DivisionByZeroError):
        await insert.fetchval("never")
    assert session.is_in_transaction()
    await session.execute("ROLLBACK")
    assert (
        await session.fetchval("SELECT count(*) FROM users WHERE name IN ('rolled-back', 'never')")
        == 0
    )


async def test_what_the_driver_refuses_sends_nothing(session: Session) -> None:
    """What was to go ahead still is."""
    number = await session.prepared("SELECT $1::int")
    session.transport.ahead = BEGIN
    with pytest.raises(asyncpg.DataError):
        await number.fetchval("three")
    assert session.transport.ahead == BEGIN
    assert await number.fetchval(3) == 3
    assert session.is_in_transaction()


class Noted:
    """The transport beneath a session's own, whose writes are kept."""

    def __init__(self, session: Session) -> None:
        self.writes: list[bytes] = []
        self._beneath = session.transport._transport
        session.transport._transport = self

    def write(self, data: bytes) -> None:
        """Keep it, and pass it on."""
        self.writes.append(bytes(data))
        self._beneath.write(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._beneath, name)


async def test_all_of_it_is_one_write(session: Session) -> None:
    """Two would be two packets, each of which wakes the proxy and the server."""
    one = await session.prepared("SELECT 1")
    noted = Noted(session)
    session.transport.ahead = BEGIN
    assert await one.fetchval() == 1
    (packet,) = noted.writes
    assert packet.startswith(BEGIN + b"B")
    assert packet.endswith(b"S\0\0\0\4")


# ---------------------------------------------------------------- one fate
async def test_a_write_is_two_messages(heart: Database) -> None:
    """BEGIN comes with the effect, and COMMIT with what is stored."""
    await heart.write_once(IdempotencyKey.made(), NUMBER, adding("warm"))
    (session,) = heart.pools[0]._idle
    noted = Noted(session)
    await heart.write_once(IdempotencyKey.made(), NUMBER, adding("two-messages"))
    effect, commit = noted.writes
    assert effect.startswith(BEGIN)
    assert b"two-messages" in effect
    assert COMMIT in commit


async def test_a_statement_that_is_new_is_in_the_transaction(
    heart: Database, admin: asyncpg.Connection
) -> None:
    """Preparing it, on a session's first write of all, does not lose what goes ahead of it."""

    async def fail(connection: WriteConnection) -> int:
        await add(connection, "undone")
        raise LookupError

    for _ in range(2):  # the second time it is prepared
        with pytest.raises(LookupError):
            await heart.write_once(IdempotencyKey.made(), NUMBER, fail)
    assert await admin.fetchval(COUNT, "undone") == 0


async def test_arguments_that_the_driver_refuses_leave_the_transaction_to_come(
    heart: Database, admin: asyncpg.Connection
) -> None:
    """An effect that goes on is in it as well; one that does not has held no key."""
    key = IdempotencyKey.made()

    async def stumble(connection: WriteConnection) -> int:
        with suppress(DatabaseError):
            await connection.fetchval("SELECT $1::int", "three")
        await add(connection, "stumbled")
        raise LookupError

    async def give_up(connection: WriteConnection) -> int:
        return int(await connection.fetchval("SELECT $1::int", "three"))

    for _ in range(2):
        with pytest.raises(LookupError):
            await heart.write_once(key, NUMBER, stumble)
        with pytest.raises(DatabaseError):
            await heart.write_once(key, NUMBER, give_up)
    assert await admin.fetchval(COUNT, "stumbled") == 0
    assert not (await heart.write_once(key, NUMBER, adding("stumbled"))).recalled
    assert heart.pools[0].size == 1


# ---------------------------------------------------------------- what the claim says
async def swallow(connection: WriteConnection) -> int:
    """Hide what the statement raises."""
    with suppress(DatabaseError):
        await add(connection, "again")
    return -1


async def swallow_and_go_on(connection: WriteConnection) -> int:
    """Hide it, and go on."""
    await swallow(connection)
    return await add(connection, "again")


async def translate(connection: WriteConnection) -> int:
    """Make another error of it."""
    try:
        return await add(connection, "again")
    except DatabaseError:
        raise LookupError from None


async def say_no(_: WriteConnection) -> int:
    """Fail before any statement."""
    raise LookupError


async def do_nothing(_: WriteConnection) -> int:
    """Run no statement."""
    return -1


EFFECTS = [adding("again"), swallow, swallow_and_go_on, translate, say_no, do_nothing]


@pytest.mark.parametrize("effect", EFFECTS)
async def test_a_known_keys_result_comes_back(
    heart: Database, admin: asyncpg.Connection, effect: Callable[[WriteConnection], Awaitable[int]]
) -> None:
    """Whatever the effect makes of its first statement's refusal."""
    key = IdempotencyKey.made()
    first = await heart.write_once(key, NUMBER, adding("first"))
    again = await heart.write_once(key, NUMBER, effect)
    assert (again.value, again.recalled) == (first.value, True)
    assert await admin.fetchval(COUNT, "again") == 0
    assert heart.pools[0].size == 1


@pytest.mark.parametrize("effect", EFFECTS)
async def test_a_key_in_flight_is_refused(
    heart: Database, admin: asyncpg.Connection, effect: Callable[[WriteConnection], Awaitable[int]]
) -> None:
    """Nothing is applied beside another transaction that has the key."""
    key = IdempotencyKey.made()
    async with admin.transaction():
        await admin.execute("SELECT idempotency_claim($1, '', '')", key.digest)
        with pytest.raises(KeyInFlight):
            await heart.write_once(key, NUMBER, effect)
    assert await admin.fetchval(COUNT, "again") == 0
    assert not (await heart.write_once(key, NUMBER, adding("afterwards"))).recalled


async def test_an_effect_without_a_statement_is_stored(heart: Database) -> None:
    """Its key is claimed all the same."""
    key = IdempotencyKey.made()
    assert not (await heart.write_once(key, NUMBER, do_nothing)).recalled
    assert (await heart.write_once(key, NUMBER, do_nothing)).recalled


# ---------------------------------------------------------------- prepared statements
async def test_a_plan_of_an_older_schema_is_forgotten(
    heart: Database, admin: asyncpg.Connection
) -> None:
    """One attempt meets it; the next one is as if nothing had been."""
    await admin.execute("CREATE TABLE things (a int)")
    await admin.execute(f"GRANT ALL ON things TO {APP}")

    async def enter(connection: WriteConnection) -> int:
        row = await connection.fetchrow("INSERT INTO things VALUES (1) RETURNING *")
        return len(row or ())

    assert (await heart.write_once(IdempotencyKey.made(), NUMBER, enter)).value == 1
    await admin.execute("ALTER TABLE things ADD b int")
    key = IdempotencyKey.made()
    with pytest.raises(TransactionAborted) as refused:
        await heart.write_once(key, NUMBER, enter)
    assert refused.value.kind == STALE_PLAN
    assert (await heart.write_once(key, NUMBER, enter)).value == 2
    assert await admin.fetchval("SELECT count(*) FROM things") == 2


async def test_only_so_many_statements_are_kept(session: Session) -> None:
    """The first goes first, on the server as well; and can be prepared anew."""
    texts = [f"SELECT {number}" for number in range(STATEMENTS_MOST + 2)]
    for number, text in enumerate(texts):
        assert await (await session.prepared(text)).fetchval() == number
    assert list(session.statements) == texts[2:]
    await session.prepared(texts[0])
    there = await session.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE NOT from_sql")
    assert there <= STATEMENTS_MOST + 1  # and this question's
    assert await session.statements[texts[0]].fetchval() == 0


async def test_a_session_that_has_ended_keeps_nothing(session: Session) -> None:
    """Statements know their session: without forgetting them, both would wait for the collector."""
    await session.prepared("SELECT 1")
    session.drop()
    await asyncio.sleep(0)  # a turn of the loop: the driver tells of it in the next
    assert session.statements == {}
