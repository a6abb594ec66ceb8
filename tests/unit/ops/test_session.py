"""What a session makes of a plan and of a fault: who asks how much, and which moment counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import pytest

from ops import cluster
from ops.console import StackError
from ops.drills import session as module
from ops.drills.faults import Fault, Targets
from ops.drills.history import Row
from ops.drills.session import CARELESS, Session, rows
from ops.load.plan import Plan
from ops.snapshot import Node, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.drills.stage import Stage

PLAN = Plan(writes_per_second=40, reads_per_second=100, prefix="pp", base_url="http://edge")


@dataclass
class Clock:
    """A time that passes only where somebody waits, and what was waited for."""

    now: float = 0.0
    waits: list[str] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)  # what the next waits end with
    refuses: str = ""  # what is waited for in vain

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def wait_for(
        self, what: str, limit: float, fits: Callable[[Snapshot], bool], *, settled: bool
    ) -> tuple[Snapshot, float]:
        """Take a second."""
        assert (limit, settled) == (module.operate.WHOLE_LIMIT, True)
        assert not fits(Snapshot())
        self.waits.append(what)
        self.now += 1
        if what == self.refuses:
            raise StackError("not whole")
        return (self.snapshots.pop(0) if self.snapshots else snapshot()), 1.0


class Load:
    """A run that sends nothing."""

    all: list[Load]
    clock: Clock
    fails: str = ""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.marks: list[tuple[float, str, str]] = []
        self.running = False
        self.all.append(self)

    def __enter__(self) -> Self:
        if self.fails and self.plan.prefix.endswith(self.fails):
            raise StackError("no write is taken")
        self.running = True
        return self

    def __exit__(self, *_: object) -> None:
        self.running = False

    @property
    def now(self) -> float:
        """The time, from a start at 0."""
        return self.clock.now

    def mark(self, what: str, kind: str) -> None:
        """Keep it."""
        self.marks.append((self.now, what, kind))

    def stop(self) -> str:
        """Return whose result it is."""
        return self.plan.prefix


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A stack that becomes whole within a second, and loads that send nothing."""
    clock = Clock()
    monkeypatch.setattr(Load, "all", [], raising=False)
    monkeypatch.setattr(Load, "clock", clock, raising=False)
    monkeypatch.setattr(module, "Run", Load)
    monkeypatch.setattr(module.time, "sleep", clock.sleep)
    monkeypatch.setattr(module.operate, "wait_for", clock.wait_for)
    return clock


def snapshot(primary: str = "a", timeline: int = 1) -> Snapshot:
    """A stack with a primary."""
    node = Node(primary, "primary", "primary", healthy=True, lsn="0/1", timeline=timeline)
    return Snapshot(nodes=[node], writable=[primary])


def fault(inject: Callable[[Stage], object] = lambda _: None, name: str = "f") -> Fault:
    """A fault that is held for 4 s."""
    return Fault(name, "F.", inject, hold=4.0, targets=Targets())  # type: ignore[arg-type]


# ---------------------------------------------------------------- the clients
@pytest.mark.usefixtures("clock")
def test_the_plain_and_the_careful_client_share_the_load() -> None:
    """Half of the rates each, entities of their own; only one has keys and retries."""
    Session(PLAN)
    plain, careful = (load.plan for load in Load.all)
    assert (plain.prefix, plain.keyed, plain.retries) == ("pp-plain", False, False)
    assert (careful.prefix, careful.keyed, careful.retries) == ("pp-careful", True, True)
    for plan in (plain, careful):
        assert (plan.writes_per_second, plan.reads_per_second) == (20, 50)
        assert (plan.base_url, plan.reckless) == ("http://edge", False)


@pytest.mark.usefixtures("clock")
def test_more_than_the_plan_goes_past_the_edge() -> None:
    """A rate at the edge would bound it."""
    Session(PLAN, load=2.0, clients={"one": CARELESS})
    (plan,) = (load.plan for load in Load.all)
    assert (plan.writes_per_second, plan.reads_per_second) == (80, 200)
    assert plan.base_url == f"http://{cluster.vip()}"
    assert (plan.keyed, plan.retries, plan.reckless) == (False, True, True)


