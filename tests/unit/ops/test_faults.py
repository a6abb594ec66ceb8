"""Who is struck by each fault, how long it lasts, and when the stack goes on without a standby."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ops.cluster import Container
from ops.drills import faults
from ops.drills.faults import FAULTS, Fault, Targets
from ops.drills.stage import Stage
from ops.snapshot import Node, Snapshot
from service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[3]

PRIMARY = Node("postgres2", "primary", "primary", healthy=True, lsn="0/1", timeline=1)
STANDBY = Node("postgres1", "secondary", "secondary", healthy=True, lsn="0/1", timeline=1)
CONTAINERS = [
    Container(name, "running", "Up (healthy)") for name in ("app1", "db-migrate", "postgres1")
]
BEFORE = Snapshot(
    containers=CONTAINERS, nodes=[STANDBY, PRIMARY], writable=["postgres2"], vip_holder="haproxy2"
)


class Told(Stage):
    """A stage that breaks nothing and notes what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        super().__init__(
            BEFORE,
            mark=lambda what, kind: self.told.append(f"{kind}: {what}"),
            measure=lambda: self.told.append("measure"),
        )

    def kill(self, *containers: str) -> None:
        """Note it."""
        self.told.append(f"kill {' '.join(containers)}")

    def freeze(self, container: str) -> None:
        """Note it."""
        self.told.append(f"freeze {container}")

    def kill_process(self, container: str, what: str, pids: str) -> None:  # noqa: ARG002
        """Note it."""
        self.told.append(f"kill {what} in {container}")

    def cut(self, container: str, other: str | None = None) -> None:
        """Note it."""
        self.told.append(f"cut {container}" + (f" from {other}" if other else ""))

    def empty(self, container: str) -> None:
        """Note it."""
        self.told.append(f"empty {container}")

    def lose(self, container: str, percent: int) -> None:
        """Note it."""
        self.told.append(f"{container} loses {percent}")

    def stall(self, container: str) -> None:
        """Note it."""
        self.told.append(f"stall {container}")

    def withhold(self, standby: str) -> None:
        """Note it."""
        self.told.append(f"nothing for {standby}")

    def damage(self, node: str) -> None:
        """Note it."""
        self.told.append(f"damage {node}")

    def bound(self, node: str) -> None:
        """Note it."""
        self.told.append(f"bound {node}")

    def fill(self, node: str) -> None:
        """Note it."""
        self.told.append(f"fill {node}")

    def mend(self) -> None:
        """Note it."""
        self.told.append("mend")


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Told:
    """A stage, and a cluster that does at once whatever it is asked for."""
    stage = Told()

    def verb(name: str) -> Callable[..., None]:
        return lambda *_: stage.told.append(name)

    monkeypatch.setattr(faults.operate, "wait_for", lambda what, *_: stage.told.append(what))
    for name in ("switchover", "await_whole"):
        monkeypatch.setattr(faults.operate, name, verb(name))
    monkeypatch.setattr(
        faults.operate, "promote", lambda node: stage.told.append(f"promote {node}")
    )
    monkeypatch.setattr(faults.operate, "restart_rolling", lambda say: say("app1 restarted"))
    return stage


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("primary-killed", ["kill postgres2"]),
        ("postgres-killed", ["kill PostgreSQL in postgres2"]),
        ("primary-frozen", ["freeze postgres2"]),
        ("primary-cut-off", ["cut postgres2"]),
        ("replication-cut", ["cut postgres2 from postgres1"]),
        ("standby-killed", ["kill postgres1"]),
        ("standby-frozen", ["freeze postgres1"]),
        ("standby-cut-off", ["cut postgres1"]),
        ("monitor-killed", ["kill pg-monitor"]),
        ("monitor-lost", ["empty pg-monitor"]),
        (
            "returned-damaged",
            ["kill postgres2", "another primary", "damage postgres2", "mend"],
        ),
        ("proxy-killed", ["kill haproxy2"]),
        ("haproxy-killed", ["kill haproxy in haproxy2"]),
        ("keepalived-killed", ["kill keepalived in haproxy2"]),
        ("proxy-cut-off", ["cut haproxy2"]),
        ("app-killed", ["kill app1"]),
        ("app-frozen", ["freeze app1"]),
        ("switchover", ["fault: postgres2 hands over", "switchover"]),
        ("rolling-restart", ["fault: rolling restart", "event: app1 restarted"]),
        (
            "returned-node",
            ["kill postgres1", "a primary that goes on alone", "measure", "mend"],
        ),
        (
            "standby-then-primary",
            ["kill postgres1", "a primary that goes on alone", "kill postgres2"],
        ),
        (
            "disk-full",
            ["bound postgres1", "promote postgres1", "await_whole", "measure", "fill postgres1"],
        ),
        ("power-lost", ["kill app1 postgres1"]),
        ("lossy-network", ["postgres2 loses 5"]),
        ("short-stall", ["stall postgres2"]),
        ("saturation", ["fault: more load than can be served"]),
    ],
)
def test_each_fault_strikes_its_role(stage: Told, name: str, steps: list[str]) -> None:
    """Step by step; what only runs once and is over is not killed with the rest."""
    FAULTS[name].inject(stage)
    assert stage.told == steps


