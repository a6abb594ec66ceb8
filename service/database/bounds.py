"""Calls what is overdue.

Nearly everything ends long before its bound. So beginning and ending a wait costs an entry in a
dictionary, and one timer, for the earliest bound there was, looks through what is left.
"""

import asyncio
import math
import time
from collections.abc import Callable
from itertools import count


class Bounds:
    """The bounds of what is under way. Everything runs on one event loop: no locks."""

    def __init__(self) -> None:
        self._numbers = count()
        self._under_way: dict[int, tuple[float, Callable[[], object]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = math.inf  # monotonic seconds, no later than any bound

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, seconds: float, overdue: Callable[[], object]) -> int:
        """Have `overdue` called in so many seconds, unless `end` is told the number before."""
        at = time.monotonic() + max(seconds, 0)
        number = next(self._numbers)
        self._under_way[number] = at, overdue
        if at < self._looks_at:
            self._look_at(at)
        return number

    def end(self, number: int) -> None:
        """Note that something is over, whether or not it was called."""
        self._under_way.pop(number, None)

    def _look_at(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._looks_at = at
        delay = max(at - time.monotonic(), 0)
        self._timer = asyncio.get_running_loop().call_later(delay, self._look)

    def _look(self) -> None:
        """Call what is overdue, and wait for the next."""
        self._timer, self._looks_at = None, math.inf
        now = time.monotonic()
        try:
            for number in [each for each, (at, _) in self._under_way.items() if at <= now]:
                if bound := self._under_way.pop(number, None):  # no earlier call has ended it
                    bound[1]()
        finally:
            if self._under_way:
                self._look_at(min(at for at, _ in self._under_way.values()))
