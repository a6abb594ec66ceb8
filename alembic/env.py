"""Runs migrations through the write endpoint: `alembic upgrade head`, `alembic downgrade base`.

What a cluster asks for beyond Alembic's own:

- it waits for a writable primary, up to MIGRATION_WAIT, and says what it waits for;
- two at once are safe: a session advisory lock lets one run, and the other finds nothing to do;
- no statement waits longer than MIGRATION_LOCK_TIMEOUT for a table's lock: behind a waiting
  ALTER TABLE every query on the table queues. It gives up, and tries again a bounded number of
  times;
- a failover in the middle is survived: each migration is one transaction, together with its line
  in alembic_version, so after a lost connection all of it starts again where it stopped.

It ends with exit code 1 and one sentence on stderr when a bound is reached.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from alembic.runtime.migration import MigrationInfo
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from alembic import context
from service.audit import audit_log
from service.database.options import tls
from service.database.session import Session, notice_silence
from service.database.table import database_history, idempotency_keys
from service.metadata import metadata
from service.settings import Settings, SettingsError, load_settings
from service.users.table import users

TABLES = [
    audit_log,
    database_history,
    idempotency_keys,
    users,
]  # imported so that `metadata` holds every slice's table

# The advisory lock: any constant will do that nobody else uses in this database ("holdfast").
LOCK = int.from_bytes(b"hold"), int.from_bytes(b"fast")
LOCK_NOT_AVAILABLE = "55P03"
# What a failover looks like to a session; as in service/database/failures.py.
PASSING = ("08", "25006", "53300", "57P01", "57P02", "57P03")
# Seconds between looks for a primary, and for the lock, each with its line of progress.
LOOK = 1.0
LOCK_WAIT = 5.0
# Seconds a refused login is tried again: a primary that has just started sets the roles' passwords
# from its secrets, and takes connections before it has.
LOGIN_WAIT = 30.0
# As long for a role that a new version brings: the primary makes it at the same time.
UNDEFINED_OBJECT = "42704"


class MigrationError(Exception):
    """Migrations could not be run; the message says why, and what to do."""


def say(text: str) -> None:
    """Write a line of progress."""
    sys.stderr.write(f"migrations: {text}\n")
    sys.stderr.flush()


def passing(error: BaseException) -> bool:
    """Say whether a new connection may do better."""
    state = sqlstate(error)
    if state is not None:
        return state.startswith(PASSING)
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return lost or isinstance(error, OSError)


def sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE beneath SQLAlchemy's error, if the server sent one."""
    return getattr(getattr(error, "orig", error), "sqlstate", None)


def first_line(error: BaseException) -> str:
    """Return what an error says, without SQLAlchemy's frame around it."""
    inner = getattr(error, "orig", None) or error
    cause = inner.__cause__ or inner
    return next(iter(str(cause).splitlines()), "") or type(cause).__name__


def make_engine(settings: Settings) -> AsyncEngine:
    """Return an engine on the write endpoint."""
    password = settings.db_password
    url = sa.URL.create(
        "postgresql+asyncpg",
        username=settings.db_user,
        password=password.get_secret_value() if password else None,
        host=settings.db_write_host,
        port=settings.db_write_port,
        database=settings.db_name,
    )
    milliseconds = str(round(settings.migration_lock_timeout * 1000))
    arguments = {
        "timeout": settings.db_connect_timeout,
        "ssl": tls(settings.db_sslmode, settings.db_sslrootcert),
        "connection_class": Session,
        "server_settings": {"application_name": "migrations", "lock_timeout": milliseconds},
    }
    return create_async_engine(url, poolclass=NullPool, connect_args=arguments)


async def wait_for_primary(
    engine: AsyncEngine, deadline: float, tcp_timeout: float
) -> AsyncConnection:
    """Return a connection to a node that takes writes, and whose silence is noticed."""
    login_deadline: float | None = None
    while True:
        refused = False
        try:
            connection = await engine.connect()
            session = (await connection.get_raw_connection()).driver_connection
            notice_silence(session.transport_socket, tcp_timeout)
            if await connection.scalar(sa.text("SHOW transaction_read_only")) == "off":
                await connection.rollback()
                return connection
            await connection.close()
            reason = "the write endpoint leads to a read-only node"
        except (DBAPIError, OSError) as error:
            reason = first_line(error)
            refused = not passing(error)
        now = time.monotonic()
        if refused:
            login_deadline = login_deadline or min(deadline, now + LOGIN_WAIT)
            left = login_deadline - now
        else:
            left = deadline - now
        if left <= 0 and refused:
            raise MigrationError(
                f"the database refused the login: {reason}. "
                "Is DB_USER's password the one that the database has for it?"
            )
        if left <= 0:
            raise MigrationError(
                f"no writable primary within MIGRATION_WAIT; the last answer: {reason}. "
                "Look at the cluster's state, then run this again."
            )
        say(f"waiting for a writable primary, {left:.0f} s left: {reason}")
        await asyncio.sleep(min(LOOK, left))


