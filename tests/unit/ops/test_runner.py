"""What a drill keeps of its session: problems, histories, and a page for each client."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from ops import names
from ops.console import StackError
from ops.drills import runner
from ops.drills.alone import alone
from ops.drills.faults import Fault, Targets
from ops.drills.history import Row, load
from ops.drills.session import Strike
from ops.events import Event
from ops.load.operation import Kind, Mark, Operation, Outcome
from ops.load.plan import Plan
from ops.load.run import Result
from ops.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

PLAN = Plan()
STARTED = 1000.25
CREATION = Operation(
    Kind.CREATE, "e", due=1, sent=1, completed=2, outcome=Outcome.OK, value="a", version=1
)
RESULT = Result(PLAN, STARTED, 9.14, [CREATION], [Mark(5.0, "struck", "fault")], [], ["late"])
FAULT = Fault("f", "F.", lambda _: None, hold=1.0, targets=Targets(), load=8.0)


class Session:
    """A session in which each strike takes a minute."""

    title = "f"

    def __init__(self) -> None:
        self.now = 0.0
        self.strikes: list[Strike] = []
        self.given: list[object] = []
        self.fails = False

    def __call__(self, *given: object) -> Self:
        """Begin it."""
        self.given = list(given)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.given.append("over")

    def strike(self, fault: Fault) -> Strike:
        """Apply a fault."""
        if self.fails:
            raise StackError("no standby")
        assert len(self.strikes) < 10, "a soak without an end"
        begun, self.now = self.now, self.now + 60
        strike = Strike(fault, begun, begun, self.now - 5.5, self.now, self.now, moved=False)
        self.strikes.append(strike)
        return strike

    def stop(self) -> dict[str, Result]:
        """Return what each client knows."""
        return {"plain": RESULT, "careful": RESULT}


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Session:
    """What drills run in; the primary has what was written."""
    session = Session()
    monkeypatch.setattr(names, "ROOT", tmp_path / "checkout")
    monkeypatch.setattr(runner, "Session", session)
    monkeypatch.setattr(runner, "rows", lambda _: [Row("e", "a", 1)])
    monkeypatch.setattr(runner.operate, "wait_for", lambda *_, **__: None)
    monkeypatch.setattr(runner.events, "recent", lambda _: [])
    return session


def test_a_drill_keeps_what_its_clients_saw(session: Session, tmp_path: Path) -> None:
    """In a folder of its own: a history and a page each, and what it came to."""
    keep = tmp_path / "some" / "where"
    for _ in range(2):  # also where something is from before
        drill = runner.run_one(FAULT, PLAN, keep)
    assert sorted(path.name for path in keep.iterdir()) == [
        "careful.html", "careful.jsonl", "drill.json", "plain.html", "plain.jsonl",
    ]  # fmt: skip
    history = load(keep / "careful.jsonl")
    assert (history.operations, history.final) == ([CREATION], [Row("e", "a", 1)])
    assert history.began == STARTED
    assert "f: careful" in (keep / "careful.html").read_text()
    text = (keep / "drill.json").read_text()
    assert json.loads(text)["judged"]["acknowledged"] == 2
    assert any(line.strip() == '"acknowledged": 2,' for line in text.splitlines())
    assert (drill.began, drill.seconds) == ("1970-01-01T00:16:40+00:00", 9.1)
    assert len(drill.measured) == 2  # one in each of the two runs above
    assert session.given == [PLAN, FAULT.load, "over"]


ANOTHER = """
import sys
from pathlib import Path
from ops import names
from ops.drills.alone import alone

names.ROOT = Path(sys.argv[1])
with alone():
    print("runs", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    "run",
    [
        lambda keep: runner.run_one(FAULT, PLAN, keep),
        lambda keep: runner.run_random(PLAN, runner.Soak(1.0, 7), keep, lambda _: None),
    ],
    ids=["one", "random"],
)
def test_one_drill_at_a_time_whoever_runs_it(
    session: Session, tmp_path: Path, run: Callable[[Path], object]
) -> None:
    """Another console, or the command line: its process has the stack until it ends, or is killed.

    A stack with another name is another one.
    """
    with subprocess.Popen(
        [sys.executable, "-c", ANOTHER, str(tmp_path / "checkout")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3],
    ) as another:  # fmt: skip
        assert another.stdout is not None
        assert another.stdout.readline() == b"runs\n"
        with pytest.raises(StackError, match="another drill runs"):
            run(tmp_path)
        assert session.given == []
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NAME", "second")
            with alone():
                pass
        another.kill()
    run(tmp_path)


def test_what_the_machine_lacks_stands_at_the_top_of_each_page(
    session: Session,  # noqa: ARG001 - it stands for the stack
    tmp_path: Path,
) -> None:
    """As a statement on the machine, not on the generator."""
    lacks = ["This machine is overloaded.", "1 processor."]
    runner.run_one(FAULT, PLAN, tmp_path, lacks)
    for name in ("plain", "careful"):
        page = (tmp_path / f"{name}.html").read_text()
        assert "<strong>This machine is overloaded.</strong><br>1 processor." in page
        assert page.index("1 processor.") < page.index("<h1>")
        assert "generator was the bottleneck" not in page


