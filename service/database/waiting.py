"""The wait queue in front of a pool: callers take turns, whatever frees a session.

One caller alone gets all that there is. Of several each is served in turn, however many requests
another one sends at a time; of one caller's, who asked first is served first.
"""

import asyncio
from collections.abc import Callable, Iterator

from service.database.session import Session
from service.errors import DatabaseError


class Waiter:
    """One task's place in the queue. It is served, or fails, or leaves: whichever comes first."""

    __slots__ = ("attempted", "caller", "turn")

    def __init__(self, caller: str, loop: asyncio.AbstractEventLoop) -> None:
        self.caller = caller
        self.turn: asyncio.Future[Session] = loop.create_future()
        self.attempted = False  # a session was tried to be opened for it

    @property
    def session(self) -> Session | None:
        """The session it was served with, if it was."""
        served = self.turn.done() and not self.turn.cancelled() and self.turn.exception() is None
        return self.turn.result() if served else None

    def fail(self, error: DatabaseError) -> bool:
        """End the wait with an error, and say whether it still waited."""
        if self.turn.done():
            return False
        self.turn.set_exception(error)
        return True


class WaitQueue:
    """Waiters, by caller. Leaving takes the same time from any place."""

    def __init__(self) -> None:
        # Callers in the order of their turns, and the waiters of each as they came.
        self._lines: dict[str, dict[Waiter, None]] = {}
        # Asked for once: before Python 3.12 each time is a system call (getpid).
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def join(self, caller: str = "") -> Waiter:
        """Take a place at the end of the caller's line."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        waiter = Waiter(caller, self._loop)
        self._lines.setdefault(caller, {})[waiter] = None
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Give a place up, if it was not already."""
        line = self._lines.get(waiter.caller, {})
        line.pop(waiter, None)
        if not line:
            self._lines.pop(waiter.caller, None)

    def serve(self, waiter: Waiter, session: Session) -> None:
        """Hand a session over to a waiter who has not left; his caller's next turn comes last."""
        waiter.turn.set_result(session)
        self.leave(waiter)
        if (line := self._lines.pop(waiter.caller, None)) is not None:
            self._lines[waiter.caller] = line

    def first(self) -> Waiter | None:
        """Return whose turn it is, of those who still wait."""
        for line in self._lines.values():  # no generator: asked for with every session
            for waiter in line:
                if not waiter.turn.done():
                    return waiter
        return None

    def first_without_attempt(self) -> Waiter | None:
        """Return the first of those for whom no session is being opened yet."""
        waiting = (each for each in self._waiters() if not (each.attempted or each.turn.done()))
        return next(waiting, None)

    def send_away(self, caller: str, error: DatabaseError) -> bool:
        """End the wait of the caller's last waiter with an error; say whether he had one."""
        for waiter in reversed(self._lines.get(caller, {})):
            if waiter.fail(error):
                self.leave(waiter)
                return True
        return False

    def _waiters(self) -> Iterator[Waiter]:
        return (waiter for line in self._lines.values() for waiter in line)

    def fail_all(self, error: Callable[[], DatabaseError]) -> None:
        """End every wait, each with an error of its own."""
        for waiter in list(self._waiters()):
            waiter.fail(error())
            self.leave(waiter)
        self._loop = None
