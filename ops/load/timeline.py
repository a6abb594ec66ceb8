"""A load in equal steps of time: how much was completed, what became of it, how long it took.

Counts stand where requests ended: a pause is a stretch without any. Latencies stand where requests
were due, from where they count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ops.load.operation import Kind, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.load.operation import Operation

STEP = 0.1
"""Seconds."""

ROUNDING = 1e-6
"""Of a step: what a time may be short of it by and still be in it, as 0.3 / 0.1 is."""

MOST_STEPS = 1200
"""More than these are not told apart on a screen: a longer load has longer steps."""

_NICE = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 3600.0)


@dataclass(slots=True)
class Bucket:
    """What ended within one step, and how long those took that were due in it; of one kind."""

    ok: int = 0
    failed: int = 0
    unknown: int = 0
    latencies: list[float] = field(default_factory=list)  # of all, whatever the outcome; sorted

    @property
    def completed(self) -> int:
        """How many ended."""
        return self.ok + self.failed + self.unknown

    @property
    def p50(self) -> float | None:
        """The median latency in seconds, None when there is none."""
        return self.latencies[(len(self.latencies) - 1) // 2] if self.latencies else None

    @property
    def longest(self) -> float | None:
        """The longest latency in seconds, None when there is none."""
        return self.latencies[-1] if self.latencies else None

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        counts = {
            "completed": self.completed,
            "ok": self.ok,
            "failed": self.failed,
            "unknown": self.unknown,
        }
        return {**counts, "due": len(self.latencies), "p50": self.p50, "max": self.longest}


@dataclass(frozen=True, slots=True)
class Timeline:
    """Buckets of `step` seconds, the first from 0, the last with the load's last answer."""

    step: float
    writes: Sequence[Bucket]
    reads: Sequence[Bucket]

    @property
    def seconds(self) -> float:
        """Where the last bucket ends."""
        return self.step * len(self.writes)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        writes, reads = ([each.to_dict() for each in kind] for kind in (self.writes, self.reads))
        return {"step": self.step, "writes": writes, "reads": reads}


def nice_step(seconds: float) -> float:
    """Return the shortest step that gives at most MOST_STEPS of them."""
    return next((step for step in _NICE if seconds / step <= MOST_STEPS), _NICE[-1])


def timeline(operations: Sequence[Operation], seconds: float, step: float = STEP) -> Timeline:
    """Sort a load's operations into buckets; those of the preparation are left out.

    `seconds` is how long it was; the timeline is longer where answers came later.
    """
    mine = [one for one in operations if one.due >= 0]
    end = max([seconds, *(max(one.due, one.completed) for one in mine)])
    count = max(1, math.ceil(round(end / step, 6)))
    writes, reads = ([Bucket() for _ in range(count)] for _ in range(2))

    def at(buckets: Sequence[Bucket], moment: float) -> Bucket:
        return buckets[min(int(moment / step + ROUNDING), count - 1)]

    for one in mine:
        buckets = reads if one.kind is Kind.READ else writes
        at(buckets, one.due).latencies.append(one.latency)
        _count(at(buckets, one.completed), one)
    for bucket in (*writes, *reads):
        bucket.latencies.sort()
    return Timeline(step, writes, reads)


def _count(bucket: Bucket, one: Operation) -> None:
    match one.outcome:
        case Outcome.OK:
            bucket.ok += 1
        case Outcome.FAILED:
            bucket.failed += 1
        case Outcome.UNKNOWN:
            bucket.unknown += 1
