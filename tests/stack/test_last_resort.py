"""The primary is gone for good and no standby was in sync: a person gives up what it alone had."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from ops import cluster, loss, names, operate
from ops.console import StackError
from tests.stack.support import (
    REDUNDANT_LIMIT,
    RESUME_LIMIT,
    ROOT,
    UP_LIMIT,
    Writer,
    docker,
    is_redundant,
    kill,
    other,
    primary,
    start,
    wait_until,
)

COMMAND_LIMIT = 240.0
"""Seconds for the command: the monitor waits for a minute for a node that may still answer."""

GIVEN_UP = 5
"""Writes that only the lost primary has."""


def accept_loss(node: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command, with nobody to be asked."""
    asked = {name: value for name, value in os.environ.items() if name != "YES"}
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", "failover", node, "--accept-loss"],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env={**asked, **environment}, timeout=COMMAND_LIMIT,
    )  # fmt: skip


def goes_on_alone() -> bool:
    """Whether the monitor has let the primary go on without its standby."""
    return "wait_primary" in cluster.cluster_state()


def test_a_primary_that_works_is_not_given_up() -> None:
    """Neither for a standby in sync nor for itself; and a node that does not exist is said."""
    done = accept_loss(other(primary()), YES="1")
    assert done.returncode == 1
    assert "nothing has to be given up" in done.stderr
    with pytest.raises(StackError, match="there is no data node postgres9"):
        loss.estimate("postgres9")


@pytest.mark.runbook("No node accepts writes")
def test_acknowledged_writes_are_given_up_by_a_person_alone() -> None:
    """It says how many and since when, asks, and is one command.

    The lost node comes back with its data: it copies the new primary, and keeps what it had aside.
    """
    lost = primary()
    kept = other(lost)
    with Writer() as before:
        before.await_writes()
    began = datetime.now(UTC)
    kill(kept)
    wait_until("a primary that goes on alone", RESUME_LIMIT, goes_on_alone)
    with Writer() as alone:
        alone.await_writes(GIVEN_UP)
    kill(lost)
    start(kept)
    found = loss.estimate(kept)
    assert found.given_up == (lost,)
    assert found.wal > 0
    assert found.since is not None
    assert began - timedelta(seconds=1) < found.since < datetime.now(UTC)
    assert found.writes is None or found.writes >= len(alone.acknowledged)

    asked = accept_loss(kept)
    assert asked.returncode == 1
    assert lost in asked.stderr
    assert "YES=1" in asked.stderr
    assert cluster.find_primary() is None

    done = accept_loss(kept, YES="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert primary() == kept
    assert before.lost() == set()
    assert alone.lost() == {answer.email for answer in alone.acknowledged}

    start(lost)
    wait_until("a standby in sync", REDUNDANT_LIMIT, is_redundant)
    assert primary() == kept
    _forget_what_was_given_up(lost)


def test_a_standby_that_stepped_out_can_be_the_last_resort() -> None:
    """It was stopped in an orderly way, so it is in maintenance, from where nothing is promoted."""
    lost = primary()
    kept = other(lost)
    docker("stop", kept)
    wait_until("a primary that goes on alone", RESUME_LIMIT, goes_on_alone)
    with Writer() as alone:
        alone.await_writes(GIVEN_UP)
    kill(lost)
    start(kept)
    done = accept_loss(kept, YES="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert primary() == kept
    start(lost)
    wait_until("a standby in sync", REDUNDANT_LIMIT, is_redundant)
    _forget_what_was_given_up(lost)


def test_a_primary_that_only_stood_still_ends_itself() -> None:
    """It is not given up while it is there; if it was all the same, it does not go on."""
    lost = primary()
    kept = other(lost)
    kill(kept)
    wait_until("a primary that goes on alone", RESUME_LIMIT, goes_on_alone)
    docker("pause", lost)
    try:
        start(kept)
        refused = accept_loss(kept, YES="1")
        assert refused.returncode == 1
        assert f"{lost} is there" in refused.stderr
        docker("exec", "pg-monitor", "pg_autoctl", "drop", "node", "--name", lost, "--force")
        wait_until("another primary", RESUME_LIMIT, lambda: cluster.find_primary() == kept)
        _leave_read_only(kept)
        wait_until("writes again", RESUME_LIMIT, lambda: cluster.find_primary() == kept)
    finally:
        docker("unpause", lost)
    wait_until("a standby in sync", REDUNDANT_LIMIT, is_redundant)
    assert primary() == kept
    _forget_what_was_given_up(lost)


@pytest.mark.runbook("The monitor is down")
@pytest.mark.parametrize(
    "chosen", ["the primary", pytest.param("a standby", marks=pytest.mark.long)]
)
def test_a_monitor_lost_its_data_while_no_node_ran(chosen: str) -> None:
    """Nobody starts by himself, and a person says who was the primary; all of it is there.

    Also when that is gone for good, the node that once made the cluster: it makes no other.
    """
    old = cluster.NODES[0]
    if primary() != old:
        operate.switchover()
    with Writer() as before:
        before.await_writes()
    kill("pg-monitor", *cluster.NODES[:2])
    gone = ["pg-monitor"] if chosen == "the primary" else ["pg-monitor", old]
    for each in gone:
        docker("rm", each)
        docker("volume", "rm", names.volume(each))
    refused = up()
    assert refused.returncode == 1
    assert "nobody knows which was the primary" in refused.stdout
    assert cluster.find_primary() is None
    worse = accept_loss(other(old), YES="1") if chosen == "the primary" else None
    assert worse is None or f"make {old} the primary" in worse.stderr

    leader = old if chosen == "the primary" else other(old)
    done = accept_loss(leader, YES="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert primary() == leader
    assert up().returncode == 0
    wait_until("a standby in sync", REDUNDANT_LIMIT, is_redundant)
    assert before.lost() == set()
    if chosen == "the primary":
        _forget_what_was_given_up(other(leader))


def _leave_read_only(node: str) -> None:
    """Leave it as pg_autoctl 2.2 does when the old primary is dropped in the middle of a promotion.

    Seen once in a hundred runs: prepare_promotion, stop_replication (read-only), drop, single.
    """
    read_only = "ALTER SYSTEM SET default_transaction_read_only TO on"
    for statement in (read_only, "SELECT pg_reload_conf()"):
        docker("exec", node, "psql", "-d", "postgres", "--no-psqlrc", "-qc", statement)
    wait_until("read-only", RESUME_LIMIT, lambda: cluster.find_primary() is None)


def up() -> subprocess.CompletedProcess[str]:
    """Run `make up`, which may end with what a person has to do."""
    return subprocess.run(
        [sys.executable, "-m", "ops", "up"], cwd=ROOT, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=UP_LIMIT,
    )  # fmt: skip


def _forget_what_was_given_up(node: str) -> None:
    """See that it is kept, and remove it as a person would."""
    kept = "/var/lib/postgresql/given-up-*"
    assert "PG_VERSION" in docker("exec", node, "sh", "-c", f"ls {kept}")
    docker("exec", node, "sh", "-c", f"rm -rf {kept}")
