"""Negative controls: what is taken away comes back, what shows is counted, and what has to show."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import pytest

from ops.console import StackError
from ops.drills import controls
from ops.drills.controls import Control
from ops.drills.history import Row
from ops.load.plan import Plan
from ops.load.run import Result
from ops.snapshot import Node, Server, Snapshot
from tests.unit import cases

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ops.drills.faults import Fault
    from ops.drills.session import Behaviour
    from ops.load.operation import Operation

PAIR = ("postgres1", "postgres2")


class Cluster:
    """A stack on which nothing happens; notes what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.known: list[Operation] = []  # what a client did
        self.there: list[Row] = []
        self.refusals: list[StackError] = []  # of the next commands in containers
        self.clients: Mapping[str, Behaviour] = {}
        self.options: dict[str, Any] = {}  # of the session
        self.now = 0.0

    def docker(self, *arguments: str) -> str:
        """Take a command."""
        assert len(self.told) < 1000, "commands without an end"
        self.told.append(f"{arguments[0]} {arguments[1]} {arguments[-1]}")
        if self.refusals:
            raise self.refusals.pop(0)
        return ""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def session(self, plan: Plan, *, clients: Mapping[str, Behaviour], **more: Any) -> Load:  # noqa: ANN401
        """Begin one."""
        self.clients, self.options = clients, more
        return Load(self, plan)

    # ------------------------------------------------------------ as a stage
    primary, standby = "postgres2", "postgres1"

    def kill(self, name: str) -> None:
        """Note it."""
        self.told.append(f"kill {name} at {self.now}")

    def cut(self, name: str, other: str) -> None:
        """Note it."""
        self.told.append(f"cut {name} from {other}")


