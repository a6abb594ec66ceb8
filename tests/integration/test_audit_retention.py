"""The audit by months: coming ones are made, old ones go, and nothing is lost or open meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import pytest

from ops.embedded.pair import APP, OWNER, READ
from tests.integration.support import ROOT, alembic, eventually, superuser, through

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ops.embedded import EmbeddedStack
    from ops.embedded.postgres import Node

DAYS = 400  # as AUDIT_RETENTION by default
# What migration 0011 attached has room for whatever is older than itself.
NOTHING_BEFORE = "DROP TABLE audit.log_before"
CALLS = 50  # of audit.keep at most, as deploy/postgres/bin/keep-audit
SCRIPT = 20.0  # seconds for the nodes' script, which takes about half of one
HELD_UP = 1.0  # seconds that a write may take beside a migration, on a busy machine

ENTRY = """
    INSERT INTO audit_log (at, role, action, entity, entity_id, fields)
    VALUES ($1, 'nobody', 'insert', 'users', 0, '{}') RETURNING id
"""
DEFAULT = "SELECT count(*) FROM audit.log_default"
ASIDE = "SELECT count(*) FROM pg_class WHERE relname LIKE 'log_aside%' AND relkind = 'r'"
COMING = """
    SELECT count(*) FROM generate_series(0, 2) AS n
     WHERE audit.covered(now() + n * interval '1 month')
"""
WAITING = """
    SELECT count(*) FROM pg_locks
      JOIN pg_database ON pg_database.oid = database
     WHERE NOT granted AND datname = current_database()
"""
# As by a clock that nobody looked after: no partition but the one of what is long past.
NO_PARTITIONS = """
    DO $$
    DECLARE
        part regclass;
    BEGIN
        FOR part IN SELECT partition FROM audit.partitions WHERE until IS NOT NULL LOOP
            EXECUTE format('DROP TABLE %s', part);
        END LOOP;
    END
    $$