def test_the_load_runs_on_a_whole_stack_as_long_as_the_block(clock: Clock) -> None:
    """It has a while to settle before anything strikes."""
    with Session(PLAN) as session:
        assert clock.waits == ["a whole stack"]
        assert session.now == 1 + module.SETTLE
        assert all(load.running for load in Load.all)
        assert session.stop() == {"plain": "pp-plain", "careful": "pp-careful"}
    assert not any(load.running for load in Load.all)


@pytest.mark.usefixtures("clock")
def test_a_load_that_cannot_start_stops_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody leaves a block that was not entered."""
    monkeypatch.setattr(Load, "fails", "careful")
    with pytest.raises(StackError, match="no write is taken"):
        Session(PLAN).__enter__()
    assert not any(load.running for load in Load.all)


# ---------------------------------------------------------------- a strike
def test_a_strike_has_its_moments(clock: Clock) -> None:
    """Struck on a whole stack, held, mended, whole again, and a while later over."""
    with Session(PLAN) as session:
        session.mark("noted")
        clock.now = 100
        strike = session.strike(fault())
        assert (strike.struck, strike.measured) == (101, 101)
        assert strike.mended == 105  # there was nothing to mend: when the fault was over
        assert strike.whole == 106
        assert strike.redundant_after == 1
        assert strike.ended == 106 + module.SETTLE
        assert session.strikes == [strike]
    assert clock.waits[1:] == ["a whole stack before f", "a whole stack after f"]
    for load in Load.all:
        assert load.marks == [
            (1 + module.SETTLE, "noted", "event"),
            (106, "whole again", "undone"),
        ]


def test_a_fault_says_from_when_on_it_is_measured(clock: Clock) -> None:
    """The last time counts. Mended is when the first mending began."""

    def inject(stage: Stage) -> None:
        clock.sleep(10)
        stage.measure()
        clock.sleep(10)
        stage.measure()
        stage.mark("broken", "fault")
        clock.sleep(1)
        stage.mark("mended", "undone")
        clock.sleep(10)
        stage.mark("mended as well", "undone")

    with Session(PLAN) as session:
        clock.now = 100
        strike = session.strike(fault(inject))
    assert (strike.struck, strike.measured, strike.mended) == (101, 121, 122)
    assert [kind for _, _, kind in Load.all[1].marks] == ["fault", "undone", "undone", "undone"]


def test_what_was_broken_is_mended_when_the_stack_does_not_become_whole(clock: Clock) -> None:
    """The strike is none then."""
    mended: list[float] = []

    def inject(stage: Stage) -> None:
        stage._undo("mended", lambda: mended.append(clock.now))

    clock.refuses = "a whole stack after f"
    with Session(PLAN) as session:
        clock.now = 100
        with pytest.raises(StackError):
            session.strike(fault(inject))
        assert session.strikes == []
    assert mended == [105]


@pytest.mark.parametrize(
    ("after", "moved"),
    [(snapshot(), False), (snapshot("b", 2), True), (snapshot(timeline=3), True)],
)
def test_a_role_that_came_back_has_moved_too(clock: Clock, after: Snapshot, moved: bool) -> None:
    """Each promotion begins a timeline."""
    with Session(PLAN) as session:
        clock.snapshots = [snapshot(), after]
        assert session.strike(fault()).moved is moved


@pytest.mark.usefixtures("clock")
def test_a_session_is_named_after_its_faults() -> None:
    """One by its name, however often it struck; of several it says how many there were."""
    with Session(PLAN) as session:
        session.strike(fault())
        assert session.title == "f"
        session.strike(fault())
        assert session.title == "f"
        session.strike(fault(name="g"))
        assert session.title == "3 faults"


# ---------------------------------------------------------------- the end
def test_the_rows_of_a_client_are_those_with_its_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in a line, as the database has it."""
    asked: list[Any] = []

    def docker(*arguments: str) -> str:
        asked.extend(arguments)
        return '["p-1@example.org", "a \\"b\\"", 2]\n["p-2@example.org", "c", 1]\n'

    monkeypatch.setattr(module, "docker", docker)
    assert rows("pp") == [Row("p-1@example.org", 'a "b"', 2), Row("p-2@example.org", "c", 1)]
    assert asked[:3] == ["exec", "psql-client", "psql"]
    assert "starts_with(email, 'pp-')" in asked[-1]