async def take_lock(connection: AsyncConnection, deadline: float) -> None:
    """Wait until no other migration runs. The lock ends with the session, whatever happens."""
    take = sa.text("SELECT pg_advisory_lock(:first, :second)")
    await set_lock_timeout(connection, LOCK_WAIT)
    while True:
        try:
            await connection.execute(take, dict(zip(("first", "second"), LOCK, strict=True)))
        except DBAPIError as error:
            await connection.rollback()
            if sqlstate(error) != LOCK_NOT_AVAILABLE:
                raise
        else:
            await connection.commit()
            return
        left = deadline - time.monotonic()
        if left <= 0:
            raise MigrationError(
                "another migration has been running for longer than MIGRATION_WAIT. "
                "Find it in pg_stat_activity, by the application_name `migrations`."
            )
        say(f"waiting for another migration to end, {left:.0f} s left")


async def set_lock_timeout(connection: AsyncConnection, seconds: float) -> None:
    """Bound the wait for each lock of this session."""
    setting = sa.text("SELECT set_config('lock_timeout', :milliseconds, false)")
    await connection.execute(setting, {"milliseconds": str(round(seconds * 1000))})
    await connection.commit()


def announce(*, step: MigrationInfo, **_: object) -> None:
    """Name a migration that has run; its transaction commits next."""
    names = ", ".join(each.split("\n")[0] for each in step.up_revision_ids)
    say(f"{'applying' if step.is_upgrade else 'undoing'} {names}")


def run(connection: sa.Connection) -> None:
    """Run the migrations that were asked for, each in its own transaction."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transaction_per_migration=True,
        compare_server_default=True,
        on_version_apply=announce,
    )
    with context.begin_transaction():
        context.run_migrations()


async def migrate_once(engine: AsyncEngine, settings: Settings, deadline: float) -> None:
    """Wait for a primary, wait for our turn, and run."""
    connection = await wait_for_primary(engine, deadline, settings.db_tcp_timeout)
    try:
        await take_lock(connection, deadline)
        await set_lock_timeout(connection, settings.migration_lock_timeout)
        await connection.run_sync(run)
    finally:
        await connection.close()


async def migrate(settings: Settings) -> None:
    """Run, again if need be, until it is done or a bound is reached."""
    engine = make_engine(settings)
    begun = time.monotonic()
    deadline = begun + settings.migration_wait
    locked_out = 0
    while True:
        try:
            await migrate_once(engine, settings, deadline)
        except (DBAPIError, OSError) as error:
            if sqlstate(error) == LOCK_NOT_AVAILABLE:
                locked_out += 1
                if locked_out >= settings.migration_attempts:
                    raise locked_out_error(settings) from error
                say(f"a table was in use for too long, attempt {locked_out}; trying again")
            elif sqlstate(error) == UNDEFINED_OBJECT and time.monotonic() < begun + LOGIN_WAIT:
                say(f"the primary may still be making it, trying again: {first_line(error)}")
            elif passing(error) and time.monotonic() < deadline:
                say(f"the connection was lost, starting again: {first_line(error)}")
            else:
                raise
        else:
            return
        await asyncio.sleep(LOOK)  # let those that queued behind us through


def locked_out_error(settings: Settings) -> MigrationError:
    """Return the error of a table that never was free."""
    return MigrationError(
        f"a table was in use at each of {settings.migration_attempts} attempts, for longer than "
        f"MIGRATION_LOCK_TIMEOUT ({settings.migration_lock_timeout:g} s). Nothing was left half "
        "done. Find the long transaction in pg_stat_activity, then run this again."
    )


@contextmanager
def one_sentence() -> Iterator[None]:
    """End the process with a sentence where a traceback would say less."""
    try:
        yield
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    except MigrationError as error:
        say(f"failed: {error}")
        sys.exit(1)


if context.is_offline_mode():
    # `--sql`: write the statements for somebody who runs them by hand.
    context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    with one_sentence():
        asyncio.run(migrate(load_settings()))
