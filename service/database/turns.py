"""Whose turn it is to take a session from a pool, or to open one.

asyncpg's pool binds whoever finds no open session to a connection of his own, even while sessions
come back beside him. After a failover that makes the worst of it: those who waited open all
connections at once, on processors that the waiting work needs, and each waits for his login while
later ones are served. Here they stand in line: the first takes what comes back, and only a few at
a time open one more.
"""

import asyncio
from collections import deque
from collections.abc import Callable


class Turns:
    """A line in front of a pool; `free` says whether there is something to take or to open."""

    def __init__(self, free: Callable[[], bool]) -> None:
        self._free = free
        self._line: deque[asyncio.Future[None]] = deque()

    async def wait(self) -> None:
        """Return when it is this task's turn: it has to take what is free before it waits again."""
        called = False
        while not self._free() or (self._line and not called):
            turn = asyncio.get_running_loop().create_future()
            # Called, but another look had called somebody who was faster: still the first.
            self._line.insert(0 if called else len(self._line), turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn in self._line:
                    self._line.remove(turn)
                else:
                    self.look()  # it was called already: the next one is
                raise
            called = True
        if self._line:  # there may be more than this task takes
            asyncio.get_running_loop().call_soon(self.look)

    def look(self) -> None:
        """Call the first in line, if there is something for him. Wanted after every change."""
        while self._line and self._free():
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