"""


async def keep(admin: asyncpg.Connection, days: int = DAYS) -> list[str]:
    """Look after the audit as a node does; return what was done."""
    said = []
    for _ in range(CALLS):
        done = await admin.fetchval("SELECT audit.keep($1)", days)
        if not done:
            return said
        said.append(done)
    pytest.fail(f"there is no end to it: {said[-3:]}")


async def change(connection: asyncpg.Connection, name: str = "Somebody") -> None:
    """Change the sample users: five entries."""
    await connection.execute("UPDATE users SET name = $1", name)


# ---------------------------------------------------------------- keeping
async def test_coming_months_are_made_once(admin: asyncpg.Connection) -> None:
    """For today and the next two months; then there is nothing to do."""
    assert len(await keep(admin)) == 2
    assert await admin.fetchval(COMING) == 3
    assert await keep(admin) == []


async def test_what_is_older_than_kept_goes(admin: asyncpg.Connection) -> None:
    """By whole months: an entry is kept for the days that were asked for, and a month at most."""
    await admin.execute(NOTHING_BEFORE)
    await keep(admin)
    now = datetime.now(UTC)
    ages = {age: now - timedelta(days=age) for age in (DAYS - 1, DAYS + 32, 3 * DAYS)}
    ids = {age: await admin.fetchval(ENTRY, at) for age, at in ages.items()}
    assert await keep(admin, days=0) != []  # they got partitions
    assert await admin.fetchval("SELECT count(*) FROM audit_log WHERE role = 'nobody'") == 3
    said = await keep(admin)
    left = await admin.fetch("SELECT id FROM audit_log WHERE role = 'nobody'")
    assert [row["id"] for row in left] == [ids[DAYS - 1]]
    assert len([each for each in said if each.startswith("removed")]) >= 2
    assert await keep(admin) == []


async def test_for_ever_is_for_ever(admin: asyncpg.Connection) -> None:
    """0 days: nothing goes."""
    await admin.execute(ENTRY, datetime(2001, 1, 1, tzinfo=UTC))
    await keep(admin, days=0)
    assert await admin.fetchval("SELECT count(*) FROM audit_log WHERE role = 'nobody'") == 1


@pytest.mark.parametrize("days", [-1, None])
async def test_no_number_removes_nothing(admin: asyncpg.Connection, days: int | None) -> None:
    """What is no number of days is an error."""
    with pytest.raises(asyncpg.RaiseError, match="a number of days"):
        await admin.fetchval("SELECT audit.keep($1)", days)


async def test_writes_go_on_when_nobody_looks_after_it(
    stack: EmbeddedStack, database: str, admin: asyncpg.Connection
) -> None:
    """Without a partition for today an entry is kept, and is put in its place later."""
    await change(admin)
    before = await admin.fetch("SELECT * FROM audit_log ORDER BY id")
    await admin.execute(NO_PARTITIONS)
    app = await through(stack.write_port, database)
    await change(app, "Unattended")
    await app.close()
    assert await admin.fetchval(DEFAULT) == 5
    there = await admin.fetch("SELECT * FROM audit_log ORDER BY id")
    assert len(there) == 5
    await keep(admin)
    assert await admin.fetch("SELECT * FROM audit_log ORDER BY id") == there
    assert await admin.fetchval(DEFAULT) == 0
    assert await admin.fetchval(ASIDE) == 0
    assert await admin.fetchval(COMING) == 3
    assert not {row["id"] for row in there} & {row["id"] for row in before}


async def test_an_entry_between_partitions_finds_a_place(admin: asyncpg.Connection) -> None:
    """A clock that was behind: the rest of a month that has a partition for a part of it."""
    since = await admin.fetchval("SELECT max(since) FROM audit.partitions")
    await admin.execute(NOTHING_BEFORE)
    made = await admin.fetchval(ENTRY, since - timedelta(microseconds=1))
    await keep(admin)
    assert await admin.fetchval(DEFAULT) == 0
    assert await admin.fetchval("SELECT count(*) FROM audit_log WHERE id = $1", made) == 1


async def test_writes_wait_for_the_job_within_bounds(
    stack: EmbeddedStack, database: str, admin: asyncpg.Connection
) -> None:
    """Beside a transaction that does not end it gives way at once, and tries another time."""
    await admin.execute(NOTHING_BEFORE)
    await keep(admin)
    await admin.execute(ENTRY, datetime(2001, 1, 1, tzinfo=UTC))
    async with superuser(stack, database) as slow, slow.transaction():
        await change(slow)
        with pytest.raises(asyncpg.LockNotAvailableError):
            await keep(admin)
    await keep(admin)
    assert await admin.fetchval("SELECT count(*) FROM audit_log WHERE role = 'nobody'") == 0


# ---------------------------------------------------------------- rights
STATEMENTS = (
    "SELECT audit.keep(0)",
    "SELECT audit.keep(1)",
    "SELECT audit.cover(now())",
    "SELECT * FROM audit.partitions",
    "SELECT * FROM audit.log_default",
    "SELECT nextval('audit_log_id_seq')",
    "SELECT setval('audit_log_id_seq', 1)",
    "ALTER TABLE audit_log DETACH PARTITION audit.log_default",
)
ON_A_PARTITION = (
    "SELECT * FROM {0}",
    """INSERT INTO {0} (id, at, role, action, entity, entity_id, fields)
       OVERRIDING SYSTEM VALUE VALUES (1, now(), 'x', 'x', 'x', 1, '{{}}')""",
    "UPDATE {0} SET role = 'nobody'",
    "DELETE FROM {0}",
    "TRUNCATE {0}",
    "DROP TABLE {0}",
)


@pytest.mark.parametrize("role", [APP, READ])
async def test_no_role_gets_at_a_partition(
    stack: EmbeddedStack, database: str, admin: asyncpg.Connection, role: str
) -> None:
    """Neither by the schema nor, were that open, by the tables, whoever made them."""
    await admin.execute(NOTHING_BEFORE)
    await admin.execute(ENTRY, datetime(2001, 1, 1, tzinfo=UTC))
    await keep(admin, days=0)
    parts = [row[0] for row in await admin.fetch("SELECT partition::text FROM audit.partitions")]
    assert len(parts) == 5  # the default, 2001, and three months
    connection = await through(stack.write_port, database, role)
    try:
        await connection.execute("SET default_transaction_read_only = off")
        for schema_is_open in (False, True):
            if schema_is_open:
                await admin.execute(f"GRANT USAGE ON SCHEMA audit TO {role}")
            named = [each.format(part) for part in parts for each in ON_A_PARTITION]
            for statement in (*STATEMENTS, *named):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
    finally:
        await connection.close()


async def test_the_owner_keeps_without_being_superuser(stack: EmbeddedStack, database: str) -> None:
    """Who has no node's job, at a database of his own, calls it as the owner."""
    owner = await through(stack.write_port, database, OWNER)
    assert len(await keep(owner)) == 2
    await owner.close()


