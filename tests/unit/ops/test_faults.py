"""Who is struck by each fault, how long it lasts, and when the stack goes on without a standby."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ops.cluster import Container
from ops.drills import faults
from ops.drills.faults import FAULTS
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


def test_a_soak_leaves_out_what_the_page_on_drills_says() -> None:
    """All others are drawn."""
    said = re.search(r"drawn by the seed \(not\s([^)]+)\)", (ROOT / "docs/drills.md").read_text())
    assert said
    left_out = {name for name, fault in FAULTS.items() if not fault.random}
    assert left_out == set(re.findall(r"`([a-z-]+)`", said[1]))


def test_faults_are_measured_against_what_the_page_of_results_says() -> None:
    """A target that is not met is not moved without it: the newest row of each fault counts."""
    aimed_at: dict[str, list[float | None]] = {}
    for line in (ROOT / "docs/results.md").read_text().splitlines():
        name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        if name in FAULTS:
            found = [re.search(r"≤ ([0-9.]+)", cell) for cell in cells[1:3]]
            aimed_at.setdefault(name, [float(each[1]) if each else None for each in found])
    assert aimed_at == {
        name: [fault.targets.writes, fault.targets.reads] for name, fault in FAULTS.items()
    }


@pytest.mark.parametrize("name", ["monitor-killed", "saturation"])
def test_where_nothing_is_to_be_decided_no_role_may_move(name: str) -> None:
    """A target of these two only."""
    assert FAULTS[name].targets.failover is False
    assert [each.name for each in FAULTS.values() if each.targets.failover is not None] == [
        "monitor-killed",
        "saturation",
    ]


def test_a_silence_lasts_longer_than_a_death() -> None:
    """A closed connection is noticed at once; that nobody speaks any more is not."""
    silent = {name for name in FAULTS if name.endswith(("-frozen", "-cut-off", "-cut"))}
    killed = {name for name in FAULTS if name.endswith("-killed")}
    assert min(FAULTS[name].hold for name in silent) > max(FAULTS[name].hold for name in killed)


def test_a_full_disk_outlasts_what_requests_can_wait() -> None:
    """So it shows what becomes of those that are held until their deadline."""
    assert FAULTS["disk-full"].hold > Settings.model_fields["request_deadline"].default


def test_only_saturation_asks_for_more_than_the_drill_does() -> None:
    """It has no other fault."""
    assert [each.name for each in FAULTS.values() if each.load > 1] == ["saturation"]


@pytest.mark.parametrize("name", ["proxy-killed", "haproxy-killed", "keepalived-killed"])
def test_what_a_dead_proxy_had_in_hand_may_fail_without_retries(name: str) -> None:
    """Its connections end with it. Instances and nodes have somebody in front who waits."""
    assert FAULTS[name].targets.plain_may_fail
    for other in ("primary-killed", "standby-killed", "app-killed", "switchover"):
        assert not FAULTS[other].targets.plain_may_fail


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