def test_every_fault_is_in_the_table_above() -> None:
    """A new one is added there."""
    (mark,) = test_each_fault_strikes_its_role.pytestmark  # type: ignore[attr-defined]
    assert [name for name, _ in mark.args[1]] == list(FAULTS)


DRILLS, RESULTS = ((ROOT / "docs" / page).read_text() for page in ("drills.md", "results.md"))


def left_out() -> set[str]:
    """Return what a soak does not draw, as the page on drills says."""
    said = re.search(r"drawn by the seed \(not\s([^)]+)\)", DRILLS)
    assert said
    return set(re.findall(r"`([a-z-]+)`", said[1]))


def aimed_at(name: str) -> list[float | None]:
    """Return the targets for pauses of writes and reads, from a fault's newest row of results."""
    row = next(line for line in RESULTS.splitlines() if line.startswith(f"| {name} |"))
    found = [re.search(r"≤ ([0-9.]+)", cell) for cell in row.split("|")[3:5]]
    return [float(each[1]) if each else None for each in found]


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_drawn_and_measured_as_the_pages_say(stage: Told, name: str) -> None:
    """A target that is not met is not moved without its results."""
    fault = FAULTS[name]
    fault.inject(stage)
    assert fault.random is (name not in left_out())
    assert [fault.targets.writes, fault.targets.reads] == aimed_at(name)


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_lasts_until_it_has_shown_what_it_is_for(stage: Told, name: str) -> None:
    """A silence is noticed later than a death; a full disk is to outlast what requests wait."""
    fault = FAULTS[name]
    fault.inject(stage)
    if any(step.startswith(("freeze", "cut")) for step in stage.told):
        assert fault.hold > FAULTS["primary-killed"].hold
    if any(step.startswith("fill") for step in stage.told):
        assert fault.hold > Settings.model_fields["request_deadline"].default
    if fault.load > 1:  # the load is the fault: longer than one that breaks something
        assert fault.hold > FAULTS["primary-frozen"].hold
    assert (fault.load > 1) is (name == "saturation")


ENDS_CONNECTIONS = {
    *("proxy-killed", "haproxy-killed", "keepalived-killed"),
    *("rolling-restart", "power-lost"),
}
"""What ends connections that nobody in front holds: requests in them fail without retries."""

NOTHING_TO_DECIDE = {
    *("monitor-killed", "monitor-lost", "replication-cut", "saturation"),
    *("lossy-network", "short-stall"),
}
"""The primary is well, or will be at once, so its role may not move."""


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_says_what_it_may_cost(stage: Told, name: str) -> None:
    """A client without retries some requests, the primary its role; else it is a target missed."""
    targets = FAULTS[name].targets
    FAULTS[name].inject(stage)
    assert targets.plain_may_fail is (name in ENDS_CONNECTIONS)
    assert targets.failover is (False if name in NOTHING_TO_DECIDE else None)


def test_a_function_becomes_a_fault_by_its_decorator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line of its docstring is what operators read; it may be drawn by default."""
    known: dict[str, Fault] = {}
    monkeypatch.setattr(faults, "FAULTS", known)

    def inject(_: Stage) -> None:
        """Something breaks.

        This is for programmers.
        """

    assert faults.fault("one", Targets())(inject) is inject
    assert faults.fault("other", Targets(), 3.0, 2.0, random=False)(inject) is inject
    summary = "Something breaks."
    assert known == {
        "one": Fault("one", summary, inject, faults.BRIEF, Targets(), 1.0, random=True),
        "other": Fault("other", summary, inject, 3.0, Targets(), 2.0, random=False),
    }


# ---------------------------------------------------------------- without a standby
def node(name: str, state: str, *, assigned: str = "", **more: bool) -> Node:
    """Make a node that is where the monitor wants it, if nothing else is said."""
    given = {"healthy": True, "in_sync": False} | more
    return Node(name, state, assigned or state, lsn="0/1", timeline=1, **given)


ALONE = node("a", "wait_primary")
LEADS = node("a", "primary")
GONE = node("b", "secondary", healthy=False)
SYNC = node("c", "secondary", in_sync=True)


@pytest.mark.parametrize(
    ("nodes", "goes_on"),
    [
        ([ALONE, GONE], True),
        ([node("a", "primary", assigned="wait_primary"), GONE], False),
        ([node("a", "wait_primary", assigned="primary"), GONE], False),
        ([LEADS, GONE], False),
        ([LEADS, node("b", "secondary", healthy=False, in_sync=True)], False),
        ([LEADS, GONE, SYNC], True),
        ([LEADS, node("b", "secondary"), SYNC], False),
        ([LEADS, GONE, node("c", "secondary")], False),
    ],
)
def test_a_primary_goes_on_without_its_standby(nodes: list[Node], goes_on: bool) -> None:
    """A pair: alone, and the monitor agrees. With a third: it is in sync, and one is missing."""
    waits = faults._goes_on_alone
    assert waits(Snapshot(nodes=nodes, writable=["a"])) is goes_on
    assert not waits(Snapshot(nodes=nodes))
