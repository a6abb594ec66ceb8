"""How long the unit of work at hand may still take.

`@retry_on_failover` sets the deadline once for all attempts; every wait further down takes its
bound from it, so that no chain of timeouts can add up to more than the client was promised.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point in time on the monotonic clock."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Self:
        """Return the deadline `seconds` from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Return the seconds left; negative once it has passed."""
        return self.at - time.monotonic()


_current: ContextVar[Deadline | None] = ContextVar("holdfast_deadline", default=None)


def current_deadline() -> Deadline | None:
    """Return the deadline of the unit of work that is running, if one is."""
    return _current.get()


@contextmanager
def deadline_scope(deadline: Deadline) -> Iterator[Deadline]:
    """Make `deadline` the current one within the block."""
    token = _current.set(deadline)
    try:
        yield deadline
    finally:
        _current.reset(token)
