"""POOLER=yes on the real stack: switched on and off beside clients, and what is told of poolers.

The whole drill set through them is `POOLER=yes make up`, then `./holdfast drill all`.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ops import cluster, operate
from tests.stack.support import RESUME_LIMIT, Writer, docker, make, primary, run, sql, wait_until
from tests.stack.watched import SCRAPED_LIMIT, monitoring

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.long

ON = """
    SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = 'holdfast_app' AND client_addr IS NULL
"""
END = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE query LIKE '%pg_sleep(90)%' AND pid <> pg_backend_pid()
"""
SIGNAL = """for each in /proc/[0-9]*; do
    read -r name <$each/comm && [ $name = pgbouncer ] && kill -{} ${{each#/proc/}}
done; true"""
HELD = "BEGIN; SET LOCAL statement_timeout = 0; SELECT pg_sleep(90)"
POOL = 20
"""Sessions of PostgreSQL for one role (deploy/postgres/pgbouncer.ini)."""


@contextmanager
def poolers() -> Iterator[None]:
    """Have a pooler on each node; none afterwards, as by default."""
    try:
        make("up", POOLER="yes")
        yield
    finally:
        make("up", POOLER="no")


def test_it_is_switched_on_and_off_and_nothing_fails() -> None:
    """Nodes and proxies are replaced in turns: clients that never retry are all served."""
    with Writer() as writer:
        with poolers():
            wait_until("sessions by the node's socket", RESUME_LIMIT, lambda: sql(ON) == ["t"])
            writer.await_writes()
            operate.switchover()
            writer.await_writes()
        writer.await_writes()
    assert writer.failed == []
    assert writer.lost() == set()


def test_passwords_and_certificates_are_taken_up() -> None:
    """Rotated beside clients that never retry; the old password leads nowhere any more."""
    with poolers(), Writer() as writer:
        done = run("ops.cli", "secrets", "rotate", "db_password", "read_password")
        assert done.returncode == 0, done.stdout
        for node in ("postgres1", "postgres2"):
            told = cluster.ask(node, *cluster.POOLER, "--csv", "-c", "RELOAD")
            assert "RELOAD" in told
        writer.await_writes()
    assert writer.failed == []


@pytest.mark.runbook("The pooler of a node is down")
def test_one_that_ends_is_started_again() -> None:
    """Within a second; who had a session through it gets another one."""
    with poolers(), Writer() as writer:
        node = primary()
        begun = time.monotonic()
        cluster.ask(node, *cluster.POOLER, "-c", "SHUTDOWN")
        writer.await_writes()
        assert time.monotonic() - begun < RESUME_LIMIT
        wait_until(
            "it to answer",
            RESUME_LIMIT,
            lambda: cluster.ask(node, *cluster.POOLER, "-c", "SHOW VERSION"),
        )
    assert writer.failed == []


def test_a_pooler_that_does_not_answer_is_told() -> None:
    """It stands still, and its PostgreSQL does not: a page."""
    with monitoring({"POOLER_DOWN_FOR": "5s"}, POOLER="yes") as watched:
        standby = next(name for name in ("postgres1", "postgres2") if name != primary())
        wait_until("its metrics", SCRAPED_LIMIT, lambda: watched.query("pgbouncer_up == 1"))
        with still(standby):
            watched.await_alerts("PoolerDown")
        watched.await_none()


def test_clients_that_wait_are_told() -> None:
    """All sessions of a role are busy, and one client more comes."""
    with monitoring({"POOLER_WAIT_FOR": "5s"}, POOLER="yes") as watched:
        busy = [
            subprocess.Popen(
                ["docker", "exec", cluster.CLIENT, "psql", "-qAt", "-c", HELD],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            for _ in range(POOL + 5)
        ]  # fmt: skip
        try:
            with Writer():  # whose requests wait, and come again
                watched.await_alerts("PoolerWaiting")
        finally:
            for each in busy:
                each.terminate()
            cluster.query(primary(), END, "postgres")


@contextmanager
def still(node: str) -> Iterator[None]:
    """Have a node's PgBouncer stand still."""
    docker("exec", node, "bash", "-c", SIGNAL.format("STOP"))
    try:
        yield
    finally:
        docker("exec", node, "bash", "-c", SIGNAL.format("CONT"))
