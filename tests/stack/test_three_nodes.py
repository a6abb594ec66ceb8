"""NODES=3: a third node comes and goes on a running stack, and two copies outlast one loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ops import cluster, names, snapshot
from ops.drills.runner import run_one
from ops.drills.three import OF_THREE, drills
from ops.load.plan import Plan
from tests.stack.support import (
    REDUNDANT_LIMIT,
    RESUME_LIMIT,
    Writer,
    docker,
    kill,
    node_behind,
    other,
    primary,
    run,
    start,
    wait_until,
)
from tests.stack.test_drills import READS, WRITES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT = 300.0
"""Seconds for a node to come or go: `make up`, a copy of the primary."""

THIRD = cluster.NODES[2]

AS_WELL = ("standby-killed", "replication-cut", "monitor-lost")
"""What a third node changes."""


@pytest.fixture(scope="module")
def three(running_stack: None) -> Iterator[None]:  # noqa: ARG001 - ordering only
    """Three nodes, of which the third came and goes under load; nobody notices."""
    with Writer(workers=2) as writer:
        _node("add")
        writer.await_writes()
    assert not writer.failed
    assert not writer.lost()
    assert snapshot.take().whole
    yield
    with Writer(workers=2) as writer:
        _node("remove")
        writer.await_writes()
    assert not writer.failed
    assert not writer.lost()
    assert snapshot.take().whole
    assert names.volume(THIRD) not in docker("volume", "ls", "--quiet").split()
    # Commits wait for one standby as they did before, no longer for one of two.
    standby = other(primary())
    with Writer(workers=2) as writer:
        kill(standby)
        writer.await_writes()
        start(standby)
    assert not writer.failed
    wait_until("a standby in sync", REDUNDANT_LIMIT, lambda: snapshot.take().redundant)


def _node(verb: str) -> None:
    done = run("ops.cli", "node", verb, limit=LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("three")
def test_reads_are_spread_over_all() -> None:
    """Each node gets its part."""
    found: set[str] = set()

    def all_three() -> bool:
        found.add(node_behind(6433))
        return found == set(cluster.NODES)

    wait_until("a read from each", RESUME_LIMIT, all_three)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    "name",
    [
        "primary-killed",
        *(pytest.param(name, marks=pytest.mark.long) for name in (*AS_WELL, *OF_THREE)),
    ],
)
def test_a_drill(name: str, tmp_path: Path) -> None:
    """What two nodes keep, three keep; and a copy of each commit in addition."""
    fault = drills(3)[name]
    drill = run_one(fault, Plan(writes_per_second=WRITES, reads_per_second=READS), tmp_path)
    print(drill)
    assert drill.problems == []
    assert drill.judged.findings == []
    assert drill.judged.lost_as_warned == 0
    assert drill.measured[0].failed == {"plain": 0, "careful": 0}
    assert not (drill.measured[0].moved and fault.targets.failover is False)


@pytest.mark.usefixtures("three")
def test_a_lost_standby_leaves_two_copies() -> None:
    """No answer says that its write is on one node."""
    lost = next(each for each in cluster.NODES if each != primary())
    kill(lost)
    try:
        with Writer(workers=2) as writer:
            writer.await_writes(100)
    finally:
        start(lost)
    assert not writer.failed
    assert not any(answer.local for answer in writer.answers)
