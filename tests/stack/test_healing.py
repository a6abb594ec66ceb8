"""What the cluster mends by itself: writes go on meanwhile, and no acknowledged one is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ops import cluster, names, operate, snapshot
from ops.drills import volume
from ops.drills.stage import DAMAGE
from tests.stack.support import (
    REDUNDANT_LIMIT,
    RESUME_LIMIT,
    Writer,
    docker,
    is_redundant,
    kill,
    log_of,
    make,
    other,
    primary,
    psql,
    sql,
    start,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

UP_LIMIT = 600.0
"""Seconds for `make up` with the images there."""

ASIDE = "/var/lib/postgresql/damaged"


def remove(container: str) -> None:
    """Remove a container and its volume, as the runbook does where they are beyond repair."""
    docker("rm", "--force", container)
    docker("volume", "rm", names.volume(container))


def await_copy(node: str, reason: str) -> None:
    """Wait until a node says, of this life or the one before it, why it copies the primary."""
    said = f"{reason}: a new copy"
    since = f"{REDUNDANT_LIMIT * 1.5:.0f}s"
    wait_until(
        f"{node} to begin a copy", REDUNDANT_LIMIT, lambda: said in log_of(node, "--since", since)
    )


@pytest.mark.runbook("A data node is down")
@pytest.mark.parametrize("node", ["postgres1", "postgres2"])
def test_any_node_is_made_anew(node: str) -> None:
    """Also the one that made the cluster: it copies its heir."""
    if primary() == node:
        operate.switchover()
    with Writer() as writer:
        remove(node)
        writer.await_writes()
        make("up", UP_LIMIT)
        assert primary() != node
        assert is_redundant()
    assert writer.lost() == set()
    assert writer.failed == []


@pytest.mark.runbook("The monitor is down")
def test_a_monitor_without_its_data_learns_the_cluster_anew() -> None:
    """The primary of then is the primary of now; writes never stop; and it can fail over again."""
    before = primary()
    with Writer() as writer:
        remove("pg-monitor")
        writer.await_writes()
        make("up", UP_LIMIT)
        assert primary() == before
        assert is_redundant()
        writer.await_writes()
    assert writer.lost() == set()
    assert writer.failed == []
    kill(before)
    wait_until(
        "another primary", RESUME_LIMIT, lambda: cluster.find_primary() not in {None, before}
    )
    start(before)
    wait_until("a standby in sync", REDUNDANT_LIMIT, is_redundant)


@pytest.mark.long  # the drill `returned-damaged` does it as well, but for what is kept
def test_a_node_that_returns_damaged_copies_the_primary() -> None:
    """What it had is kept aside, once; it never is the primary with it."""
    old = primary()
    with Writer() as writer:
        kill(old)
        writer.await_writes()
        volume.inside(old, DAMAGE, docker)
        start(old)
        await_copy(old, "PostgreSQL does not start here")
        wait_until(f"{old} in sync", REDUNDANT_LIMIT, is_redundant)
        assert primary() != old
    assert writer.lost() == set()
    assert docker("exec", old, "ls", ASIDE)
    docker("exec", old, "rm", "-rf", ASIDE)


def test_where_a_rewind_fails_the_copy_does_not_wait() -> None:
    """What pg_rewind stumbles over: one name, a file there and a directory here. So all is copied.

    The primary has thousands of pages to write first, ten a second if nobody is in a hurry.
    """
    old, stray = primary(), "/var/lib/postgresql/data/stray"
    new = other(old)
    docker("exec", old, "mkdir", stray)
    docker("exec", new, "touch", stray)
    _set(new, "primary_conninfo = ''")  # so that the other one has something to be rewound
    psql(old, "SET synchronous_commit = local; SELECT pg_logical_emit_message(true, '', '')")
    kill(old)
    wait_until("a new primary", RESUME_LIMIT, lambda: primary() == new)
    _set(new, "primary_conninfo", verb="RESET")
    write = "CREATE TABLE stray (n int); INSERT INTO stray SELECT generate_series(1, 1000000)"
    psql(new, write)
    start(old)
    wait_until(f"{old} in sync", REDUNDANT_LIMIT, is_redundant)
    docker("exec", old, "test", "-f", stray)
    for node in (old, new):
        docker("exec", node, "rm", stray)
    psql(new, "DROP TABLE stray")


@pytest.fixture
def little_wal() -> Iterator[str]:
    """A primary that keeps next to nothing for a standby that is away."""
    node = primary()
    _set(node, "max_slot_wal_keep_size = '16MB'", "wal_keep_size = '16MB'")
    yield node
    _set(primary(), "max_slot_wal_keep_size", "wal_keep_size", verb="RESET")


def _set(node: str, *settings: str, verb: str = "SET") -> None:
    words = [f"ALTER SYSTEM {verb} {one}" for one in settings]
    psql(node, *words, "SELECT pg_reload_conf()")


def test_a_standby_that_was_away_too_long_copies_the_primary(little_wal: str) -> None:
    """WAL is kept for it up to a bound; past that its return takes a copy, by itself."""
    standby = next(one.name for one in snapshot.take().nodes if one.name != little_wal)
    kill(standby)
    wait_until("writes without it", RESUME_LIMIT, lambda: sql("SELECT 1"))
    for _ in range(6):  # each switch leaves a segment of 16 MB behind
        fill = "SELECT pg_logical_emit_message(false, '', repeat('x', 9999)), pg_switch_wal()"
        psql(little_wal, fill, "CHECKPOINT")
    status = "SELECT wal_status FROM pg_replication_slots"
    asked = ("psql", "-d", "postgres", "-qAt", "-c", status)
    wait_until(
        "its slot to be lost",
        RESUME_LIMIT,
        lambda: cluster.ask(little_wal, *asked).strip() == "lost",
    )
    start(standby)
    await_copy(standby, "the primary has no longer the WAL that this node needs")
    wait_until(f"{standby} in sync", REDUNDANT_LIMIT, is_redundant)
    docker("exec", standby, "rm", "-rf", ASIDE)


@pytest.mark.long
def test_a_standby_that_two_promotions_left_behind_copies_the_primary() -> None:
    """Both in one segment: of its timeline the primary has that no more, whatever its slot keeps.

    A third node that is away for two failovers has the same; with two nodes the volume of one is
    held back while a copy of it goes on.
    """
    left_behind = next(one.name for one in snapshot.take().nodes if one.name != primary())
    leader = primary()
    psql(leader, "SELECT pg_switch_wal()")
    wait_until(f"{left_behind} to have that", RESUME_LIMIT, is_redundant)
    with Writer() as writer:
        writer.await_writes()  # into the segment: who begins with one asks for the newest
        volume.bound(left_behind, docker)
        operate.promote(left_behind)
        operate.wait_for("a standby in sync", REDUNDANT_LIMIT, lambda now: now.redundant)
        volume.unbound(left_behind, docker)
        await_copy(left_behind, "PostgreSQL cannot follow the primary")
        wait_until(f"{left_behind} in sync", REDUNDANT_LIMIT, is_redundant)
        assert primary() == leader
    assert writer.lost() == set()
    docker("exec", left_behind, "rm", "-rf", ASIDE)
