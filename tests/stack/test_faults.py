"""Parts of the real stack die: writes go on, and none that was acknowledged is lost.

Times are upper bounds of patience, not of speed; docs/results.md has the measured pauses.
"""

from __future__ import annotations

import pytest

from ops import cluster, operate
from tests.stack.support import (
    ADDRESSES,
    REDUNDANT_LIMIT,
    RESUME_LIMIT,
    Writer,
    create_user,
    docker,
    is_redundant,
    is_whole,
    kill,
    monitor_has,
    node_behind,
    primary,
    sql,
    start,
    wait_until,
)

IN_DOUBT = "commit-in-doubt"
STALE_FILES = (
    "/var/lib/postgresql/data/postmaster.pid",
    "/var/run/postgresql/.s.PGSQL.5432.lock",
    "/tmp/pg_autoctl/var/lib/postgresql/data/pg_autoctl.pid",  # noqa: S108 - in the container
)

SWITCHOVERS = 3


def assert_kept(writer: Writer) -> None:
    """Nothing acknowledged is lost; nothing failed but what may: commits in doubt."""
    assert writer.lost() == set()
    unexpected = [answer for answer in writer.failed if IN_DOUBT not in answer.problem]
    assert unexpected == []


def reads_come_from_the_primary() -> bool:
    """Tell whether a new connection to the read port reaches the primary; no answer is a no."""
    asked = ("psql", "-p", "6433", "-qAt", "-c", "SELECT host(inet_server_addr())")
    return ADDRESSES.get(cluster.ask("psql-client", *asked).strip()) == primary()


def assert_writes_reach_the_primary() -> None:
    """New connections to the write port all land on the one primary, and writes succeed."""
    assert {node_behind(6432) for _ in range(10)} == {primary()}
    for _ in range(10):
        assert create_user("after").status_code == 201


@pytest.mark.parametrize("direction", ["there", "and back"])
def test_the_primary_is_killed_and_returns_as_standby(direction: str) -> None:  # noqa: ARG001
    """Writes resume by themselves, the node rejoins, and writes still reach the right one."""
    old = primary()
    with Writer() as writer:
        kill(old)
        writer.await_writes()
        assert primary() != old
        start(old)
        wait_until(f"{old} in sync again", REDUNDANT_LIMIT, is_redundant)
        # The returned node answers queries now: a role-blind check would send it writes.
        writer.await_writes()
    assert_kept(writer)
    assert primary() != old
    assert_writes_reach_the_primary()


def test_the_proxy_with_the_virtual_ip_is_killed() -> None:
    """The other proxy takes the address over; when the killed one returns, nothing moves."""
    holder = cluster.find_vip_holder()
    assert holder is not None
    with Writer() as writer:
        kill(holder)
        writer.await_writes()
        other = cluster.find_vip_holder()
        assert other not in {None, holder}
        start(holder)
        wait_until(f"{holder} healthy", RESUME_LIMIT, lambda: _ready(holder))
        writer.await_writes()
        assert cluster.find_vip_holder() == other
    assert writer.lost() == set()


def test_the_haproxy_process_is_killed() -> None:
    """Only the process dies: the address moves all the same, and the process is started again."""
    holder = cluster.find_vip_holder()
    assert holder is not None
    before = docker("exec", holder, "pidof", "haproxy").split()
    with Writer() as writer:
        docker("exec", holder, "sh", "-c", f"kill -9 {' '.join(before)}")
        wait_until(
            "the other proxy to hold the virtual IP",
            RESUME_LIMIT,
            lambda: cluster.find_vip_holder() not in {None, holder},
        )
        writer.await_writes()
    assert writer.lost() == set()
    wait_until("haproxy to run again", RESUME_LIMIT, lambda: _runs_anew(holder, before))


def test_keepalived_is_killed() -> None:
    """The address moves; HAProxy ends with it, as its sessions could only wait in silence."""
    holder = cluster.find_vip_holder()
    assert holder is not None
    before = docker("exec", holder, "pidof", "haproxy").split()
    with Writer() as writer:
        docker("exec", holder, "sh", "-c", "kill -9 $(pidof keepalived)")
        wait_until(
            "the other proxy to hold the virtual IP",
            RESUME_LIMIT,
            lambda: cluster.find_vip_holder() not in {None, holder},
        )
        writer.await_writes()
    assert writer.lost() == set()
    assert writer.failed == []
    wait_until("haproxy to run again", RESUME_LIMIT, lambda: _runs_anew(holder, before))
    wait_until("a whole stack", REDUNDANT_LIMIT, is_whole)


@pytest.mark.parametrize("app", ["app1", "app2"])
def test_an_app_is_stopped_in_an_orderly_way(app: str) -> None:
    """SIGTERM: it leaves rotation, finishes what it has, and no client notices."""
    with Writer() as writer:
        docker("stop", app)
        writer.await_writes()
        start(app)
        wait_until(f"{app} healthy", RESUME_LIMIT, lambda: _ready(app))
    assert writer.lost() == set()
    assert writer.failed == []


