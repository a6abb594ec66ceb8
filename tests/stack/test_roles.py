"""What the stack's roles may do beside what they are for: nothing that PostgreSQL can forbid."""

from __future__ import annotations

import subprocess

import pytest

from ops import cluster
from tests.functions import THERE, executable, unknown
from tests.stack.support import DOCKER_LIMIT, docker, primary, psql

pytestmark = pytest.mark.harmless

ROLES = (
    *("holdfast_app", "holdfast_read", "holdfast_monitoring", "holdfast_check"),
    "holdfast_pooler",
)
DATABASE = {"holdfast_check": "postgres", "holdfast_pooler": "postgres"}


def as_role(role: str, sql: str) -> str:
    """Run SQL on the primary as a role; return what it says, be it an error."""
    command = [
        *("docker", "exec", primary(), "psql", "-d", DATABASE.get(role, "holdfast"), "-qAt"),
        *("-c", f"SET SESSION AUTHORIZATION {role}", "-c", sql),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=DOCKER_LIMIT
    )
    return (done.stdout + done.stderr).strip()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TEMPORARY TABLE mine (id int)",
        "CREATE TABLE public.mine (id int)",
        "CREATE SCHEMA mine",
        "SELECT lo_create(0)",
        "SELECT lo_from_bytea(0, 'mine')",
        "SELECT pg_logical_emit_message(false, 'mine', 'mine')",
        "SELECT pg_advisory_lock(1752132708, 1717662580)",  # the migrations'
        "SELECT pg_try_advisory_lock(1)",
        "SET temp_file_limit = -1",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ],
)
def test_no_role_does_what_it_is_not_for(role: str, sql: str) -> None:
    """Fill the disk, write to what is replicated, hold what others wait for."""
    assert "permission denied" in as_role(role, sql)


@pytest.mark.parametrize("role", ["holdfast_app", "holdfast_read", "holdfast_monitoring"])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT audit.keep(1)",
        "SELECT * FROM audit.partitions",
        "DELETE FROM audit.log_before",
        "DROP TABLE audit.log_default",
        "SELECT nextval('audit_log_id_seq')",
    ],
)
def test_no_role_gets_at_the_audit(role: str, sql: str) -> None:
    """Neither at its partitions nor at what removes them."""
    said = as_role(role, sql)
    assert "permission denied" in said or "must be owner" in said


@pytest.mark.parametrize("role", ROLES)
def test_all_that_a_role_may_execute_is_known(role: str) -> None:
    """Of functions that may change something; one that comes with a new PostgreSQL is looked at."""
    database = DATABASE.get(role, "holdfast")
    asked = ("exec", primary(), "psql", "-d", database, "-qAt", "-c")
    found, there = (set(docker(*asked, sql).split()) for sql in (executable(role), THERE))
    assert unknown(role, found, there) == set()


@pytest.mark.parametrize(
    ("role", "setting", "value"),
    [
        ("holdfast_app", "temp_file_limit", "256MB"),
        ("holdfast_read", "temp_file_limit", "256MB"),
        ("holdfast_monitoring", "statement_timeout", "30s"),
        ("holdfast_check", "transaction_timeout", "2s"),
        ("holdfast_pooler", "transaction_timeout", "2s"),
        # Through a pooler the service cannot say these as it logs in.
        ("holdfast_app", "statement_timeout", "5s"),
        ("holdfast_read", "default_transaction_read_only", "on"),
    ],
)
def test_what_a_role_takes_is_bounded(role: str, setting: str, value: str) -> None:
    """By settings of the role, which a session begins with."""
    query = "SELECT unnest(setconfig) FROM pg_db_role_setting JOIN pg_roles ON oid = setrole"
    query += f" WHERE rolname = '{role}'"
    found = psql(primary(), query).split("\n")
    assert f"{setting}={value}" in found


def at_the_monitor(sql: str) -> str:
    """Run SQL at the monitor as who watches it; return what it says, be it an error."""
    words = ("psql", "-d", "pg_auto_failover", "-qAt")
    role = ("-c", "SET SESSION AUTHORIZATION holdfast_monitoring")
    command = ["docker", "exec", cluster.MONITOR, *words, *role, "-c", sql]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=DOCKER_LIMIT
    )
    return (done.stdout + done.stderr).strip()


def test_who_watches_sees_the_nodes_and_commands_none() -> None:
    """Everybody may execute the extension's functions who may use its schema."""
    assert at_the_monitor("SELECT count(*) FROM watched.nodes") == "2"
    for sql in (
        "SELECT pgautofailover.perform_failover()",
        "SELECT pgautofailover.remove_node('postgres1', 5432, true)",
        "SELECT * FROM pgautofailover.node",
        "SELECT pg_read_file('/etc/passwd')",
    ):
        assert "permission denied" in at_the_monitor(sql), sql


@pytest.mark.parametrize(
    "sql",
    [
        "DROP FUNCTION watched.node()",
        "CREATE FUNCTION watched.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DROP SCHEMA watched CASCADE",
        "SELECT * FROM watched.node()",
    ],
)
def test_the_owner_puts_nothing_in_place_of_what_is_watched(sql: str) -> None:
    """A function of the superuser's runs as the superuser, whoever has written what it calls."""
    said = as_role("holdfast_owner", sql)
    assert "permission denied" in said or "must be owner" in said
