"""The runbook is followed: each test makes a heading's state, and runs what its text says.

Headings that other files have a test for carry the same mark there; tests/unit/test_runbook.py
looks that every heading is somebody's.
"""

from __future__ import annotations

import re
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from ops import cluster, snapshot
from ops.diagnosis import diagnose
from tests.runbook import section
from tests.stack.support import (
    BASE_URL,
    CLIENT_TIMEOUT,
    REDUNDANT_LIMIT,
    RESUME_LIMIT,
    ROOT,
    UP_LIMIT,
    create_user,
    docker,
    is_redundant,
    is_whole,
    kill,
    new_user,
    other,
    primary,
    psql,
    sql,
    token_of,
    wait_until,
)
from tests.stack.test_edge import statistics

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORT = "3"
"""Seconds that a client of a database that is away gives its request (Request-Timeout)."""

PAUSED_MOST = 30.0
"""Seconds within which requests that cannot be served are answered; the service holds for 10."""

STOP_KEEPER = """for each in /proc/[0-9]*; do
    [ "$(cat $each/comm)" != pg_autoctl ] || kill -STOP ${each#/proc/}
done"""


def follow(heading: str, command: str, limit: float = UP_LIMIT, **instead: str) -> str:
    """Run a command that stands under a heading, with words of it replaced; it must end well.

    Returns what it said on both outputs.
    """
    assert command in section(heading), f'"{heading}" does not say `{command}`'
    for word, by in instead.items():
        command = command.replace(word, by)
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False, timeout=limit,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stdout}"
    return done.stdout


def named(heading: str) -> bool:
    """Tell whether `status` sends its reader to a heading."""
    return any(problem.heading == heading for problem in diagnose(snapshot.take()))


def metrics() -> str:
    """Return what both instances of the service count, scraped as the runbook says."""
    urls = [f"http://{app}:8000/metrics" for app in cluster.APPS]
    return "\n".join(docker("exec", "psql-client", "curl", "-fsS", url) for url in urls)


def total(metric: str) -> float:
    """Return the sum of a metric's values, whatever its labels."""
    return sum(
        float(value)
        for value in re.findall(rf"^{metric}(?:{{.*}})? (\S+)$", metrics(), re.MULTILINE)
    )


@contextmanager
def paused(*containers: str) -> Iterator[None]:
    """Let containers stand still: nothing ends, and nobody answers."""
    docker("pause", *containers)
    try:
        yield
    finally:
        docker("unpause", *containers)


@pytest.mark.runbook("Is anything wrong? What to alert on")
def test_every_signal_is_there() -> None:
    """Where the text says, with the password that it names."""
    text = section("Is anything wrong? What to alert on")
    published = httpx.get("http://localhost:8404/metrics", auth=statistics()).text + metrics()
    signals = re.findall(r"\b((?:haproxy|holdfast)_\w+)", text.partition("| signal |")[2])
    assert len(signals) > 10
    assert [name for name in signals if name not in published] == []


@pytest.mark.runbook("No node accepts writes")
def test_no_node_accepts_writes() -> None:
    """Monitor and nodes are down: started again, each finds its role."""
    heading = "No node accepts writes"
    kill("pg-monitor", "postgres1", "postgres2")
    assert named(heading)
    follow(heading, "docker start pg-monitor")
    follow(heading, "docker start postgres1 postgres2")
    wait_until("a whole stack", REDUNDANT_LIMIT, is_whole)
    shown = follow(heading, "docker exec pg-monitor pg_autoctl show state")
    assert "wait_primary" not in shown
    assert "primary" in shown
    assert follow(heading, "docker exec pg-monitor pg_autoctl show events")
    asked = "docker exec postgres2 psql -d postgres -c 'SHOW transaction_read_only'"
    assert " off\n" in follow(heading, asked, postgres2=primary())


