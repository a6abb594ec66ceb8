"""Whether the generator kept its own schedule: if not, what it measured is partly itself."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ops.load.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ops.load.operation import Operation

TICK = 0.02
"""Seconds between two looks at how late the event loop is."""

LATE_P99 = 0.020
"""Seconds: of a generator that keeps up, 99 % of the requests leave less late than this."""

LATE_MOST = 0.5
"""Seconds: of a generator that keeps up, no request leaves later than this."""

CPU_MOST = 0.85
"""The part of one core that a process may take; one thread sends, so 1 is the end."""


@dataclass(slots=True)
class SelfCheck:
    """What one process says about itself: its event loop's lag in seconds, and its CPU share."""

    process: int
    lag: Histogram = field(default_factory=Histogram)
    cpu: float = 0.0  # part of one core, since the load's start

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry, times in seconds."""
        lag = {"p99": self.lag.percentile(99), "max": self.lag.longest}
        return {"process": self.process, "cpu": round(self.cpu, 3), "loop_lag": lag}


@dataclass(frozen=True, slots=True)
class Lateness:
    """How late requests left, in seconds, and in which ways the generator was the bottleneck."""

    late: Histogram
    checks: Sequence[SelfCheck]
    bottlenecks: Sequence[str]  # sentences; none: it kept up


def lateness(operations: Iterable[Operation], checks: Sequence[SelfCheck]) -> Lateness:
    """Judge the generator by what it sent since the start, and by its processes' own words."""
    late = Histogram(one.late for one in operations if one.due >= 0)
    found = []
    if late.percentile(99) > LATE_P99:
        found.append(f"1 % of the requests left more than {_ms(late.percentile(99))} late.")
    if late.longest > LATE_MOST:
        found.append(f"A request left {_ms(late.longest)} late.")
    found += [
        f"Process {check.process} took {check.cpu:.0%} of a core."
        for check in checks
        if check.cpu > CPU_MOST
    ]
    return Lateness(late, checks, found)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


async def watch(check: SelfCheck) -> None:
    """Keep `check` up to date until cancelled."""
    began, cpu = time.monotonic(), time.process_time()
    while True:
        due = time.monotonic() + TICK
        await asyncio.sleep(TICK)
        now = time.monotonic()
        check.lag.add(now - due)
        check.cpu = (time.process_time() - cpu) / (now - began)
