"""A peer that vanishes without a word, no FIN and no RST, is given up in seconds.

The proxy that holds the virtual IP drops whatever belongs to the connections that the apps have
to the write port, both ways; new connections pass.
"""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx

from ops import cluster
from tests.stack.support import (
    BASE_URL,
    CLIENT_TIMEOUT,
    address,
    create_user,
    docker,
    dropping,
    sql,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

APPS = ("app1", "app2")

NOTICED = 5.0
"""Seconds within which a request is answered: silence is noticed after DB_TCP_TIMEOUT, 3 s. Less
than DB_STATEMENT_TIMEOUT * 1.2, 6 s, after which the service gives any peer up."""

LOCKED = 1.5
"""Seconds that a row stays locked from the moment the connections fall silent."""

ORPHANED = 5.0
"""Seconds after which PostgreSQL ends a transaction that nobody continues
(idle_in_transaction_session_timeout, service/database/session.py)."""


@contextmanager
def silence() -> Iterator[None]:
    """Make all connections that the apps have to :6432 now lead nowhere."""
    holder = cluster.find_vip_holder()
    assert holder is not None
    apps = [address(app) for app in APPS]
    found = docker("exec", holder, "ss", "-Htn", "state", "established", "sport = :6432")
    ends = [end for end in re.findall(r"([\d.]+):(\d+)", found) if end[0] in apps]
    assert {one for one, _ in ends} == set(apps)
    theirs = ", ".join(f"{one} . {port}" for one, port in ends)
    with dropping(
        holder,
        received=f"tcp dport 6432 ip saddr . tcp sport {{ {theirs} }}",
        sent=f"tcp sport 6432 ip daddr . tcp dport {{ {theirs} }}",
    ):
        yield


def timed(request: Callable[[], httpx.Response]) -> tuple[float, httpx.Response]:
    """Send a request and say how long its answer took."""
    begun = time.monotonic()
    answer = request()
    return time.monotonic() - begun, answer


def test_idle_connections_fall_silent() -> None:
    """Writes that meet them succeed on new ones, once the old ones have been given up."""
    for _ in range(10):
        create_user("silence")
    with ThreadPoolExecutor(8) as clients, silence():
        answers = list(clients.map(lambda _: timed(lambda: create_user("silence")), range(8)))
    times = sorted(took for took, _ in answers)
    print("idle:", [f"{took:.2f}" for took in times])
    assert [answer.status_code for _, answer in answers] == [201] * 8, answers
    assert times[-1] < NOTICED


def test_a_connection_falls_silent_in_the_middle_of_a_statement() -> None:
    """A change that waits for a row's lock succeeds, too: the lost session does not keep the row.

    The lost session gets the lock first, when it is released, and has nobody left to tell: the
    retry waits behind it until PostgreSQL ends it.
    """
    user = create_user("silence").json()
    where = f"{BASE_URL}/api/users/{user['id']}"
    lock = f"""BEGIN; SELECT 1 FROM users WHERE id = {user["id"]} FOR UPDATE;
        SELECT pg_sleep({LOCKED + 1}); COMMIT"""  # noqa: S608 - a number from the database

    def change() -> httpx.Response:
        return httpx.patch(where, json={"name": "Changed"}, timeout=CLIENT_TIMEOUT)

    with ThreadPoolExecutor(2) as helpers:
        locked = helpers.submit(sql, lock)
        wait_until("the lock", 10, lambda: _sessions("wait_event = 'PgSleep'"))
        changed = helpers.submit(timed, change)
        wait_until("the change to wait for it", 10, lambda: _sessions("wait_event_type = 'Lock'"))
        with silence():
            took, answer = changed.result()
        locked.result()
    print(f"in the middle of a statement: {took:.2f} s, attempts {answer.headers['x-attempts']}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["name"] == "Changed"
    assert took < LOCKED + ORPHANED + 2


def _sessions(state: str) -> bool:
    return sql(f"SELECT count(*) FROM pg_stat_activity WHERE {state}") != ["0"]  # noqa: S608
