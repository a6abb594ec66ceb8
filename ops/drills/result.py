"""What a drill came to: pauses and failures per fault, the checker's verdict per session."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ops.drills.checker import judge
from ops.drills.verdict import Resolution, Rule
from ops.load.driver import UNSENT
from ops.load.operation import Kind, Outcome
from ops.load.pauses import longest_gap
from ops.load.selfcheck import lateness

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ops.drills.faults import Targets
    from ops.drills.history import History
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
    targets: Targets
    missed: list[str] = field(default_factory=list)  # of the targets, in sentences


@dataclass(frozen=True)
class Totals:
    """A whole session, the time between its faults included."""

    failed: dict[str, int]  # by client
    not_sent: int  # the generator had too many requests under way
    write_pause: float  # seconds
    read_pause: float
    bottlenecks: list[str]  # sentences on the generator; none: it kept up


@dataclass(frozen=True)
class Judged:
    """The checker's verdict on one session, all clients together."""

    acknowledged: int  # writes
    reads: int  # that were answered
    unknown: int  # writes whose outcome the client was not told
    undecided: int  # of these, those of which the history does not tell either
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
        name: [_later(each, shift) for each in result.operations] if shift else result.operations
        for (name, result), shift in zip(results.items(), shifts.values(), strict=True)
    }


def _later(one: Operation, by: float) -> Operation:
    return replace(one, due=one.due + by, sent=one.sent + by, completed=one.completed + by)


def measure(strike: Strike, results: dict[str, list[Operation]]) -> Measured:
    """Look at what was due from shortly before a fault until its end."""
    since, until = strike.measured - BEFORE, strike.ended
    windows = {
        name: [each for each in operations if since <= each.due < until]
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
        targets=strike.fault.targets,
    )
    measured.missed.extend(_missed(measured))
    return measured


def total(results: dict[str, Result]) -> Totals:
    """Look at everything that was due since the load began."""
    windows = {
        name: [each for each in operations if each.due >= 0]
        for name, operations in on_one_clock(results).items()
    }
    everything = [each for window in windows.values() for each in window]
    seconds = max(result.seconds for result in results.values())
    writes = [each for each in everything if each.kind is not Kind.READ]
    reads = [each for each in everything if each.kind is Kind.READ]
    return Totals(
        failed={name: sum(_failed(each) for each in window) for name, window in windows.items()},
        not_sent=sum(each.error == UNSENT for each in everything),
        write_pause=longest_gap(_successes(writes), 0.0, seconds).seconds,
        read_pause=longest_gap(_successes(reads), 0.0, seconds).seconds,
        bottlenecks=[
            f"{name}: {sentence}"
            for name, result in results.items()
            for sentence in lateness(result.operations, result.checks).bottlenecks
        ],
    )


def judge_all(histories: Iterable[History]) -> Judged:
    """Judge each client's history by itself, and add up."""
    histories = list(histories)
    verdicts = [judge(history) for history in histories]
    broken = sum((Counter(verdict.broken) for verdict in verdicts), Counter[Rule]())
    named = {Rule.LOST, Rule.TWICE, Rule.STALE}
    operations = [each for history in histories for each in history.operations]
    return Judged(
        acknowledged=sum(verdict.acknowledged for verdict in verdicts),
        reads=sum(_answered(each) for each in operations),
        unknown=sum(sum(verdict.resolved.values()) for verdict in verdicts),
        undecided=sum(verdict.resolved.get(Resolution.CANNOT_TELL, 0) for verdict in verdicts),
        lost=broken[Rule.LOST],
        lost_as_warned=sum(len(verdict.lost_as_warned) for verdict in verdicts),
        twice=broken[Rule.TWICE],
        stale=broken[Rule.STALE],
        other=sum(count for rule, count in broken.items() if rule not in named),
        findings=_sentences(finding for verdict in verdicts for finding in verdict.findings),
    )


def _successes(operations: Iterable[Operation]) -> list[float]:
    return [each.completed for each in operations if each.outcome is Outcome.OK]


def _answered(one: Operation) -> bool:
    return one.kind is Kind.READ and one.outcome is Outcome.OK


def _failed(one: Operation) -> bool:
    """Tell whether a request that was sent did not get the right answer."""
    return one.outcome is not Outcome.OK and one.error != UNSENT


def _sentences(findings: Iterable[Finding]) -> list[str]:
    return [f"{each.rule}: {each.sentence}" for each in findings][:FINDINGS_SHOWN]


def _missed(measured: Measured) -> list[str]:
    """Say which targets one run does not meet."""
    targets = measured.targets
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
