"""What is said thousands of times pushes nothing else out of a log."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import pytest

from ops import cluster
from tests.stack.support import (
    BASE_URL,
    CLIENT_TIMEOUT,
    DOCKER_LIMIT,
    docker,
    kill,
    log_of,
    new_user,
    primary,
    psql,
    wait_until,
)

MOST = 20
"""Lines of one kind a minute (deploy/logs/repeats), before and after a minute's end."""

KINDS = 5
"""Of lines that one fault makes a program say, at most."""

QUIET = 15.0
"""Seconds of a stack to which nothing happens."""

WRITES = 5
LOGINS = 60

LARGE = 32 * 2**20
"""Bytes of a log on a volume from which on it is set aside (deploy/postgres/bin/common.sh)."""


def said_since(container: str, moment: datetime) -> list[str]:
    """Return what a container has said since then."""
    return log_of(container, "--since", moment.isoformat()).splitlines()


def ask(times: int, at_once: int) -> list[int | None]:
    """Ask for a user that often; return the statuses of the answers, None where there was none."""
    limits = httpx.Limits(max_connections=at_once)
    with (
        httpx.Client(base_url=BASE_URL, timeout=CLIENT_TIMEOUT, limits=limits) as client,
        ThreadPoolExecutor(at_once) as pool,
    ):

        def get(_: int) -> int | None:
            try:
                return client.get("/api/users/1").status_code
            except httpx.TransportError:
                return None

        return list(pool.map(get, range(times)))


def test_nothing_is_said_when_nothing_happens() -> None:
    """By proxies, the edge, monitor and nodes: no line for announcements, checks or sessions."""
    moment = datetime.now(UTC)
    time.sleep(QUIET)
    for container in (*cluster.PROXIES, cluster.EDGE, "pg-monitor", *cluster.NODES[:2]):
        said = said_since(container, moment)
        assert len(said) <= 2, (container, said)


def test_writes_leave_no_line_at_their_node() -> None:
    """What a session tells its client is not for PostgreSQL's log: a line for each write."""
    node, moment = primary(), datetime.now(UTC)
    with httpx.Client(base_url=BASE_URL, timeout=CLIENT_TIMEOUT) as client:
        for _ in range(WRITES):
            created = client.post("/api/users", json=new_user("quiet"))
            assert created.status_code == httpx.codes.CREATED, created.text
    docker(
        "exec", node, "psql", "-d", "postgres", "-qAtc", "DO $$ BEGIN RAISE LOG 'the end'; END $$"
    )
    wait_until(
        "the log to follow", 10, lambda: any("the end" in each for each in said_since(node, moment))
    )
    said = [line for line in said_since(node, moment) if "holdfast_app" in line]
    assert not said, said


def test_a_fault_is_told_not_repeated() -> None:
    """With both proxies gone every request fails sixteen times at the edge: some are shown."""
    kill(*cluster.PROXIES)
    moment = datetime.now(UTC)
    assert not {httpx.codes.OK, httpx.codes.NOT_FOUND} & set(ask(64, at_once=64))
    said = said_since(cluster.EDGE, moment)
    assert any("repeats: more of this" in line for line in said)
    assert any("[error]" in line for line in said)
    assert len(said) <= 2 * KINDS * (MOST + 2)


def test_failed_logins_are_told_not_repeated() -> None:
    """Whoever guesses passwords does not fill the primary's log."""
    node, moment = primary(), datetime.now(UTC)
    guess = f"for i in $(seq {LOGINS}); do PGPASSWORD=wrong$i psql -c 'SELECT 1'; done"
    subprocess.run(
        ["docker", "exec", "psql-client", "bash", "-c", guess],
        capture_output=True, check=False, timeout=DOCKER_LIMIT,
    )  # fmt: skip

    def told() -> list[str]:
        found = said_since(node, moment)
        return [line for line in found if "password authentication failed" in line]

    wait_until("the log to tell of it", 10, lambda: any("repeats:" in line for line in told()))
    assert len(told()) <= 2 * (MOST + 2)


@pytest.mark.parametrize("on", ["the primary", "pg-monitor"])
def test_a_log_on_a_volume_has_a_bound(on: str) -> None:
    """What one program says in a day does not fill it: the file is set aside, and another begun."""
    node, moment = primary() if on == "the primary" else on, datetime.now(UTC)

    def size_of(file: str) -> int:
        path = f"/var/lib/postgresql/log/{file}"
        return int(docker("exec", node, "sh", "-c", f"stat -c %s {path} || echo 0").split()[-1])

    today = docker("exec", node, "date", "+postgresql-%a.log").strip()
    psql(
        node,
        f"DO $$ BEGIN FOR i IN 1..40 LOOP RAISE LOG '%', repeat('x', {2**20}); END LOOP; END $$",
    )
    wait_until("it to be set aside", 30, lambda: size_of("postgresql-before.log") > LARGE)
    wait_until("another", 30, lambda: size_of(today) < LARGE)
    psql(node, "DO $$ BEGIN RAISE LOG 'and it goes on'; END $$")
    wait_until("a line in it", 10, lambda: size_of(today) > 0)
    if on == "the primary":
        wait_until(
            "the container's log to follow", 10,
            lambda: any("and it goes on" in line for line in said_since(node, moment)),
        )  # fmt: skip
