"""Memory that the supervisor and its workers share: who lives, in what state, who drains.

/health on any worker answers from it, and waits for nobody: a worker that is stuck only gets old.
Each cell is 8 bytes, aligned, and copied as one: no reader sees half of a value. No locks.
"""

import math
import mmap
import time

STATUSES = ("starting", "ok", "stale", "degraded", "waiting", "unavailable", "draining")
"""What a worker says of itself (service/api/health.py)."""

SILENT = "silent"
SILENT_AFTER = 2.0
"""Seconds since a worker's last beat after which /health calls it silent. It beats every 0.1 s."""

_DRAINING, _REPLACED, _FIRST = range(3)


class Board:
    """Made by the supervisor before it forks."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._cells = memoryview(mmap.mmap(-1, 8 * (_FIRST + 2 * workers))).cast("d")

    @property
    def draining(self) -> bool:
        """Whether the instance was asked to stop."""
        return bool(self._cells[_DRAINING])

    def drain(self) -> None:
        """Let all workers say so from now on, also those that have not seen a signal yet."""
        self._cells[_DRAINING] = 1

    @property
    def replaced(self) -> int:
        """How many workers have ended without being asked to."""
        return int(self._cells[_REPLACED])

    def count_replaced(self) -> None:
        """Count one; the supervisor alone does."""
        self._cells[_REPLACED] += 1

    def beat(self, worker: int, status: str) -> None:
        """Say that a worker's event loop turns, and in what state it is."""
        self._cells[_FIRST + 2 * worker + 1] = STATUSES.index(status)
        self._cells[_FIRST + 2 * worker] = time.monotonic()

    def beaten(self, worker: int) -> float:
        """Return when a worker last did, on the monotonic clock; 0: not since `clear`."""
        return self._cells[_FIRST + 2 * worker]

    def clear(self, worker: int) -> None:
        """Forget a worker: it has ended, and another begins."""
        self._cells[_FIRST + 2 * worker] = 0
        self._cells[_FIRST + 2 * worker + 1] = 0

    def statuses(self) -> list[str]:
        """Return the state of each worker."""
        now, found = time.monotonic(), []
        for worker in range(self.workers):
            beaten = self.beaten(worker) or math.inf
            status = STATUSES[int(self._cells[_FIRST + 2 * worker + 1])]
            found.append(SILENT if now - beaten > SILENT_AFTER else status)
        return found