@pytest.mark.runbook("Two nodes accept writes")
def test_two_nodes_accept_writes() -> None:
    """An old primary thaws and its keeper does not: writes are refused until it is stopped."""
    heading = "Two nodes accept writes"
    old = primary()
    new = other(old)
    docker("exec", old, "sh", "-c", STOP_KEEPER)
    with paused(old):
        wait_until("another primary", RESUME_LIMIT, lambda: cluster.find_primary() == new)
    wait_until("two that accept writes", RESUME_LIMIT, lambda: named(heading))
    shown = follow(heading, "pg_autoctl show state", pg_autoctl="docker exec pg-monitor pg_autoctl")
    assert re.search(rf"{new} .*wait_primary", shown)
    follow(heading, "docker stop", stop=f"stop --time 5 {old}")  # its keeper stands still
    assert create_user().status_code == httpx.codes.CREATED
    docker("start", old)
    wait_until("its return as a standby", REDUNDANT_LIMIT, is_redundant)
    assert primary() == new


@pytest.mark.runbook("A data node is down")
@pytest.mark.runbook("Commits are on one node only")
def test_a_standby_is_down() -> None:
    """Writes are answered `local` until it is back."""
    standby = other(primary())
    kill(standby)
    wait_until("commits on one node", RESUME_LIMIT, lambda: named("Commits are on one node only"))
    assert create_user().headers["durability"] == "local"
    assert total("holdfast_database_local_commits_total") > 0
    follow("A data node is down", "docker start postgresN", postgresN=standby)
    wait_until("a standby in sync", REDUNDANT_LIMIT, is_redundant)
    wait_until(
        "two nodes for a commit",
        RESUME_LIMIT,
        lambda: "durability" not in create_user().headers,
    )


@pytest.mark.runbook("The machine is overloaded")
@pytest.mark.runbook("A volume is full")
def test_what_there_is_to_look_at() -> None:
    """The state itself is the drills' (saturation, disk-full); what to look at can be looked at."""
    assert "some avg10=" in follow("The machine is overloaded", "cat /proc/pressure/cpu")
    follow("The machine is overloaded", "docker stats", stats="stats --no-stream")
    full = "A volume is full"
    assert "Use%" in follow(
        full, "docker exec postgresN df -h /var/lib/postgresql", postgresN="postgres1"
    )
    assert "docker exec postgresN du -sh /var/lib/postgresql/*" in section(full)
    slots = re.search(r"`(SELECT slot_name[^`]*)`", section(full))
    assert slots is not None
    assert "pgautofailover_standby" in docker(
        "exec", primary(), "psql", "-d", "postgres", "-c", slots[1]
    )


@pytest.mark.runbook("The monitor is down")
def test_the_monitor_is_down() -> None:
    """Nothing is wrong for clients."""
    kill("pg-monitor")
    assert named("The monitor is down")
    assert create_user().status_code == httpx.codes.CREATED
    follow("The monitor is down", "docker start pg-monitor")
    wait_until("a whole stack", REDUNDANT_LIMIT, is_whole)


@pytest.mark.runbook("A container is down")
@pytest.mark.runbook("Nobody holds the virtual IP")
@pytest.mark.runbook("The published ports do not answer")
def test_proxies_and_edge_are_down() -> None:
    """Each has its heading, and is started as it says."""
    kill("haproxy1", "haproxy2", "vip-access", "psql-client")
    wait_until("no holder", RESUME_LIMIT, lambda: named("Nobody holds the virtual IP"))
    assert named("The published ports do not answer")
    assert named("A container is down")
    follow("A container is down", "docker start NAME", NAME="psql-client")
    follow("Nobody holds the virtual IP", "docker start haproxy1 haproxy2")
    assert follow("Nobody holds the virtual IP", "docker logs haproxy1")
    follow("The published ports do not answer", "docker start vip-access")
    wait_until("a whole stack", REDUNDANT_LIMIT, is_whole)
    follow("The published ports do not answer", "docker restart vip-access")


