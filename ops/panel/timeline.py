"""What clients saw in the last 15 minutes, in steps of 100 ms, as operations become known.

Counts stand where requests ended: a pause is a stretch without any. Latencies stand where requests
were due, from where they count (as in ops.load.timeline). A step is known by its number, Unix time
in tenths of a second, so that what comes late finds its place.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

STEPS_A_SECOND = 10
KEPT = 15 * 60 * STEPS_A_SECOND
"""Steps: 15 minutes."""

AHEAD = 5 * STEPS_A_SECOND
"""Steps that a moment may be ahead of this clock; what is further was made up."""

READ, WRITE = "read", "write"
Seen = tuple[str, float, float, str]
"""A request: read or write, when it was due and ended (Unix time), and its outcome."""


@dataclass(slots=True)
class Step:
    """What ended in 100 ms, and how long those took that were due in it."""

    ok: dict[str, int] = field(default_factory=lambda: {WRITE: 0, READ: 0})
    failed: int = 0
    unknown: int = 0
    took: dict[str, list[float]] = field(default_factory=lambda: {WRITE: [], READ: []})
    held: int | None = None  # units of work in progress, over all instances; None: nobody said

    def row(self, number: int) -> list[int | None]:
        """Return it for the page; latencies are in milliseconds."""
        writes, reads = (sorted(self.took[kind]) for kind in (WRITE, READ))
        counts = [number, self.ok[WRITE], self.ok[READ], self.failed, self.unknown]
        return [
            *counts,
            _median(writes),
            _longest(writes),
            _median(reads),
            _longest(reads),
            self.held,
        ]


class Timeline:
    """The steps, and which of them have changed since somebody asked. Any thread may call it."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._steps: OrderedDict[int, Step] = OrderedDict()
        self._changed: set[int] = set()
        self._lock = threading.Lock()

    def add(self, seen: Iterable[Seen]) -> None:
        """Count requests that are over."""
        with self._lock:
            for kind, due, ended, outcome in seen:
                if (step := self._at(ended)) is not None:
                    if outcome == "ok":
                        step.ok[kind] += 1
                    elif outcome == "failed":
                        step.failed += 1
                    else:
                        step.unknown += 1
                if (step := self._at(due)) is not None:
                    step.took[kind].append(ended - due)

    def hold(self, count: int) -> None:
        """Note how many units of work the instances hold now."""
        with self._lock:
            if (step := self._at(time.time())) is not None:
                step.held = count

    def changes(self) -> list[list[int | None]]:
        """Return the steps that have changed since this was asked last."""
        with self._lock:
            changed, self._changed = sorted(self._changed), set()
            return [self._steps[each].row(each) for each in changed if each in self._steps]

    def everything(self) -> list[list[int | None]]:
        """Return all steps in which something happened."""
        with self._lock:
            self._drop()
            return [self._steps[each].row(each) for each in sorted(self._steps)]

    def _at(self, moment: float) -> Step | None:
        """Return the step of a moment; None for one that is too old, or has not come."""
        number, now = int(moment * STEPS_A_SECOND), int(time.time() * STEPS_A_SECOND)
        if not now - KEPT < number <= now + AHEAD:
            return None
        self._changed.add(number)
        if number not in self._steps:
            self._steps[number] = Step()
            if len(self._steps) > 2 * KEPT:
                self._drop()
        return self._steps[number]

    def _drop(self) -> None:
        oldest = int(time.time() * STEPS_A_SECOND) - KEPT
        for number in [each for each in self._steps if each <= oldest]:
            del self._steps[number]


def _median(took: list[float]) -> int | None:
    return round(took[(len(took) - 1) // 2] * 1000) if took else None


def _longest(took: list[float]) -> int | None:
    return round(took[-1] * 1000) if took else None
