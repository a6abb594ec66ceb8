"""The unit of work at hand: how long it may take, and what its earlier attempts have left open.

`@retry_on_failover` opens one for all attempts of a call. Every wait further down takes its bound
from its deadline, so that no chain of timeouts can add up to more than the client was promised.
"""

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


@dataclass(slots=True)
class Caller:
    """Whose units of work these are, and how long he waits."""

    name: str = ""  # callers take turns at a pool that is busy
    patience: Deadline | None = None  # no unit of work that begins now outlasts it


_current: ContextVar[UnitOfWork | None] = ContextVar("holdfast_unit_of_work", default=None)
_caller: ContextVar[Caller | None] = ContextVar("holdfast_caller", default=None)


def current_unit() -> UnitOfWork | None:
    """Return the unit of work that is running, if one is."""
    return _current.get()


def current_caller() -> Caller:
    """Return whose units of work begin here; nobody in particular, outside of `calling`."""
    return _caller.get() or Caller()


class unit_of_work:  # noqa: N801 - used as a function
    """Open a unit of work that may take `seconds`, or less if the caller's patience ends before."""

    __slots__ = ("_token", "_unit")

    def __init__(self, seconds: float) -> None:
        deadline, patience = Deadline.after(seconds), current_caller().patience
        self._unit = UnitOfWork(deadline if patience is None else min(deadline, patience))

    def __enter__(self) -> UnitOfWork:
        self._token = _current.set(self._unit)
        return self._unit

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


class calling:  # noqa: N801 - used as a function
    """A block whose units of work are a caller's, who may be told apart as he becomes known."""

    __slots__ = ("_caller", "_token")

    def __init__(self, name: str = "") -> None:
        self._caller = Caller(name)

    def __enter__(self) -> Caller:
        self._token = _caller.set(self._caller)
        return self._caller

    def __exit__(self, *_: object) -> None:
        _caller.reset(self._token)