@pytest.mark.runbook("Commits are in doubt")
@pytest.mark.runbook("Clients get 503")
@pytest.mark.runbook("Requests are held")
def test_commits_are_in_doubt() -> None:
    """Held while nobody confirms them; what is sent again with its key is applied once."""
    body = new_user("doubt")
    with ThreadPoolExecutor(1) as client, paused("pg-monitor", other(primary())):
        sent = client.submit(
            httpx.post, f"{BASE_URL}/api/users", json=body,
            headers={"Request-Timeout": SHORT}, timeout=CLIENT_TIMEOUT,
        )  # fmt: skip
        wait_until(
            "a request that is held", PAUSED_MOST, lambda: total("holdfast_database_units_held") > 0
        )
        answer = sent.result(CLIENT_TIMEOUT)
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
    assert f"- `{answer.json()['type']}`" in section("Clients get 503")
    assert "commit-in-doubt" in answer.json()["type"]
    key = {"Idempotency-Key": answer.headers["idempotency-key"]}
    again = httpx.post(f"{BASE_URL}/api/users", json=body, headers=key, timeout=CLIENT_TIMEOUT)
    assert again.status_code == httpx.codes.CREATED, again.text
    wait_until(
        "no request that is held", RESUME_LIMIT, lambda: total("holdfast_database_units_held") == 0
    )
    assert sql(f"SELECT count(*) FROM users WHERE email = '{body['email']}'") == ["1"]  # noqa: S608


