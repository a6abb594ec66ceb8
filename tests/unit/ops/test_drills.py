"""What a drill does around its fault: mending whatever happens, measuring, drawing by a seed."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Self

import pytest

from ops import names
from ops.console import StackError
from ops.drills import runner
from ops.drills import stage as module
from ops.drills.faults import FAULTS, Fault, Targets
from ops.drills.history import Row, load
from ops.drills.markdown import table
from ops.drills.result import Judged, Measured, Totals, measure, on_one_clock, total
from ops.drills.runner import Drill, draw
from ops.drills.session import Strike
from ops.drills.stage import Stage
from ops.drills.summary import Spread, Verdict, by_fault
from ops.load.driver import UNSENT
from ops.load.operation import Kind, Operation, Outcome
from ops.load.plan import Plan
from ops.load.run import Result
from ops.snapshot import Node, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PRIMARY = Node("postgres2", "primary", "primary", healthy=True, lsn="0/1", timeline=1)
STANDBY = Node("postgres1", "secondary", "secondary", healthy=True, lsn="0/1", timeline=1)
BEFORE = Snapshot(nodes=[STANDBY, PRIMARY], writable=["postgres2"], vip_holder="haproxy2")


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Docker was told, in order; nothing is running that could be broken."""
    told: list[str] = []

    def docker(*arguments: str, text: str | None = None) -> str:  # noqa: ARG001
        told.append(" ".join(arguments))
        return "paused"

    monkeypatch.setattr(module, "docker", docker)
    return told


def stage(marks: list[tuple[str, str]] | None = None) -> Stage:
    """Make a stage whose marks go to a list."""
    kept = marks if marks is not None else []
    return Stage(BEFORE, lambda what, kind: kept.append((what, kind)), lambda: None)


def test_roles_not_names() -> None:
    """Who is struck is who holds the role."""
    found = stage()
    assert (found.primary, found.standby) == ("postgres2", "postgres1")
    assert found.proxy == "haproxy2"


def test_everything_is_mended_last_fault_first(commands: list[str]) -> None:
    """Also when the drill fails in between."""
    marks: list[tuple[str, str]] = []

    def drill() -> None:
        with stage(marks) as broken:
            broken.kill("postgres1")
            broken.freeze("postgres2")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        drill()
    assert commands == [
        "kill postgres1",
        "pause postgres2",
        "inspect --format {{.State.Status}} postgres2",
        "unpause postgres2",
        "start postgres1",
    ]
    assert [kind for _, kind in marks] == ["fault", "fault", "undone", "undone"]