class Load:
    """A session that strikes with what it is told to."""

    def __init__(self, stack: Cluster, plan: Plan) -> None:
        self._stack, self._plan = stack, plan

    def __enter__(self) -> Self:
        self._stack.told.append("load")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.told.append("no load")

    def strike(self, fault: Fault) -> None:
        """Break what the fault breaks."""
        fault.inject(self._stack)  # type: ignore[arg-type]

    def stop(self) -> dict[str, Result]:
        """Return what each client knows."""
        result = Result(self._plan, 1000.0, 10.0, self._stack.known, [], [], [])
        return dict.fromkeys(self._stack.clients, result)


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Two nodes and a monitor, which is none of them."""
    stack = Cluster()
    nodes = [node(name, "primary") for name in (*PAIR, "elsewhere")]

    def wait_for(what: str, _: float, fits: Callable[[Snapshot], bool]) -> None:
        assert fits is controls._asynchronous
        stack.told.append(what)

    monkeypatch.setattr(controls, "docker", stack.docker)
    monkeypatch.setattr(controls, "Session", stack.session)
    monkeypatch.setattr(controls, "rows", lambda _: stack.there)
    monkeypatch.setattr(controls.snapshot, "take", lambda: Snapshot(nodes=nodes))
    monkeypatch.setattr(controls.operate, "wait_for", wait_for)
    monkeypatch.setattr(controls.operate, "await_whole", lambda: stack.told.append("a whole stack"))
    monkeypatch.setattr(controls.time, "sleep", stack.sleep)
    monkeypatch.setattr(controls.time, "monotonic", lambda: stack.now)
    return stack


def node(name: str, state: str, *, assigned: str = "", **more: bool) -> Node:
    """Make a node that is where the monitor wants it, if nothing else is said."""
    given = {"healthy": True} | more
    return Node(name, state, assigned or state, lsn="0/1", timeline=1, **given)


@pytest.mark.parametrize(
    ("shown", "wanted", "ok"),
    [(1, True, True), (0, True, False), (1, False, False), (0, False, True), (7, True, True)],
)
def test_a_control_shows_what_it_has_to(shown: int, wanted: bool, ok: bool) -> None:
    """Something, or nothing at all."""
    assert Control("c", "C.", shown, wanted).ok is ok


def test_without_synchronous_replication_what_is_lost_counts(stack: Cluster) -> None:
    """Warned of or not. The setting comes back, and the stack is whole, before it is over."""
    lost = cases.create("a")
    stack.known = [lost, replace(cases.local(lost), entity="v"), replace(lost, entity="w")]
    stack.there = [Row("w", "a", 1)]
    control = controls.asynchronous(Plan())
    assert (control.name, control.shown, control.ok) == ("asynchronous", 2, True)
    assert control.summary.startswith("Commit without waiting for the standby")
    assert stack.told == [
        "exec postgres1 false",
        "exec postgres2 false",
        "asynchronous replication",
        "load",
        "cut postgres2 from postgres1",
        f"kill postgres2 at {controls.LAG}",
        "no load",
        "exec postgres2 true",
        "exec postgres1 true",
        "a whole stack",
    ]
    assert list(stack.clients) == ["careful"]
    assert stack.options == {"whole": controls._asynchronous}


def test_synchronous_replication_comes_back_when_it_could_not_be_taken_away(
    stack: Cluster,
) -> None:
    """Also at the node where that failed: it may have happened."""
    stack.refusals = [StackError("no such container")]
    with pytest.raises(StackError, match="no such container"):
        controls.asynchronous(Plan())
    assert stack.told == ["exec postgres1 false", "exec postgres1 true", "a whole stack"]


@pytest.mark.parametrize(
    ("control", "keyed", "shown"),
    [(controls.without_keys, False, True), (controls.with_keys, True, False)],
)
def test_refusals_of_what_a_client_did_itself_are_counted(
    stack: Cluster, control: Callable[[Plan], Control], keyed: bool, shown: bool
) -> None:
    """Its address is in use, its version is gone; the edge dies while the service holds writes."""
    statuses = (201, 409, 412, 404, 503, None)
    stack.known = [replace(cases.create(), status=status) for status in statuses]
    judged = control(Plan())
    assert judged.shown == 2
    assert judged.ok is shown
    (client,) = stack.clients.values()
    assert client.keyed is keyed
    assert (client.retries, client.reckless) == (True, not keyed)
    assert stack.told == [
        "load",
        "kill postgres2 at 0.0",
        f"kill vip-access at {controls.HELD}",
        "start vip-access vip-access",
        "no load",
    ]


def test_the_setting_comes_back_when_the_node_does(stack: Cluster) -> None:
    """It is asked again until it takes it."""
    stack.refusals = [StackError("not running")] * 3
    controls._replicate("postgres1")
    assert stack.told == ["exec postgres1 true"] * 4


def test_a_node_that_stays_away_is_named_with_what_is_to_be_done(stack: Cluster) -> None:
    """After a minute: without it commits would never wait for that node again."""
    stack.refusals = [StackError("not running")] * 1000
    with pytest.raises(StackError, match=r"(?s)not running.*docker exec postgres1 pg_autoctl set"):
        controls._replicate("postgres1")
    assert stack.now == pytest.approx(controls.QUORUM_LIMIT, abs=1.0)


# ---------------------------------------------------------------- no commit waits
SERVERS = [Server(backend, "s", "UP") for backend in ("apps", "pg_primary", "pg_any")]
LEADS, FOLLOWS = node("a", "primary"), node("b", "secondary")


def seen(*nodes: Node, servers: list[Server] = SERVERS, writable: str = "a") -> Snapshot:
    """A stack with these nodes."""
    return Snapshot(nodes=list(nodes), servers=servers, writable=[writable] if writable else [])


@pytest.mark.parametrize(
    ("now", "asynchronous"),
    [
        (seen(LEADS, FOLLOWS), True),
        (seen(LEADS), False),
        (seen(LEADS, replace(FOLLOWS, in_sync=True)), False),
        (seen(LEADS, replace(FOLLOWS, healthy=False)), False),
        (seen(LEADS, node("b", "secondary", assigned="catchingup")), False),
        (seen(LEADS, FOLLOWS, node("c", "maintenance", healthy=False)), True),
        (seen(LEADS, FOLLOWS, writable=""), False),
        *(
            (seen(LEADS, FOLLOWS, servers=[*SERVERS[:n], *SERVERS[n + 1 :]]), False)
            for n in range(3)
        ),
    ],
)
def test_replication_is_asynchronous_when_no_commit_waits(
    now: Snapshot, asynchronous: bool
) -> None:
    """There are a primary and a standby, clients reach both, and nothing is on its way."""
    assert controls._asynchronous(now) is asynchronous
