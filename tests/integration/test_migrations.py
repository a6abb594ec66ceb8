"""Migrations agree with the metadata, repeat, reverse, wait for a primary, and freeze nothing."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.ext.asyncio import create_async_engine

from ops.embedded.pair import OWNER
from service import audit
from service.database import table as keys
from service.metadata import metadata
from service.users import table
from tests.integration.support import (
    MIGRATION_TIMEOUT,
    ROOT,
    alembic,
    eventually,
    superuser,
    through,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import sqlalchemy as sa

    from ops.embedded import EmbeddedStack

SAMPLES = 5
LATE = "latecomer"  # a role that nobody has made yet
WAITING = "waiting for a writable primary"
NOWHERE = "1"  # a port that nobody listens on


async def revision(admin: asyncpg.Connection) -> str | None:
    """Which revision the database says it has."""
    return await admin.fetchval("SELECT version_num FROM alembic_version")


@asynccontextmanager
async def waiting_upgrade(stack: EmbeddedStack, log: Path, **settings: str) -> AsyncIterator[None]:
    """Run an upgrade that says it waits, until the block has made what it waits for."""
    env = {**os.environ, **stack.service_environment(OWNER), **settings}
    command, said = (sys.executable, "-m", "alembic", "upgrade", "head"), log.read_text
    with log.open("w") as file:
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=env, stderr=file)
    try:
        await eventually("the upgrade to wait", lambda: WAITING in said())
        yield
        assert await asyncio.wait_for(process.wait(), MIGRATION_TIMEOUT) == 0, said()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_metadata_and_migrations_agree(stack: EmbeddedStack, database: str) -> None:
    """What the migrations made is what the tables beside the slices say."""

    def differences(connection: sa.Connection) -> list[object]:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return compare_metadata(context, metadata)

    for each in (table.users, keys.idempotency_keys, keys.database_history, audit.audit_log):
        assert each.metadata is metadata
    url = f"postgresql+asyncpg://postgres@127.0.0.1:{stack.primary.port}/{database}"
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            assert await connection.run_sync(differences) == []
            # Negative control: the comparison sees a difference when there is one.
            await connection.exec_driver_sql("ALTER TABLE users ADD COLUMN surplus int")
            assert len(await connection.run_sync(differences)) == 1
            await connection.rollback()
    finally:
        await engine.dispose()


async def test_service_has_its_rights_and_no_more(stack: EmbeddedStack, database: str) -> None:
    """The service's role reads and changes rows; it neither makes nor changes tables."""
    connection = await through(stack.write_port, database)
    assert await connection.fetchval("SELECT count(*) FROM users") == SAMPLES
    await connection.execute("DELETE FROM users")
    for forbidden in ("CREATE TABLE t (n int)", "DROP TABLE users", "TRUNCATE users"):
        with pytest.raises(
            asyncpg.InsufficientPrivilegeError, match=r"permission denied|must be owner"
        ):
            await connection.execute(forbidden)
    await connection.close()


async def test_upgrade_twice(stack: EmbeddedStack, database: str) -> None:
    """A second run finds nothing to do, and does nothing."""
    done = await asyncio.to_thread(alembic, stack, "upgrade", "head", DB_NAME=database)
    assert done.returncode == 0, done.stderr
    async with superuser(stack, database) as admin:
        assert await admin.fetchval("SELECT count(*) FROM users") == SAMPLES


async def test_two_at_once(stack: EmbeddedStack, empty_database: str) -> None:
    """Of two that start together both succeed, and every migration runs once."""
    runs = await asyncio.gather(
        *(
            asyncio.to_thread(alembic, stack, "upgrade", "head", DB_NAME=empty_database)
            for _ in range(2)
        )
    )
    assert [run.returncode for run in runs] == [0, 0], [run.stderr for run in runs]
    async with superuser(stack, empty_database) as admin:
        assert await admin.fetchval("SELECT count(*) FROM users") == SAMPLES


async def test_down_and_up_again(stack: EmbeddedStack, database: str) -> None:
    """Downgrading to nothing leaves nothing, and the way up works again."""
    async with superuser(stack, database) as admin:
        head = await revision(admin)
        done = await asyncio.to_thread(alembic, stack, "downgrade", "base", DB_NAME=database)
        assert done.returncode == 0, done.stderr
        assert await revision(admin) is None
        left = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        assert {row[0] for row in await admin.fetch(left)} <= {
            "alembic_version",
            "alembic_version_pkc",
        }
        done = await asyncio.to_thread(alembic, stack, "upgrade", "head", DB_NAME=database)
        assert done.returncode == 0, done.stderr
        assert await revision(admin) == head
        assert await admin.fetchval("SELECT count(*) FROM users") == SAMPLES


@pytest.mark.parametrize("used", [True, False])
async def test_tokens_stay_good_where_they_were_given_out(
    stack: EmbeddedStack, database: str, used: bool
) -> None:
    """A database that was in use is in the history of the tokens that name none; a new one not."""
    async with superuser(stack, database) as admin:
        done = await asyncio.to_thread(alembic, stack, "downgrade", "0008", DB_NAME=database)
        assert done.returncode == 0, done.stderr
        if used:
            await admin.execute("UPDATE users SET name = 'Somebody'")  # the audit has it
        done = await asyncio.to_thread(alembic, stack, "upgrade", "head", DB_NAME=database)
        assert done.returncode == 0, done.stderr
        history = await admin.fetchval("SELECT id FROM database_history")
        assert (history.int == 0) is used


