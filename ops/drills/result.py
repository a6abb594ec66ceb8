"""What a drill came to: pauses and failures per fault, the checker's verdict per session."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ops.drills.checker import judge
from ops.drills.history import History
from ops.drills.session import rows
from ops.drills.verdict import Rule
from ops.load.driver import UNSENT
from ops.load.operation import Kind, Outcome
from ops.load.pauses import longest_gap

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ops.drills.session import Strike
    from ops.drills.verdict import Finding
    from ops.load.operation import Operation
    from ops.load.run import Result

BEFORE = 1.0
"""Seconds before a fault that its window begins: requests that were due may still be in flight."""

FINDINGS_SHOWN = 20


@dataclass(frozen=True)
class Measured:
    """One fault, as clients saw it."""

    fault: str
    write_pause: float  # seconds without any successful write
    read_pause: float
    slowest_write: float  # seconds from when it was due, over all clients
    slowest_read: float
    failed: dict[str, int]  # by client
    errors: dict[str, int]  # by what they were answered with
    redundant_after: float  # seconds from the mending to a whole stack
    moved: bool  # the primary's role did
    missed: list[str] = field(default_factory=list)  # targets, in sentences


@dataclass(frozen=True)
class Judged:
    """The checker's verdict on one session, all clients together."""

    acknowledged: int  # writes
    reads: int
    unknown: int  # writes whose outcome the client was not told
    lost: int
    lost_as_warned: int
    twice: int
    stale: int
    other: int
    findings: list[str]  # the first few, in sentences

    @property
    def ok(self) -> bool:
        """Whether every promise was kept."""
        return self.lost + self.twice + self.stale + self.other == 0


def on_one_clock(results: dict[str, Result]) -> dict[str, list[Operation]]:
    """Return each client's operations, in seconds after the start of the first client's load."""
    zero = next(iter(results.values())).started
    shifts = {name: result.started - zero for name, result in results.items()}
    return {
        name: [_later(each, shifts[name]) for each in result.operations]
        for name, result in results.items()
    }


def _later(one: Operation, by: float) -> Operation:
    return replace(one, due=one.due + by, sent=one.sent + by, completed=one.completed + by)


def measure(strike: Strike, results: dict[str, list[Operation]], *, until: float) -> Measured:
    """Look at what was due from shortly before a fault until `until`, in the load's seconds."""
    windows = {
        name: [each for each in operations if strike.struck - BEFORE <= each.due < until]
        for name, operations in results.items()
    }
    everything = [each for window in windows.values() for each in window]
    writes = [each for each in everything if each.kind is not Kind.READ]
    reads = [each for each in everything if each.kind is Kind.READ]
    counted = [each for each in everything if _failed(each)]
    measured = Measured(
        fault=strike.fault.name,
        write_pause=longest_gap(_successes(writes), strike.measured, until).seconds,
        read_pause=longest_gap(_successes(reads), strike.measured, until).seconds,
        slowest_write=max((each.latency for each in writes), default=0.0),
        slowest_read=max((each.latency for each in reads), default=0.0),
        failed={name: sum(_failed(each) for each in window) for name, window in windows.items()},
        errors=dict(Counter(each.error for each in counted)),
        redundant_after=strike.redundant_after,
        moved=strike.moved,
    )
    measured.missed.extend(_missed(strike, measured))
    return measured


def judge_all(results: dict[str, Result]) -> tuple[Judged, dict[str, History]]:
    """Ask the database what is there, and judge each client's history by it."""
    histories = {
        name: History(result.operations, rows(result.plan.prefix), result.started)
        for name, result in results.items()
    }
    verdicts = [judge(history) for history in histories.values()]
    broken = sum((Counter(verdict.broken) for verdict in verdicts), Counter[Rule]())
    named = {Rule.LOST, Rule.TWICE, Rule.STALE}
    operations = [each for history in histories.values() for each in history.operations]
    judged = Judged(
        acknowledged=sum(verdict.acknowledged for verdict in verdicts),
        reads=sum(each.kind is Kind.READ for each in operations),
        unknown=sum(sum(verdict.resolved.values()) for verdict in verdicts),
        lost=broken[Rule.LOST],
        lost_as_warned=sum(len(verdict.lost_as_warned) for verdict in verdicts),
        twice=broken[Rule.TWICE],
        stale=broken[Rule.STALE],
        other=sum(count for rule, count in broken.items() if rule not in named),
        findings=_sentences(finding for verdict in verdicts for finding in verdict.findings),
    )
    return judged, histories


def _successes(operations: Iterable[Operation]) -> list[float]:
    return [each.completed for each in operations if each.outcome is Outcome.OK]


def _failed(one: Operation) -> bool:
    """Tell whether a request that was sent did not get the right answer."""
    return one.outcome is not Outcome.OK and one.error != UNSENT


def _sentences(findings: Iterable[Finding]) -> list[str]:
    return [f"{each.rule}: {each.sentence}" for each in findings][:FINDINGS_SHOWN]


def _missed(strike: Strike, measured: Measured) -> list[str]:
    """Say which targets one run does not meet."""
    targets = strike.fault.targets
    missed = []
    for what, pause, most in (
        ("writes", measured.write_pause, targets.writes),
        ("reads", measured.read_pause, targets.reads),
    ):
        if most is not None and pause > most:
            missed.append(f"{what} paused for {pause:.2f} s, more than {most:.1f}")
    if measured.failed.get("careful"):
        missed.append(f"{measured.failed['careful']} failed for a client with keys and retries")
    if measured.failed.get("plain") and not targets.plain_may_fail:
        missed.append(f"{measured.failed['plain']} failed for a client without")
    if targets.failover is False and measured.moved:
        missed.append("the primary's role moved")
    return missed
