"""The primary is gone for good and no standby was in sync: a person gives up what it alone had."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from ops import cluster, loss
from ops.console import StackError
from tests.stack.support import (
    REDUNDANT_LIMIT,
    RESUME_LIMIT,
    ROOT,
    Writer,
    docker,
    is_redundant,
    kill,
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


def other(node: str) -> str:
    """Return the other data node."""
    return next(each for each in cluster.NODES[:2] if each != node)


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
    aside = docker("exec", lost, "ls", "/var/lib/postgresql/damaged")
    assert "PG_VERSION" in aside
    docker("exec", lost, "rm", "-rf", "/var/lib/postgresql/damaged")
