"""How much this machine's generator can send on time: measured against a server that does nothing.

The server takes a share of the machine, too, as the stack will when it is on the same one: the
real limit is below what is found here when the stack has more to do than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.load.null import null_server
from ops.load.operation import Outcome
from ops.load.plan import Plan
from ops.load.run import Run
from ops.load.selfcheck import lateness

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FIRST = 200.0
"""Requests per second to begin with."""

MOST = 20_000.0
"""Requests per second to stop at."""

SHARE_OF_WRITES = 0.2


@dataclass(frozen=True, slots=True)
class Step:
    """One rate that was tried; `late` is the 99th percentile in seconds, `cpu` of one core."""

    rate: float
    late: float
    cpu: float
    kept: bool


@dataclass(frozen=True, slots=True)
class Calibration:
    """The highest rate that was kept, in requests per second (0: none), and all that were tried."""

    rate: float
    steps: Sequence[Step]


def calibrate(
    processes: int = 1, *, seconds: float = 1.0, note: Callable[[Step], None] = lambda _: None
) -> Calibration:
    """Find the highest rate that `processes` keep: doubled until it is too high, then in between.

    A rate is kept when every request succeeds and selfcheck finds no bottleneck. Each rate takes
    `seconds` and about one more to start; `note` hears of it. Raises LoadError as Run does.
    """
    steps: list[Step] = []
    kept, missed = 0.0, 0.0
    with null_server() as url:
        rate = FIRST
        while rate <= MOST:
            steps.append(_step(url, rate, processes, seconds))
            note(steps[-1])
            if not steps[-1].kept:
                missed = rate
                break
            kept, rate = rate, rate * 2
        if missed and kept:
            steps.append(_step(url, kept * 1.5, processes, seconds))
            note(steps[-1])
            kept = steps[-1].rate if steps[-1].kept else kept
    return Calibration(kept, steps)


def _step(url: str, rate: float, processes: int, seconds: float) -> Step:
    plan = Plan(
        base_url=url,
        writes_per_second=rate * SHARE_OF_WRITES,
        reads_per_second=rate * (1 - SHARE_OF_WRITES),
        seconds=seconds,
        processes=processes,
    )
    with Run(plan) as run:
        run.wait(seconds * 3)
    result = run.stop()
    found = lateness(result.operations, result.checks)
    right = all(one.outcome is Outcome.OK for one in result.operations) and not result.problems
    cpu = max((check.cpu for check in result.checks), default=0.0)
    return Step(rate, found.late.percentile(99), cpu, kept=right and not found.bottlenecks)
