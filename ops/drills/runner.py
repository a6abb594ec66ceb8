"""Runs drills: one fault, all of them, or a soak of random ones; keeps what they leave behind."""

from __future__ import annotations

import dataclasses
import json
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ops import events
from ops.console import StackError
from ops.drills.faults import FAULTS
from ops.drills.history import save
from ops.drills.result import Judged, Measured, judge_all, measure, on_one_clock
from ops.drills.session import Session
from ops.load.operation import Mark
from ops.load.page import render_page
from ops.load.report import summarize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ops.drills.faults import Fault
    from ops.load.plan import Plan
    from ops.load.run import Result

EVENTS_MOST = 500
"""The monitor's entries that are looked through for those of a drill; one failover makes 20."""

QUIET = (1.0, 15.0)
"""Seconds between a whole stack and a soak's next fault: at least one fault in 45 s, that is."""


@dataclass(frozen=True)
class Drill:
    """One session that is over: its faults in order, and the verdict on all of it."""

    began: str  # ISO 8601, UTC
    seconds: float  # of load
    measured: list[Measured]
    judged: Judged
    problems: list[str]  # of the load itself: what is missing from the histories

    @property
    def ok(self) -> bool:
        """Whether every promise was kept, and the histories are complete."""
        return self.judged.ok and not self.problems

    @property
    def met(self) -> bool:
        """Whether every target was met as well."""
        return self.ok and not any(each.missed for each in self.measured)


def run_one(fault: Fault, plan: Plan, keep: Path) -> Drill:
    """Run one fault under load. Raises StackError when the stack cannot be struck or mended."""
    with Session(plan, fault.load) as session:
        session.strike(fault)
        ended = session.now
        results = session.stop()
    return _finish(session, results, [ended], keep)


def run_random(
    plan: Plan, minutes: float, seed: int, keep: Path, tell: Callable[[str], None]
) -> Drill:
    """Strike with faults drawn by `seed`, one after another, for so many minutes of one load.

    When the stack cannot be struck or mended it ends there, which is a problem of the drill; what
    was recorded until then is judged all the same.
    """
    ends: list[float] = []
    broken: list[str] = []
    with Session(plan) as session:
        for fault, quiet in draw(seed):
            if session.now > minutes * 60:
                break
            time.sleep(quiet)
            try:
                strike = session.strike(fault)
            except StackError as error:
                broken.append(f"ended early, by {fault.name}: {error}")
                break
            ends.append(session.now)
            tell(f"{session.now:6.0f} s  {fault.name}: whole {strike.redundant_after:.1f} s after")
        results = session.stop()
    return _finish(session, results, ends, keep, broken)


def draw(seed: int) -> Iterator[tuple[Fault, float]]:
    """Yield faults and the seconds of quiet before each, the same ones for the same seed.

    In rounds: each round has every fault once, in an order of its own.
    """
    source = random.Random(seed)  # noqa: S311 - reproducible is what it has to be
    pool = [fault for fault in FAULTS.values() if fault.random]
    while True:
        for fault in source.sample(pool, len(pool)):
            yield fault, source.uniform(*QUIET)


def _with_events(result: Result) -> Result:
    """Add what the monitor saw and decided meanwhile, in its own words, to a load's marks."""
    try:
        found = events.recent(EVENTS_MOST)
    except StackError:
        return result
    marks = [
        Mark(event.time.timestamp() - result.started, f"{event.node} is {event.state}")
        for event in found
        if event.reported and 0 <= event.time.timestamp() - result.started <= result.seconds
    ]
    return dataclasses.replace(result, marks=sorted([*result.marks, *marks], key=lambda m: m.at))


def _finish(
    session: Session,
    results: dict[str, Result],
    ends: list[float],
    keep: Path,
    broken: Sequence[str] = (),
) -> Drill:
    judged, histories = judge_all(results)
    operations = on_one_clock(results)
    pairs = zip(session.strikes, ends, strict=True)
    first = next(iter(results.values()))
    drill = Drill(
        began=datetime.fromtimestamp(first.started, UTC).isoformat(timespec="seconds"),
        seconds=round(first.seconds, 1),
        measured=[measure(strike, operations, until=end) for strike, end in pairs],
        judged=judged,
        problems=[*broken, *(each for result in results.values() for each in result.problems)],
    )
    keep.mkdir(parents=True, exist_ok=True)
    for name, history in histories.items():
        save(history, keep / f"{name}.jsonl")
        page = render_page(summarize(_with_events(results[name])), f"{session.title}: {name}")
        (keep / f"{name}.html").write_text(page, encoding="utf-8")
    text = json.dumps(dataclasses.asdict(drill), indent=2)
    (keep / "drill.json").write_text(text + "\n", encoding="utf-8")
    return drill
