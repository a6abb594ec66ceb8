"""Runs drills: one fault, all of them, or a soak of random ones; keeps what they leave behind."""

from __future__ import annotations

import dataclasses
import json
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ops import events, operate
from ops.console import StackError
from ops.drills.alone import alone
from ops.drills.faults import PAIR
from ops.drills.history import History, save
from ops.drills.result import Judged, Measured, Totals, judge_all, measure, on_one_clock, total
from ops.drills.session import Session, rows
from ops.drills.three import drills
from ops.load.operation import Mark
from ops.load.page import render_page
from ops.load.report import summarize
from ops.loss import ALONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ops.drills.faults import Fault
    from ops.events import Event
    from ops.load.plan import Plan
    from ops.load.run import Result

EVENTS_EACH = 40
"""The monitor's entries that are looked through, for each fault; a failover makes 20."""

WITHOUT_STANDBY = {ALONE, "single"}
"""The monitor's states of a primary no commit of which waits for a standby."""

QUIET = (1.0, 15.0)
"""Seconds between a whole stack and a soak's next fault: at least one fault in 45 s, that is."""


@dataclass(frozen=True)
class Drill:
    """One session that is over: its faults in order, and the verdict on all of it."""

    began: str  # ISO 8601, UTC
    seconds: float  # of load
    measured: list[Measured]
    totals: Totals
    judged: Judged
    problems: list[str]  # what was not done, or is missing from the histories

    @property
    def ok(self) -> bool:
        """Whether every promise was kept, and nothing is missing."""
        return self.judged.ok and not self.problems


@dataclass(frozen=True)
class Soak:
    """How long to strike, and with what: the faults that `seed` draws."""

    minutes: float
    seed: int
    lacks: Sequence[str] = ()  # as for `run_one`
    nodes: int = PAIR  # data nodes, with which there are more


def run_one(
    fault: Fault,
    plan: Plan,
    keep: Path,
    lacks: Sequence[str] = (),
    begun: Callable[[Session], object] = lambda _: None,
) -> Drill:
    """Run one fault under load. Raises StackError beside another drill, or on a stack not whole.

    `lacks`: sentences on the machine (ops.machine), for the top of its pages. `begun` is called
    when the load runs, and before the fault: for whoever looks on. When the fault
    cannot be struck, or the stack does not become whole again, that is a problem of the drill,
    which is judged all the same.
    """
    keep.mkdir(parents=True, exist_ok=True)
    problems = []
    with alone(), Session(plan, fault.load) as session:
        begun(session)
        try:
            session.strike(fault)
        except StackError as error:
            problems.append(f"{fault.name}: {error}")
        results = session.stop()
    return _finish(session, results, keep, problems, lacks)


def run_random(plan: Plan, soak: Soak, keep: Path, tell: Callable[[str], None]) -> Drill:
    """Strike with drawn faults, one after another, under one load.

    When the stack cannot be struck or mended, or on Ctrl-C, it ends there, which is a problem of
    the drill; what was recorded until then is judged all the same.
    """
    keep.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    with alone(), Session(plan) as session:
        try:
            for fault, quiet in draw(soak.seed, soak.nodes):
                if session.now > soak.minutes * 60:
                    break
                time.sleep(quiet)
                strike = session.strike(fault)
                whole = f"whole {strike.redundant_after:.1f} s after mending began"
                tell(f"{session.now:6.0f} s  {fault.name}: {whole}")
        except StackError as error:
            problems.append(f"ended after {session.now:.0f} s, by {fault.name}: {error}")
        except KeyboardInterrupt:
            problems.append(f"ended after {session.now:.0f} s, by an interruption")
        results = session.stop()
    return _finish(session, results, keep, problems, soak.lacks)


def draw(seed: int, nodes: int = PAIR) -> Iterator[tuple[Fault, float]]:
    """Yield faults and the seconds of quiet before each, the same ones for the same seed.

    In rounds: each round has every fault once, in an order of its own.
    """
    source = random.Random(seed)  # noqa: S311 - reproducible is what it has to be
    pool = [fault for fault in drills(nodes).values() if fault.random]
    while True:
        for fault in source.sample(pool, len(pool)):
            yield fault, source.uniform(*QUIET)


def _finish(
    session: Session,
    results: dict[str, Result],
    keep: Path,
    problems: list[str],
    lacks: Sequence[str],
) -> Drill:
    faults = len(session.strikes)
    histories, seen = _histories(results, keep, problems, faults)
    operations = on_one_clock(results)
    first = next(iter(results.values()))
    drill = Drill(
        began=datetime.fromtimestamp(first.started, UTC).isoformat(timespec="seconds"),
        seconds=round(first.seconds, 1),
        measured=[measure(strike, operations) for strike in session.strikes],
        totals=total(results),
        judged=judge_all(histories.values()),
        problems=[*problems, *(each for result in results.values() for each in result.problems)],
    )
    for name, result in results.items():
        report = summarize(_marked(result, seen), machine=lacks)
        page = render_page(report, f"{session.title}: {name}")
        (keep / f"{name}.html").write_text(page, encoding="utf-8")
    text = json.dumps(dataclasses.asdict(drill), indent=2)
    (keep / "drill.json").write_text(text + "\n", encoding="utf-8")
    return drill


def _histories(
    results: dict[str, Result], keep: Path, problems: list[str], faults: int
) -> tuple[dict[str, History], list[Event]]:
    """Return and keep each client's history; without a primary at least what the client saw.

    Return also what the monitor has recorded: histories say whether it saw the primary alone.
    """
    unjudged = {name: keep / f"{name}.unjudged.jsonl" for name in results}
    for name, result in results.items():
        save(History(result.operations, [], result.started, alone=True), unjudged[name])
    histories = {}
    try:
        awaited = "a primary, to ask it what is there"
        operate.wait_for(awaited, operate.WHOLE_LIMIT, lambda now: now.primary is not None)
        seen = _events(faults)
        for name, result in results.items():
            there, alone = rows(result.plan.prefix), may_be_alone(seen, result.started)
            histories[name] = History(result.operations, there, result.started, alone)
    except StackError as error:
        reasons = "\n".join([*problems, str(error)])
        raise StackError(f"{reasons}\nNothing was judged; what clients saw is in {keep}") from error
    for name, history in histories.items():
        save(history, keep / f"{name}.jsonl")
        unjudged[name].unlink()
    return histories, seen


def _events(faults: int) -> list[Event]:
    try:
        return events.recent(max(1, faults) * EVENTS_EACH)
    except StackError:
        return []


def may_be_alone(seen: Sequence[Event], since: float) -> bool:
    """Whether the primary may have been without a standby since then, in seconds of Unix time.

    Only a record that reaches back to before that time can rule it out.
    """
    reaches = any(event.time.timestamp() < since for event in seen)
    alone = any(
        event.time.timestamp() >= since and WITHOUT_STANDBY & {event.state, event.goal}
        for event in seen
    )
    return alone or not reaches


def _marked(result: Result, seen: Sequence[Event]) -> Result:
    """Add what the monitor saw and decided meanwhile, in its own words, to a load's marks."""
    marks = [
        Mark(event.time.timestamp() - result.started, f"{event.node} is {event.state}")
        for event in seen
        if event.reported and 0 <= event.time.timestamp() - result.started <= result.seconds
    ]
    return dataclasses.replace(result, marks=sorted([*result.marks, *marks], key=lambda m: m.at))