@pytest.mark.runbook("Idempotency keys pile up")
def test_keys_pile_up() -> None:
    """Both statements are the application's to run."""
    heading = "Idempotency keys pile up"
    create_user()
    for statement in (
        "SELECT count(*), min(expires_at) FROM idempotency_keys",
        "DELETE FROM idempotency_keys WHERE expires_at < now()",
    ):
        assert statement in section(heading)
        done = subprocess.run(
            ["make", "psql", f'ARGS=-c "{statement}"'], cwd=ROOT, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=UP_LIMIT,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@pytest.mark.runbook("The audit is not looked after")
def test_the_audit_is_looked_after_by_hand() -> None:
    """As the primary does each minute."""
    heading = "The audit is not looked after"
    waiting = re.findall(r"`(docker exec [^`]*)`", section(heading))[0]
    assert re.search(r"^ +0$", follow(heading, waiting), re.MULTILINE)
    follow(heading, "docker exec $(make -s primary) keep-audit")


@pytest.mark.runbook("The standby lags")
def test_the_standby_lags() -> None:
    """Its replay stands still: a reader with a token reads its write all the same."""
    heading = "The standby lags"
    standby = other(primary())
    before = total("holdfast_database_readers_behind_total")
    psql(standby, "SELECT pg_wal_replay_pause()")
    try:
        wait_until("a reader that is behind", RESUME_LIMIT, lambda: _reads_its_write(before))
        shown = follow(heading, re.findall(r"`(docker exec [^`]*)`", section(heading))[0])
        assert "streaming" in shown
    finally:
        psql(standby, "SELECT pg_wal_replay_resume()")


def _reads_its_write(before: float) -> bool:
    """Write and read with the token; tell whether more readers than `before` were found behind.

    Which node a reader asks is HAProxy's choice, as its session was opened.
    """
    written = create_user("lag")
    token = token_of(written)
    url = f"{BASE_URL}{written.headers['location']}"
    with ThreadPoolExecutor(24) as clients:
        answers = clients.map(
            lambda _: httpx.get(url, headers=token, timeout=CLIENT_TIMEOUT), range(24)
        )
    assert {answer.status_code for answer in answers} == {httpx.codes.OK}
    return total("holdfast_database_readers_behind_total") > before


@pytest.mark.runbook("HAProxy does not see a node")
def test_the_role_of_the_check_is_missing() -> None:
    """There is a way to the node, and the page says why the check fails; the role is made anew."""
    heading = "HAProxy does not see a node"
    node = primary()
    docker("exec", node, "psql", "-d", "postgres", "-qc", "DROP ROLE holdfast_check")
    try:
        wait_until("a proxy that sees none", RESUME_LIMIT, lambda: named(heading))
        follow(
            heading, "docker exec haproxy1 bash -c 'echo >/dev/tcp/postgres1/5432'", postgres1=node
        )
        page = httpx.get("http://localhost:8404/", auth=statistics()).text
        assert "down: role" in page
        words = 'role "holdfast_check" does not exist'
        wait_until(
            "the node's log to say why",
            RESUME_LIMIT,
            lambda: words in follow(heading, "docker logs postgres1", postgres1=node),
        )
    finally:
        follow(
            heading,
            "docker exec postgres1 psql -d postgres -f /etc/holdfast/roles.sql",
            postgres1=node,
        )
    wait_until("a whole stack", REDUNDANT_LIMIT, is_whole)
    assert create_user().status_code == httpx.codes.CREATED


@pytest.mark.runbook("An app is out of rotation")
def test_an_app_is_out_of_rotation() -> None:
    """It says how it is, to those inside."""
    heading = "An app is out of rotation"
    health = "docker exec app1 curl -s localhost:8000/health"
    assert '"status":"ok"' in follow(heading, health).replace(" ", "")
    docker("stop", "app1")
    wait_until("an app that is out", RESUME_LIMIT, lambda: named(heading))
    follow(heading, "docker start app1")
    wait_until("a whole stack", REDUNDANT_LIMIT, is_whole)


@pytest.mark.runbook("Requests wait for a connection")
def test_requests_wait_for_a_connection() -> None:
    """A lock holds all sessions of the pool; who waits for it is seen, and goes on when it ends."""
    heading = "Requests wait for a connection"
    assert "wait_event_type = 'Lock'" in section(heading)
    node = primary()
    locked = "BEGIN; LOCK TABLE users; SELECT pg_sleep(3); COMMIT"
    asked = ("exec", node, "psql", "-qAt", "-d", "holdfast", "-c")
    holder = threading.Thread(target=docker, args=(*asked, locked))
    holder.start()
    waiting = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with ThreadPoolExecutor(60) as clients:
        answers = [clients.submit(create_user, "pool") for _ in range(60)]
        wait_until(
            "one that waits for the lock", PAUSED_MOST, lambda: docker(*asked, waiting) == "t\n"
        )
        wait_until(
            "one that waits for a session",
            PAUSED_MOST,
            lambda: total("holdfast_database_pool_waiting") > 0,
        )
        assert {each.result(CLIENT_TIMEOUT).status_code for each in answers} == {201}
    holder.join(PAUSED_MOST)
    wait_until(
        "none that waits", RESUME_LIMIT, lambda: total("holdfast_database_pool_waiting") == 0
    )


@pytest.mark.runbook("HAProxy's sessions grow with every failover")
def test_a_proxy_is_restarted() -> None:
    """Sessions that stayed behind are gone with it; clients go on."""
    assert "`docker restart` of a proxy" in section("HAProxy's sessions grow with every failover")
    holder = cluster.find_vip_holder()
    spare = next(each for each in cluster.PROXIES if each != holder)
    docker("restart", spare)
    assert create_user().status_code == httpx.codes.CREATED
    wait_until("a whole stack", REDUNDANT_LIMIT, is_whole)


@pytest.mark.runbook("Everything is off, after a power cut")
def test_everything_is_off() -> None:
    """`make up` is all there is to do."""
    kill(*(each.name for each in cluster.containers() if each.name != cluster.ONE_SHOT))
    follow("Everything is off, after a power cut", "make up")
    assert is_whole()
    assert create_user().status_code == httpx.codes.CREATED


@pytest.mark.runbook("After a restore")
def test_a_new_history() -> None:
    """A token from before is refused, not believed."""
    heading = "After a restore"
    token = token_of(create_user())
    follow(heading, "docker exec $(make -s primary) psql -d holdfast -c 'SELECT begin_history()'")
    answer = httpx.get(f"{BASE_URL}/api/users", headers=token, timeout=CLIENT_TIMEOUT)
    wait_until("a refusal", RESUME_LIMIT, lambda: _refused(token))
    assert answer.status_code in {httpx.codes.OK, httpx.codes.CONFLICT}
    assert create_user().status_code == httpx.codes.CREATED


def _refused(token: dict[str, str]) -> bool:
    answer = httpx.get(f"{BASE_URL}/api/users", headers=token, timeout=CLIENT_TIMEOUT)
    return "consistency-token-of-another-history" in answer.text