def test_a_fault_that_fails_half_way_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mending is registered before breaking begins."""
    told: list[str] = []

    def docker(*arguments: str, text: str | None = None) -> str:  # noqa: ARG001
        told.append(arguments[0])
        if arguments[0] == "kill":
            raise KeyboardInterrupt
        return ""

    monkeypatch.setattr(module, "docker", docker)
    with pytest.raises(KeyboardInterrupt), stage() as broken:
        broken.kill("postgres1")
    assert told == ["kill", "start"]


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_says_what_it_does(name: str) -> None:
    """A sentence for `drill list`, and a bound on how long it lasts."""
    fault = FAULTS[name]
    assert fault.name == name
    assert fault.summary.endswith(".")
    assert 0 < fault.hold <= 60


def test_a_seed_draws_the_same_faults_again() -> None:
    """And another one draws others."""

    def first(seed: int) -> list[tuple[str, float]]:
        return [(fault.name, quiet) for fault, quiet in islice(draw(seed), 50)]

    assert first(7) == first(7)
    assert first(7) != first(8)
    pool = sorted(each.name for each in FAULTS.values() if each.random)
    drawn = [name for name, _ in first(7)]
    rounds = [drawn[start : start + len(pool)] for start in (0, len(pool))]
    assert [sorted(each) for each in rounds] == [pool, pool]
    assert rounds[0] != rounds[1]


class Broken:
    """A session whose first strike works; how its second one ends is up to the test."""

    now = 1.0
    title = "two faults"

    def __init__(self, end: BaseException) -> None:
        self.strikes: list[Strike] = []
        self._end = end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.left = True

    def strike(self, fault: Fault) -> Strike:
        """Fail the second time."""
        if self.strikes:
            raise self._end
        one = Strike(fault, struck=0, measured=0, mended=1, whole=2, ended=3, moved=False)
        self.strikes.append(one)
        return one

    def stop(self) -> dict[str, Result]:
        """Return what one client knows."""
        return {"plain": Result(Plan(), 1000.0, 3.0, [operation(1.0)], [], [], [])}


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[BaseException], Drill]:
    """Run a soak whose second strike raises; the database has what the client has written."""
    monkeypatch.setattr(names, "ROOT", tmp_path / "checkout")
    monkeypatch.setattr(runner, "QUIET", (0.0, 0.0))
    monkeypatch.setattr(runner.operate, "wait_for", lambda *_, **__: None)
    monkeypatch.setattr(runner, "rows", lambda _: [Row("e", "", 1)])
    monkeypatch.setattr(runner.events, "recent", lambda _: [])

    def run(end: BaseException) -> Drill:
        monkeypatch.setattr(runner, "Session", lambda *_: Broken(end))
        return runner.run_random(Plan(), runner.Soak(1.0, 7), tmp_path, lambda _: None)

    return run


@pytest.mark.parametrize(
    ("end", "said"), [(StackError("not whole"), "not whole"), (KeyboardInterrupt(), "interruption")]
)
def test_a_soak_that_cannot_go_on_is_judged_all_the_same(
    soak: Callable[[BaseException], Drill], tmp_path: Path, end: BaseException, said: str
) -> None:
    """An hour's history must not be lost with its last minute."""
    drill = soak(end)
    assert len(drill.measured) == 1
    assert said in drill.problems[0]
    assert not drill.ok
    assert load(tmp_path / "plain.jsonl").operations == [operation(1.0)]
    assert json.loads((tmp_path / "drill.json").read_text())["problems"] == drill.problems
    assert not list(tmp_path.glob("*unjudged*"))


