"""The wait queue in front of a pool: who asked first is served first, whatever frees a session."""

import asyncio
from collections.abc import Callable

from service.database.session import Session
from service.errors import DatabaseError


class Waiter:
    """One task's place in the queue. It is served, or fails, or leaves: whichever comes first."""

    __slots__ = ("attempted", "turn")

    def __init__(self) -> None:
        self.turn: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
        self.attempted = False  # a session was tried to be opened for it

    @property
    def session(self) -> Session | None:
        """The session it was served with, if it was."""
        served = self.turn.done() and not self.turn.cancelled() and self.turn.exception() is None
        return self.turn.result() if served else None

    def serve(self, session: Session) -> None:
        """Hand a session over; the waiter must not have left."""
        self.turn.set_result(session)

    def fail(self, error: DatabaseError) -> bool:
        """End the wait with an error, and say whether it still waited."""
        if self.turn.done():
            return False
        self.turn.set_exception(error)
        return True


class WaitQueue:
    """Waiters in the order in which they came. Leaving takes the same time from any place."""

    def __init__(self) -> None:
        self._waiters: dict[Waiter, None] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    def join(self) -> Waiter:
        """Take a place at the end."""
        waiter = Waiter()
        self._waiters[waiter] = None
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Give a place up, if it was not already."""
        self._waiters.pop(waiter, None)

    def first(self) -> Waiter | None:
        """Return who has waited longest and still does."""
        return next((each for each in self._waiters if not each.turn.done()), None)

    def first_without_attempt(self) -> Waiter | None:
        """Return the first of those for whom no session is being opened yet."""
        waiting = (each for each in self._waiters if not (each.attempted or each.turn.done()))
        return next(waiting, None)

    def fail_all(self, error: Callable[[], DatabaseError]) -> None:
        """End every wait, each with an error of its own."""
        for waiter in list(self._waiters):
            waiter.fail(error())
            self.leave(waiter)