def test_the_primary_is_stopped_in_an_orderly_way() -> None:
    """`docker stop` of the primary hands over first: the standby is primary before it is gone.

    Then it is a standby itself, and no commit waits for it: it leaves the quorum before it stops.
    """
    old = primary()
    with Writer() as writer:
        docker("stop", old)
        left = monitor_has(old)
        writer.await_writes()
    assert_kept(writer)
    assert primary() != old
    assert "stopping: handing the primary's role over" in docker_log(old)
    assert left == "maintenance"
    start(old)
    wait_until("its return", REDUNDANT_LIMIT, is_redundant)


def test_the_keeper_is_woken_when_promotion_is_done() -> None:
    """It reads its configuration again before it reports the promotion, instead of sleeping.

    In one switchover of a few: on a machine that is busy the signal may come late, by design.
    """
    for _ in range(SWITCHOVERS):
        old = primary()
        operate.switchover()
        wait_until("a redundant cluster", REDUNDANT_LIMIT, is_redundant)
        new = primary()
        assert new != old
        promoted = docker_log(new).rpartition("Waiting for postgres to promote")[2]
        before_the_report = promoted.partition("Confirmed promotion with the monitor")[0]
        if "Reloaded the new configuration" in before_the_report:
            return
    pytest.fail(f"not woken in any of {SWITCHOVERS} switchovers:\n{before_the_report}")


def test_the_standby_is_killed() -> None:
    """Commits wait until the monitor notices, then go on; reads come from the primary."""
    standby = next(name for name in ("postgres1", "postgres2") if name != primary())
    with Writer() as writer:
        kill(standby)
        writer.await_writes()
        # Asked again: a connection that is being made to a node when HAProxy marks it down may hang
        # until its client gives up, after 5 s here (docs/decisions/0006).
        wait_until("reads to come from the primary", RESUME_LIMIT, reads_come_from_the_primary)
    assert_kept(writer)


def test_the_monitor_is_killed() -> None:
    """The service goes on without the monitor; no role moves."""
    before = primary()
    with Writer() as writer:
        kill("pg-monitor")
        writer.await_writes(100)
        start("pg-monitor")
        wait_until("the monitor to see both nodes", REDUNDANT_LIMIT, is_redundant)
        writer.await_writes()
    assert writer.failed == []
    assert writer.lost() == set()
    assert primary() == before


def test_power_is_lost_everywhere() -> None:
    """All containers are killed at once and started again: every acknowledged write is there."""
    names = [c.name for c in cluster.containers() if c.name != cluster.ONE_SHOT]
    with Writer() as writer:
        writer.await_writes(50)
        kill(*names)
    start(*names)
    wait_until("the service to answer", REDUNDANT_LIMIT, _answers)
    wait_until("a primary and a standby in sync", REDUNDANT_LIMIT, is_redundant)
    assert writer.lost() == set()
    assert_writes_reach_the_primary()


def test_a_node_that_starts_without_the_monitor_waits_for_it() -> None:
    """A restarted node asks the monitor for its role first: no stale primary, and no lost data."""
    node = primary()
    with Writer() as writer:
        writer.await_writes()
        kill("pg-monitor", node)
    start(node)
    start("pg-monitor")
    wait_until("the service to answer", REDUNDANT_LIMIT, _answers)
    wait_until("a primary and a standby in sync", REDUNDANT_LIMIT, is_redundant)
    assert writer.lost() == set()
    assert_writes_reach_the_primary()


@pytest.mark.parametrize("name", ["pg-monitor", "postgres1", "postgres2"])
def test_stale_pid_files_harm_nobody(name: str) -> None:
    """What a killed container noted of its processes names others in the next one.

    All of it, as a kill leaves it: one file that was believed would keep the node from being well.
    """
    for stale in STALE_FILES:
        docker("exec", name, "sed", "--in-place", "1s/.*/1/", stale)
    kill(name)
    start(name)
    wait_until(f"a healthy {name}", RESUME_LIMIT, lambda: _ready(name))
    wait_until("the monitor to see both nodes", REDUNDANT_LIMIT, is_redundant)
    assert docker("inspect", "--format", "{{.RestartCount}}", name).strip() == "0"


def test_migrations_can_run_again() -> None:
    """db-migrate on a migrated database changes nothing and succeeds."""
    tables = "SELECT relname, oid FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    before = sql(tables)
    docker("start", "db-migrate")
    wait_until("db-migrate to end well", RESUME_LIMIT, lambda: _ready("db-migrate"))
    assert sql(tables) == before


def docker_log(name: str) -> str:
    """Return the end of a container's log."""
    return "\n".join(cluster.last_words(name, 200))


def _runs_anew(proxy: str, before: list[str]) -> bool:
    """Tell whether HAProxy runs there, and none of the processes of before does."""
    now = set(cluster.ask(proxy, "pidof", "haproxy").split())
    return bool(now) and not now & set(before)


def _ready(name: str) -> bool:
    return any(c.name == name and c.ready for c in cluster.containers())


def _answers() -> bool:
    try:
        return create_user("up").status_code == 201
    except Exception:  # noqa: BLE001 - whatever it is, it is not an answer yet
        return False