def test_without_a_primary_the_histories_are_kept(
    soak: Callable[[BaseException], Drill], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What was in the way is said, what ended the drill before as well."""

    def never(*_: object, **__: object) -> None:
        raise StackError("no primary")

    monkeypatch.setattr(runner.operate, "wait_for", never)
    with pytest.raises(StackError, match=r"(?s)not whole.*no primary.*what clients saw is in"):
        soak(StackError("not whole"))
    assert load(tmp_path / "plain.unjudged.jsonl").operations == [operation(1.0)]


def test_totals_have_what_lies_between_faults() -> None:
    """And what was prepared before the load, or not sent, does not count as failed."""
    failed = operation(5.0, outcome=Outcome.FAILED, error="no-answer")
    unsent = operation(6.0, outcome=Outcome.FAILED, error=UNSENT)
    early = operation(-1.0, outcome=Outcome.FAILED, error="no-answer")
    known = [early, operation(0.0), failed, unsent, operation(9.0), operation(9.5, Kind.READ)]
    found = total({"plain": Result(Plan(), 1000.0, 10.0, known, [], [], [])})
    assert (found.failed, found.not_sent) == ({"plain": 1}, 1)
    assert found.write_pause == pytest.approx(9.0, abs=0.05)


def operation(at: float, kind: Kind = Kind.CREATE, **more: object) -> Operation:
    """Make a request that was answered 10 ms after it was due."""
    given = {"outcome": Outcome.OK, "completed": at + 0.01} | more
    return Operation(kind, "e", due=at, sent=at, **given)  # type: ignore[arg-type]


def a_strike(inject: Callable[[Stage], None] = lambda _: None, **targets: object) -> Strike:
    """Make a fault that struck at 10 s, was mended at 14, and whole at 20."""
    fault = Fault("f", "F.", inject, hold=4.0, targets=Targets(**targets))  # type: ignore[arg-type]
    return Strike(fault, struck=10, measured=10, mended=14, whole=20, ended=23, moved=True)


def test_a_pause_is_counted_over_all_clients_from_the_fault_on() -> None:
    """One that lies before it is not the fault's; an answer to anybody ends it."""
    writes = [operation(at / 10) for at in range(230) if not 100 < at < 130 and at > 40]
    reads = [operation(at / 10, Kind.READ) for at in range(230)]
    helped = [operation(11.5)]
    found = measure(a_strike(), {"plain": writes + reads, "careful": helped})
    assert found.write_pause == pytest.approx(1.5, abs=0.05)
    assert found.read_pause == pytest.approx(0.1, abs=0.05)
    assert found.redundant_after == 6


def test_failed_requests_are_counted_by_client_and_those_not_sent_are_not() -> None:
    """A generator without room is no failure of the service; a target that is missed is named."""
    bad = operation(12, outcome=Outcome.UNKNOWN, error="commit-in-doubt")
    unsent = operation(12, outcome=Outcome.FAILED, error=UNSENT)
    good = [operation(at / 10) for at in range(90, 230)]
    found = measure(a_strike(), {"plain": [*good, bad], "careful": [*good, unsent]})
    assert found.failed == {"plain": 1, "careful": 0}
    assert found.errors == {"commit-in-doubt": 1}
    assert found.missed == ["1 failed for a client without"]


def test_targets_that_were_not_met_are_named() -> None:
    """In sentences, with what was measured."""
    writes = [operation(9), operation(13), operation(22.9)]
    found = measure(a_strike(writes=3.0, failover=False), {"plain": writes})
    assert found.missed == ["writes paused for 9.90 s, more than 3.0", "the primary's role moved"]


def test_two_loads_are_put_on_one_clock() -> None:
    """The second one started two seconds later: its fifth second is the first one's seventh."""

    def result(started: float) -> Result:
        return Result(Plan(), started, 10.0, [operation(5)], [], [], [])

    both = on_one_clock({"plain": result(1000.0), "careful": result(1002.0)})
    assert [each.due for each in (*both["plain"], *both["careful"])] == [5, 7]


def a_drill(faults: dict[str, float], lost: int = 0) -> Drill:
    """Make a drill of faults, each with its write pause in seconds."""
    judged = Judged(9, 9, 0, 0, lost, 0, 0, 0, 0, [])
    failed = {"plain": 1, "careful": 0}
    measured = [
        Measured(name, pause, 0.1, pause, 0.2, failed, {}, 5.0, False, FAULTS[name].targets)
        for name, pause in faults.items()
    ]
    totals = Totals({"plain": 2, "careful": 0}, 0, 1.0, 0.5, [])
    return Drill("2026-01-01T00:00:00+00:00", 10.0, measured, totals, judged, [])


def test_several_runs_become_a_line_a_fault() -> None:
    """Medians and ranges of pauses; failures and findings are summed, not averaged away."""
    runs = [a_drill({"app-killed": pause}, lost) for pause, lost in ((0.2, 0), (0.9, 1), (0.3, 0))]
    (line,) = by_fault([*runs])
    assert (line.runs, line.write_pause) == (3, Spread(0.3, 0.2, 0.9))
    assert (line.plain, line.slowest, line.verdict) == (3, 0.9, Verdict(1, 0, 0))
    assert "| 0.30 (0.20 to 0.90), ≤ 0.5 |" in table([line])
    assert "| 1, 0, 0 |" in table([line])


def test_a_missed_target_stands_out() -> None:
    """By the median."""
    assert "| **0.70**, not ≤ 0.5 |" in table(by_fault([a_drill({"app-killed": 0.7})]))


def test_a_soak_is_judged_as_a_whole() -> None:
    """What was lost in a session of several faults is nobody's in particular."""
    lines = by_fault([a_drill({"app-killed": 0.1, "app-frozen": 0.2}, lost=1)])
    assert [line.verdict for line in lines] == [None, None]
