"""Who gets through the pooler: TLS, SCRAM on both sides, a new password, its console."""

from __future__ import annotations

import asyncio
import csv
import io
import re
import shutil
import ssl
import subprocess
import time
from typing import TYPE_CHECKING

import asyncpg
import pytest

from ops import sessions
from ops.embedded.pair import APP, DATABASE, READ
from ops.embedded.pooler import CONFIGURATION
from ops.embedded.processes import EmbeddedError
from tests.integration.support import ROOT, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ops.embedded import EmbeddedStack
    from ops.embedded.postgres import Node

MONITORING = "holdfast_monitoring"
FIRST, SECOND = "the first one", "another one"
HBA = CONFIGURATION.with_name("pgbouncer_hba.conf")
RULES = f"host all {APP},{READ},{MONITORING} 127.0.0.1/32 scram-sha-256\n"


class Door:
    """The primary's pooler as it is deployed: TLS with the node's certificate, and SCRAM."""

    def __init__(self, node: Node, ca: Path) -> None:
        self.node = node
        self.tls = ssl.create_default_context(cafile=str(ca))

    def set_password(self, role: str, password: str) -> None:
        """Set one, at PostgreSQL."""
        self.node.sql(f"ALTER ROLE {role} PASSWORD '{password}'")

    async def come(
        self,
        password: str,
        user: str = APP,
        database: str = DATABASE,
        **options: object,
    ) -> asyncpg.Connection:
        """Log in at the pooler."""
        chosen: dict[str, object] = {"ssl": self.tls, "timeout": 5, **options}
        return await asyncpg.connect(
            host="127.0.0.1",
            port=self.node.serving_port,
            user=user,
            password=password,
            database=database,
            **chosen,
        )

    def watch(self, command: str) -> str:
        """Run a command of its console as the exporter does; rows as CSV."""
        return self.psql(command, MONITORING, FIRST, "pgbouncer")

    def psql(
        self, command: str, user: str, password: str, database: str = DATABASE, mode: str = ""
    ) -> str:
        """Run a command by psql. Raises EmbeddedError with what is said when it is refused.

        (asyncpg leaves the socket of a login that is refused to be found by the collector.)
        """
        assert self.node.pooler is not None
        where = (
            f"host=127.0.0.1 port={self.node.serving_port} user={user} dbname={database} "
            f"password='{password}' sslmode={mode or 'verify-full'} "
            f"sslrootcert={self.node.pooler.folder}/ca.crt"
        )
        return self.node._tool("psql", where, "-X", "--csv", "--command", command)