# ---------------------------------------------------------------- the way there
@contextlib.asynccontextmanager
async def writing(stack: EmbeddedStack, database: str) -> AsyncIterator[list[float]]:
    """Change users all the time, as the service does; give the seconds that each change took."""
    took: list[float] = []
    app = await through(stack.write_port, database)
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            started = asyncio.get_running_loop().time()
            await change(app)
            took.append(asyncio.get_running_loop().time() - started)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(write())
    try:
        yield took
    finally:
        stop.set()
        await task
        await app.close()


async def migrate(stack: EmbeddedStack, database: str, *arguments: str) -> None:
    """Run Alembic, which has to succeed."""
    done = await asyncio.to_thread(alembic, stack, *arguments, DB_NAME=database)
    assert done.returncode == 0, done.stderr


async def test_no_entry_is_lost_on_the_way(
    stack: EmbeddedStack, database: str, admin: asyncpg.Connection
) -> None:
    """Up and down again beside writes: each has its entries, none waits for long, numbers go on."""
    await migrate(stack, database, "downgrade", "0009")
    await admin.execute("TRUNCATE audit_log")
    async with writing(stack, database) as took:
        await migrate(stack, database, "upgrade", "0010")
        await migrate(stack, database, "upgrade", "0011")
        await keep(admin)
        longest = max(took)
        await migrate(stack, database, "downgrade", "0009")
        await migrate(stack, database, "upgrade", "head")
    assert longest < HELD_UP
    rows = await admin.fetch("SELECT id FROM audit_log ORDER BY id")
    assert len(rows) == 5 * len(took)
    assert len({row["id"] for row in rows}) == len(rows)
    assert await admin.fetchval(DEFAULT) == 0


async def test_a_transaction_across_the_way_has_its_entry(
    stack: EmbeddedStack, database: str, admin: asyncpg.Connection
) -> None:
    """Begun before 0010, written after it; and one that is dated by a clock that was ahead."""
    await migrate(stack, database, "downgrade", "0009")
    ahead = await admin.fetchval(ENTRY, datetime.now(UTC) + timedelta(minutes=5))
    async with superuser(stack, database) as long, long.transaction():
        began = await long.fetchval("SELECT now()")
        await migrate(stack, database, "upgrade", "0010")
        await change(long)
    assert await admin.fetchval(DEFAULT) == 5
    assert await admin.fetchval("SELECT audit.keep(1)") == ""  # not in the middle of it
    await migrate(stack, database, "upgrade", "0011")
    assert await admin.fetchval(DEFAULT) == 0
    assert await admin.fetchval("SELECT count(*) FROM audit_log WHERE at = $1", began) == 5
    assert await admin.fetchval("SELECT count(*) FROM audit_log WHERE id = $1", ahead) == 1
    assert await keep(admin) != []


