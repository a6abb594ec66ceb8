"""The unit of work at hand: how long it may take, and what its earlier attempts have left open.

`@retry_on_failover` opens one for all attempts of a call. Every wait further down takes its bound
from its deadline, so that no chain of timeouts can add up to more than the client was promised.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from service.database.deadline import Deadline
from service.errors import CommitInDoubt, CommitUnresolved


@dataclass(slots=True)
class UnitOfWork:
    """One call of a decorated method, all its attempts included."""

    deadline: Deadline
    in_doubt: CommitInDoubt | None = None  # the outcome of an earlier attempt is not known
    claimed: bool = False  # a session that was lost may hold its key for a while
    applied: bool = False  # COMMIT was sent for its effect: what its key did may be its own doing
    key: bytes | None = None  # the digest of the key that its attempts share
    ahead: bool = False  # the primary has not reached its token, so no reader has

    def use(self, key: bytes) -> None:
        """Note the key of an attempt. Raises ValueError when an earlier one had another.

        With a new key for each attempt a COMMIT in doubt would be applied again.
        """
        if self.key not in (None, key):
            raise ValueError(
                "A unit of work has one idempotency key, the same in all its attempts: make the "
                "key before the method that is retried"
            )
        self.key = key

    def doubt(self, error: CommitInDoubt) -> CommitUnresolved:
        """Note that a COMMIT's answer was lost; return what lets the unit of work go on."""
        self.in_doubt = error
        return CommitUnresolved(str(error), kind=error.kind)

    def resolve(self) -> None:
        """Note that the database has told what became of the earlier attempts."""
        self.in_doubt = None


_current: ContextVar[UnitOfWork | None] = ContextVar("holdfast_unit_of_work", default=None)
_patience: ContextVar[Deadline | None] = ContextVar("holdfast_patience", default=None)


def current_unit() -> UnitOfWork | None:
    """Return the unit of work that is running, if one is."""
    return _current.get()


@contextmanager
def unit_of_work(seconds: float) -> Iterator[UnitOfWork]:
    """Open a unit of work that may take `seconds`, or less if the caller's patience ends before."""
    deadline, patience = Deadline.after(seconds), _patience.get()
    unit = UnitOfWork(deadline if patience is None else min(deadline, patience))
    token = _current.set(unit)
    try:
        yield unit
    finally:
        _current.reset(token)


@contextmanager
def patience(deadline: Deadline) -> Iterator[None]:
    """Let no unit of work that begins within the block outlast `deadline`."""
    token = _patience.set(deadline)
    try:
        yield
    finally:
        _patience.reset(token)