@pytest.fixture(scope="module")
def closed(stack: EmbeddedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Close what the embedded stack leaves open on loopback."""
    node, tmp_path = stack.primary, tmp_path_factory.mktemp("certificates")
    pooler = node.pooler
    assert pooler is not None
    subprocess.run(
        [ROOT / "deploy" / "tls" / "make-certificates"],
        cwd=tmp_path, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    for name in ("tls.pem", "ca.crt"):
        copy = pooler.folder / name
        shutil.copyfile(tmp_path / "postgres1" / name, copy)
        copy.chmod(0o600)
        node._account.own(copy)
    door = Door(node, tmp_path / "nodes" / "ca.crt")
    rules = node.data / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(RULES + before)
    node.sql("SELECT pg_reload_conf()")
    allowed = pooler.folder / "hba.conf"
    allowed.write_text(re.sub(r"DATABASE_PREFIX\.\d+", "127.0.0.1", HBA.read_text()))
    node._account.own(allowed)
    pooler.options = {
        "auth_type": "hba",
        "auth_hba_file": "hba.conf",
        "client_tls_sslmode": "require",
        "client_tls_cert_file": "tls.pem",
        "client_tls_key_file": "tls.pem",
    }
    pooler.stop()
    pooler.start()
    yield door
    rules.write_text(before)
    node.sql("SELECT pg_reload_conf()")
    pooler.options = {}
    pooler.stop()
    pooler.start()


@pytest.fixture
def door(closed: Door) -> Door:
    """Return the closed pooler, with its first passwords."""
    for role in (APP, READ, MONITORING):
        closed.set_password(role, FIRST)
    return closed


async def test_a_password_and_tls_lead_to_postgresql(door: Door) -> None:
    """The node's certificate is what is shown; PostgreSQL itself asks for the same password."""
    connection = await door.come(FIRST)
    assert await connection.fetchval("SELECT current_user") == APP
    assert connection._transport.get_extra_info("ssl_object") is not None
    await connection.close()


@pytest.mark.parametrize(
    ("user", "password"),
    [
        (APP, "a wrong one"),
        (APP, ""),
        ("nobody_such", FIRST),
        ("postgres", FIRST),
        ("holdfast_check", FIRST),
        ("holdfast_pooler", FIRST),
    ],
)
def test_nobody_else_gets_in(door: Door, user: str, password: str) -> None:
    """Nor does a role that is no client's, whatever PostgreSQL thinks of it."""
    with pytest.raises(EmbeddedError, match=r"FATAL|no password"):
        door.psql("SELECT 1", user, password)


def test_clear_text_is_refused(door: Door) -> None:
    """Whatever the password is."""
    with pytest.raises(EmbeddedError, match="FATAL"):
        door.psql("SELECT 1", APP, FIRST, mode="disable")


@pytest.mark.parametrize("role", [APP, READ, MONITORING, "holdfast_owner", "holdfast_check"])
def test_a_role_learns_no_verifier(stack: EmbeddedStack, role: str) -> None:
    """What the pooler asks is for its own role alone, and tells of no superuser."""
    ask = "SELECT count(verifier) FROM pooler.verifier_of('{}')"
    with pytest.raises(EmbeddedError, match="permission denied"):
        stack.primary.sql(f"SET ROLE {role}; {ask.format(APP)}")
    of_others = f"SET ROLE holdfast_pooler; {ask.format('postgres')}"
    assert stack.primary.sql(of_others) == "0"


def test_another_database_is_not_reached(door: Door) -> None:
    """The rules name the application's."""
    with pytest.raises(EmbeddedError, match="FATAL"):
        door.psql("SELECT 1", APP, FIRST, "template1")


# ---------------------------------------------------------------- a password that changes
async def test_a_new_password_counts_at_once(door: Door) -> None:
    """The old one is refused, also by a pooler that has sessions which were opened with it."""
    old = await door.come(FIRST)
    assert await old.fetchval("SELECT 1") == 1
    door.set_password(APP, SECOND)
    with pytest.raises(EmbeddedError, match="FATAL"):
        await asyncio.to_thread(door.psql, "SELECT 1", APP, FIRST)
    new = await door.come(SECOND)
    assert await new.fetchval("SELECT 1") == 1
    await new.close()
    await old.close(timeout=5)


async def test_what_came_with_the_old_one_ends(door: Door) -> None:
    """A client that is idle at once; PostgreSQL's own sessions tell nothing of it."""
    old, other = await door.come(FIRST), await door.come(FIRST, READ)
    await asyncio.sleep(1.1)  # the console tells whole seconds
    door.set_password(APP, SECOND)
    moment = float(door.node.sql("SELECT extract(epoch FROM clock_timestamp())"))
    await asyncio.sleep(1.1)
    new = await door.come(SECOND)
    ended = await asyncio.to_thread(sessions.end_older_clients, APP, moment, door.node.console)
    assert ended == 1
    await eventually("the old one's end", old.is_closed)
    assert await new.fetchval("SELECT 1") == await other.fetchval("SELECT 1") == 1
    for each in (new, other):
        await each.close(timeout=5)


async def test_a_client_at_work_may_end_first(door: Door) -> None:
    """Its statement is not cut; an idle transaction is, by PostgreSQL, within 5 s."""
    working, lingering = await door.come(FIRST), await door.come(FIRST)
    await lingering.execute("BEGIN; SELECT 1")
    statement = asyncio.create_task(working.fetchval("SELECT pg_sleep(2)::text || 'done'"))
    await asyncio.sleep(1.1)
    begun = time.monotonic()
    ended = await asyncio.to_thread(
        sessions.end_older_clients, APP, time.time() + 1, door.node.console
    )
    assert ended == 1
    assert await statement == "done"
    assert time.monotonic() - begun > sessions.AT_WORK
    for each in (working, lingering):
        await eventually("its end", each.is_closed)


# ---------------------------------------------------------------- console
def test_the_monitoring_role_sees_and_does_nothing(door: Door) -> None:
    """Over TLS with its password; SHOW, and no command."""
    found = csv.DictReader(io.StringIO(door.watch("SHOW CLIENTS")))
    assert MONITORING in {row["user"] for row in found}
    for command in ("RELOAD", "PAUSE", "SHUTDOWN"):
        with pytest.raises(EmbeddedError, match="admin access needed"):
            door.watch(command)


def test_no_other_role_sees_the_console(door: Door) -> None:
    """The service's own least of all."""
    with pytest.raises(EmbeddedError, match="FATAL"):
        door.psql("SHOW CLIENTS", APP, FIRST, "pgbouncer")


def test_whoever_runs_it_may_do_all(door: Door) -> None:
    """By its socket on the node itself, without a password."""
    rows = csv.DictReader(io.StringIO(door.node.console("SHOW CONFIG")))
    chosen = {row["key"]: row["value"] for row in rows}
    assert chosen["pool_mode"] == "transaction"
    assert chosen["auth_type"] == "hba"
    door.node.console("RELOAD")