async def test_an_owner_without_its_right_is_told(stack: EmbeddedStack, database: str) -> None:
    """The migration names the GRANT, and goes on once a primary of the new version has made it."""
    done = await asyncio.to_thread(alembic, stack, "downgrade", "0008", DB_NAME=database)
    assert done.returncode == 0, done.stderr
    stack.primary.sql("REVOKE pg_read_all_stats FROM holdfast_owner")
    try:
        run = asyncio.create_task(
            asyncio.to_thread(alembic, stack, "upgrade", "head", DB_NAME=database)
        )
        done, _ = await asyncio.wait([run], timeout=2)
        assert not done
    finally:
        stack.primary.sql("GRANT pg_read_all_stats TO holdfast_owner")
    result = await run
    assert result.returncode == 0, result.stderr
    assert "GRANT pg_read_all_stats TO holdfast_owner" in result.stderr


async def test_column_is_added_without_writing_rows(stack: EmbeddedStack, database: str) -> None:
    """What versions need comes to a table that is in use: its file stays the same."""
    async with superuser(stack, database) as admin:
        for target, command in (
            ("0004", "downgrade"),
            ("0005", "upgrade"),
            ("0007", "upgrade"),
            ("0008", "upgrade"),
        ):
            file = await admin.fetchval("SELECT pg_relation_filenode('users')")
            done = await asyncio.to_thread(alembic, stack, command, target, DB_NAME=database)
            assert done.returncode == 0, done.stderr
            assert await admin.fetchval("SELECT pg_relation_filenode('users')") == file
        there = [tuple(row) for row in await admin.fetch("SELECT version, revision FROM users")]
        assert there == [(1, None)] * SAMPLES
        new = "INSERT INTO users (email, name) VALUES ($1, 'New') RETURNING revision"
        revisions = {await admin.fetchval(new, f"new-{number}@example.org") for number in range(3)}
        assert len(revisions - {None}) == 3


async def test_waits_for_a_primary_within_bounds(stack: EmbeddedStack, database: str) -> None:
    """Without a primary it waits for MIGRATION_WAIT, and then says so instead of hanging."""
    started = time.monotonic()
    done = await asyncio.to_thread(
        alembic,
        stack,
        "upgrade",
        "head",
        DB_NAME=database,
        DB_WRITE_PORT=NOWHERE,
        MIGRATION_WAIT="1.5",
    )
    assert 1.5 < time.monotonic() - started < 15
    assert done.returncode == 1
    assert "no writable primary within MIGRATION_WAIT" in done.stderr
    assert "Traceback" not in done.stderr


async def test_does_not_run_on_a_standby(stack: EmbeddedStack, database: str) -> None:
    """A read-only node is no primary."""
    done = await asyncio.to_thread(
        alembic,
        stack,
        "downgrade",
        "base",
        DB_NAME=database,
        DB_WRITE_PORT=str(stack.standby.serving_port),
        MIGRATION_WAIT="0.5",
    )
    assert done.returncode == 1
    assert "read-only" in done.stderr


async def test_goes_on_when_the_primary_comes(
    disturbed_stack: EmbeddedStack, empty_database: str, tmp_path: Path
) -> None:
    """Started during a failover, it waits and then does its work."""
    stack = disturbed_stack
    stack.failover(held=True)
    stack.haproxy.wait_up("pg_primary", set())
    async with waiting_upgrade(stack, tmp_path / "log", DB_NAME=empty_database):
        stack.primary.release()


async def test_a_refused_login_is_tried_again(
    stack: EmbeddedStack, database: str, tmp_path: Path
) -> None:
    """A primary sets the roles' passwords as it starts, and takes connections before it has."""
    log = tmp_path / "log"
    try:
        async with waiting_upgrade(stack, log, DB_NAME=database, DB_USER=LATE):
            stack.primary.sql(f"CREATE ROLE {LATE} LOGIN IN ROLE holdfast_owner")
    finally:
        stack.primary.sql(f"DROP ROLE IF EXISTS {LATE}")
    assert f'role "{LATE}" does not exist' in log.read_text()


async def test_a_login_that_stays_refused_is_said(stack: EmbeddedStack, database: str) -> None:
    """Within bounds, and with what to look at."""
    settings = {"DB_NAME": database, "DB_USER": LATE, "MIGRATION_WAIT": "1.5"}
    done = await asyncio.to_thread(alembic, stack, "upgrade", "head", **settings)
    assert done.returncode == 1
    assert "the database refused the login" in done.stderr
    assert "password" in done.stderr
    assert "Traceback" not in done.stderr


async def test_lock_timeout_keeps_the_table_alive(stack: EmbeddedStack, database: str) -> None:
    """A migration behind a long transaction gives way: others are held up for its lock timeout."""
    done = await asyncio.to_thread(alembic, stack, "downgrade", "0004", DB_NAME=database)
    assert done.returncode == 0, done.stderr
    async with superuser(stack, database) as reader, reader.transaction():
        await reader.fetch("SELECT * FROM users")  # a lock that DROP TABLE has to wait for
        run = asyncio.create_task(
            asyncio.to_thread(
                alembic,
                stack,
                "downgrade",
                "base",
                DB_NAME=database,
                MIGRATION_LOCK_TIMEOUT="0.5",
                MIGRATION_ATTEMPTS="2",
            )
        )
        longest = 0.0
        other = await through(stack.write_port, database)
        while not run.done():
            started = time.monotonic()
            await other.fetch("SELECT * FROM users LIMIT 1", timeout=10)
            longest = max(longest, time.monotonic() - started)
            await asyncio.sleep(0.01)
        await other.close()
    result = await run
    assert result.returncode == 1
    assert "a table was in use" in result.stderr
    assert 0.2 < longest < 3  # held up by the migration, and let go
    async with superuser(stack, database) as admin:
        # Each step is a transaction of its own: the one that took the samples away is done, the
        # one that drops the table is not.
        assert await revision(admin) == "0002"
        assert await admin.fetchval("SELECT to_regclass('users') IS NOT NULL")