async def test_an_entry_on_its_way_waits_for_the_way(
    stack: EmbeddedStack, database: str, admin: asyncpg.Connection
) -> None:
    """One that is bound for the default partition while 0011 takes its place away from there."""
    await migrate(stack, database, "downgrade", "0009")
    entries = await admin.fetchval("SELECT count(*) FROM audit_log")

    def waiting(number: int) -> Callable[[], Awaitable[bool]]:
        async def wait() -> bool:
            return bool(await admin.fetchval(WAITING) == number)

        return wait

    async with (
        superuser(stack, database) as early,
        superuser(stack, database) as other,
        early.transaction(),
    ):
        await early.execute("SELECT now()")
        await migrate(stack, database, "upgrade", "0010")
        async with other.transaction():
            await other.execute("LOCK TABLE audit.log_default IN ROW EXCLUSIVE MODE")
            upgrade = asyncio.create_task(migrate(stack, database, "upgrade", "0011"))
            await eventually("the migration to wait", waiting(1))
            entry = asyncio.create_task(change(early))
            await eventually("the entry to wait", waiting(2))
        await upgrade
        await entry
    assert await admin.fetchval("SELECT count(*) FROM audit_log") == entries + 5
    assert await admin.fetchval(DEFAULT) == 0


# ---------------------------------------------------------------- the nodes' script
async def run_script(node: Node, database: str, days: str) -> list[str]:
    """Run keep-audit as a node does; return what it says."""
    env = {
        "PATH": f"{node._environment()['PATH']}:/usr/bin:/bin",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(node.port),
        "PGUSER": "postgres",
        "AUDIT_RETENTION": days,
    }
    command = (str(ROOT / "deploy" / "postgres" / "bin" / "keep-audit"), database)
    process = await asyncio.create_subprocess_exec(
        *command, env=env, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(process.communicate(), SCRIPT)
    assert process.returncode == 0
    return said.decode().splitlines()


async def test_the_script_of_the_nodes(
    stack: EmbeddedStack, database: str, admin: asyncpg.Connection
) -> None:
    """It does on the primary what there is to do, and says so; on a standby it does nothing."""
    await admin.execute(NOTHING_BEFORE)
    old = "audit: removed audit.log_2001_01, older than 400 days"
    await admin.execute(ENTRY, datetime(2001, 1, 1, tzinfo=UTC))
    assert await run_script(stack.standby, database, "400") == []
    assert old not in await run_script(stack.primary, database, "0")
    assert await run_script(stack.primary, database, "400") == [old]
    assert await run_script(stack.primary, database, "400") == []


FUNCTION = """
    CREATE OR REPLACE FUNCTION audit.keep(days integer) RETURNS text LANGUAGE plpgsql
    SECURITY INVOKER AS $$ BEGIN ALTER ROLE holdfast_owner SUPERUSER; RETURN NULL; END $$
"""
OPERATOR = """
    CREATE FUNCTION public.trap(text, boolean) RETURNS text LANGUAGE plpgsql
    AS $$ BEGIN ALTER ROLE holdfast_owner SUPERUSER; RETURN ''; END $$;
    CREATE OPERATOR public.|| (LEFTARG = text, RIGHTARG = boolean, FUNCTION = public.trap)
"""


@pytest.mark.parametrize("trap", [FUNCTION, OPERATOR], ids=["the function", "an operator"])
async def test_the_owner_becomes_nobody_else_by_the_script(
    stack: EmbeddedStack, database: str, admin: asyncpg.Connection, trap: str
) -> None:
    """A superuser runs it, once a minute: nothing that the owner has written has his rights."""
    await admin.execute(f"SET ROLE holdfast_owner; {trap}; RESET ROLE")
    await run_script(stack.primary, database, "400")
    rights = "SELECT rolsuper FROM pg_roles WHERE rolname = 'holdfast_owner'"
    assert await admin.fetchval(rights) is False


async def test_the_script_waits_for_the_migration(
    stack: EmbeddedStack, empty_database: str
) -> None:
    """Before there is an audit it does nothing."""
    assert await run_script(stack.primary, empty_database, "400") == []
