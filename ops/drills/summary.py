"""What several drills came to, a line for each fault: medians, the worst, and the verdict."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ops.drills.faults import Targets
    from ops.drills.result import Measured
    from ops.drills.runner import Drill


@dataclass(frozen=True)
class Spread:
    """Seconds, over several runs."""

    median: float
    least: float
    most: float


@dataclass(frozen=True)
class Verdict:
    """What the checker found in all sessions of one fault."""

    lost: int
    twice: int
    stale: int


@dataclass(frozen=True)
class Line:
    """One fault, over all its runs."""

    fault: str
    runs: int
    write_pause: Spread
    read_pause: Spread
    slowest: float  # seconds, the worst request of all runs
    plain: int  # requests that failed, of clients without retries
    careful: int  # and of those with keys and retries
    redundant_after: Spread
    missed: bool  # a target, in some run
    verdict: Verdict | None  # None: sessions of several faults are judged as a whole
    targets: Targets


def by_fault(drills: Sequence[Drill]) -> list[Line]:
    """Return a line a fault, in the order in which they came."""
    runs: dict[str, list[tuple[Measured, Drill]]] = {}
    for drill in drills:
        for measured in drill.measured:
            runs.setdefault(measured.fault, []).append((measured, drill))
    return [_line(fault, several) for fault, several in runs.items()]


def _line(fault: str, several: list[tuple[Measured, Drill]]) -> Line:
    measured = [each for each, _ in several]
    drills = [drill for _, drill in several]
    alone = all(len(drill.measured) == 1 for drill in drills)
    return Line(
        fault=fault,
        runs=len(several),
        write_pause=_spread(each.write_pause for each in measured),
        read_pause=_spread(each.read_pause for each in measured),
        slowest=max(max(each.slowest_write, each.slowest_read) for each in measured),
        plain=sum(each.failed.get("plain", 0) for each in measured),
        careful=sum(each.failed.get("careful", 0) for each in measured),
        redundant_after=_spread(each.redundant_after for each in measured),
        missed=any(each.missed for each in measured),
        verdict=_verdict(drills) if alone else None,
        targets=measured[0].targets,
    )


def _verdict(drills: list[Drill]) -> Verdict:
    judged = [drill.judged for drill in drills]
    return Verdict(
        lost=sum(each.lost for each in judged),
        twice=sum(each.twice for each in judged),
        stale=sum(each.stale for each in judged),
    )


def _spread(seconds: Iterable[float]) -> Spread:
    several = sorted(seconds)
    return Spread(statistics.median(several), several[0], several[-1])