def test_what_a_load_misses_is_a_problem_of_its_drill(session: Session, tmp_path: Path) -> None:
    """Of each client; a fault that could not be applied as well, and comes first."""
    assert runner.run_one(FAULT, PLAN, tmp_path).problems == ["late", "late"]
    session.fails = True
    drill = runner.run_one(FAULT, PLAN, tmp_path)
    assert drill.problems == ["f: no standby", "late", "late"]
    assert drill.judged.acknowledged == 2


@pytest.mark.usefixtures("session")
def test_while_a_history_waits_for_its_rows_it_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the load's start, as later; a primary is waited for."""

    def wait_for(_: str, limit: float, fits: Callable[[Snapshot], bool]) -> None:
        assert limit == runner.operate.WHOLE_LIMIT
        assert not fits(Snapshot())
        assert fits(Snapshot(writable=["a"]))
        unjudged = load(tmp_path / "plain.unjudged.jsonl")
        assert unjudged.began == STARTED
        assert unjudged.alone  # nobody has asked the monitor yet

    monkeypatch.setattr(runner.operate, "wait_for", wait_for)
    assert runner.run_one(FAULT, PLAN, tmp_path).measured


@pytest.mark.parametrize(("minutes", "strikes"), [(0.99, 1), (1.0, 2), (3.5, 4)])
def test_a_soak_ends_after_its_minutes(
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    minutes: float,
    strikes: int,
) -> None:
    """The fault that began before is ended; each is told, after some quiet."""
    quiet: list[float] = []
    told: list[str] = []
    monkeypatch.setattr(runner.time, "sleep", quiet.append)
    keep = tmp_path / "some" / "where"
    for _ in range(2):
        session.now, session.strikes = 0.0, []
        runner.run_random(PLAN, runner.Soak(minutes, 7), keep, told.append)
    assert len(session.strikes) == strikes
    assert len(quiet) == len(told) == 2 * strikes  # the same in both runs
    drawn = runner.draw(7)
    for strike, pause, line in zip(session.strikes, quiet, told, strict=False):
        assert (strike.fault, pause) == next(drawn)
        assert runner.QUIET[0] <= pause <= runner.QUIET[1]
        assert line.endswith(f"{strike.fault.name}: whole 5.5 s after mending began")
    assert session.given == [PLAN, "over"]


def test_the_monitors_entries_are_looked_through_for_each_fault(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As many as its faults may have made, and some without a fault; none if it does not answer."""
    asked: list[int] = []

    def recent(count: int) -> list[Event]:
        asked.append(count)
        raise StackError("no monitor")

    monkeypatch.setattr(runner.events, "recent", recent)
    for fails in (True, False, False):
        session.fails = fails
        assert runner.run_one(FAULT, PLAN, tmp_path)
    assert asked == [runner.EVENTS_EACH, runner.EVENTS_EACH, 2 * runner.EVENTS_EACH]


def test_a_timeline_has_what_the_monitor_saw_meanwhile() -> None:
    """From the load's start to its end, between the marks that are there; not what it decided."""

    def event(at: float, *, reported: bool = True) -> Event:
        time = datetime.fromtimestamp(STARTED + at, UTC)
        what = "New state is reported" if reported else "Setting goal state"
        return Event(1, time, "postgres1", "wait_primary", "primary", what)

    result = replace(RESULT, seconds=9.0)
    seen = [event(7), event(9.5), event(9), event(0), event(-0.5), event(3, reported=False)]
    marks = runner._marked(result, seen).marks
    assert [(mark.at, mark.what) for mark in marks] == [
        (0, "postgres1 is wait_primary"),
        (5, "struck"),
        (7, "postgres1 is wait_primary"),
        (9, "postgres1 is wait_primary"),
    ]


def test_a_history_says_whether_the_monitor_rules_out_a_primary_alone(
    session: Session,  # noqa: ARG001 - it stands for the stack
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """It has to have recorded all of the load; a state counts as wanted and as reported."""

    def event(at: float, state: str, goal: str) -> Event:
        time = datetime.fromtimestamp(STARTED + at, UTC)
        return Event(1, time, "postgres1", state, goal, "")

    before, alone = event(-1, "primary", "primary"), ("wait_primary", "single")
    cases = [
        ([before, event(3, "primary", "primary"), event(4, "secondary", "secondary")], False),
        *(([before, event(3, state, "primary")], True) for state in alone),
        *(([before, event(0, "primary", goal)], True) for goal in alone),
        ([event(-2, "wait_primary", "wait_primary"), before], False),
        ([event(0, "primary", "primary")], True),  # what was before it is not known
        ([], True),
    ]
    for number, (seen, said) in enumerate(cases):
        monkeypatch.setattr(runner.events, "recent", lambda _, seen=seen: seen)
        runner.run_one(FAULT, PLAN, tmp_path / str(number))
        for name in ("plain", "careful"):
            assert load(tmp_path / str(number) / f"{name}.jsonl").alone is said


def test_a_soak_draws_what_does_not_say_no(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once in a round."""
    others = {name: replace(FAULT, name=name) for name in ("g", "h")}
    left_out = replace(FAULT, name="never", random=False)
    there = {"f": FAULT, "never": left_out, **others}
    monkeypatch.setattr(runner, "drills", lambda _: there)
    drawn = runner.draw(3)
    for _ in range(5):
        assert {next(drawn)[0].name for _ in range(3)} == {"f", "g", "h"}
