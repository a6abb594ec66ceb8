"""When requests are due: fixed beforehand, whatever becomes of those before them."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Schedule:
    """Arrivals at a steady rate; of `processes` that share them, `number` takes every n-th.

    `rate` is per second and of all processes; `seconds` None never ends; `shift`, a part of the
    distance between two arrivals, keeps two schedules from asking for the same moment.
    """

    rate: float
    seconds: float | None = None
    number: int = 0
    processes: int = 1
    shift: float = 0.0

    def arrivals(self) -> Iterator[float]:
        """Return when this process's requests are due, in seconds after the load's start."""
        if self.rate <= 0:
            return
        for place in itertools.count(self.number, self.processes):
            due = (place + self.shift) / self.rate
            if self.seconds is not None and due >= self.seconds:
                return
            yield due


async def until(moment: float) -> None:
    """Return at `moment` of `time.monotonic`, never before: timers of uvloop round to 1 ms."""
    while (left := moment - time.monotonic()) > 0:  # noqa: ASYNC110 - it is a clock's event
        await asyncio.sleep(left)
