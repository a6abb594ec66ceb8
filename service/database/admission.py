"""Bounds how many units of work there are at a time.

While the database fails over every one of them is held. Past the limit whoever has most of them is
refused, at once: a failover under load must not eat the memory, nor end in a herd that no database
can serve; and nobody's flood keeps others out.
"""

from collections.abc import Callable
from typing import TypeAlias

from service.errors import DatabaseError, Overloaded

SendAway: TypeAlias = Callable[[str, DatabaseError], bool]
"""Ends one wait of a caller for a session with an error; says whether there was one."""


class Admission:
    """Counts the units of work. Everything runs on one event loop: no locks."""

    def __init__(self, limit: int, send_away: SendAway = lambda _, __: False) -> None:
        self.limit = limit
        self.held = 0  # units of work in progress, served or waiting
        self.refused = 0  # ever, at the limit
        self.sent_away = 0  # waits, ever, that ended so that another caller had room
        self._send_away = send_away
        self._by_caller: dict[str, int] = {}

    @property
    def callers(self) -> int:
        """The number of callers that have units of work in progress."""
        return len(self._by_caller)

    @property
    def caller_most(self) -> int:
        """The number of units of work of whoever has most."""
        return max(self._by_caller.values(), default=0)

    def begin(self, caller: str) -> None:
        """Count one, until `end`. Raises Overloaded at the limit, if no other caller has more."""
        if self.held >= self.limit and not self._make_room(caller):
            self.refused += 1
            raise self._overloaded()
        self.held += 1
        self._by_caller[caller] = self._by_caller.get(caller, 0) + 1

    def end(self, caller: str) -> None:
        """Count one less."""
        self.held -= 1
        self._by_caller[caller] -= 1
        if not self._by_caller[caller]:
            del self._by_caller[caller]

    def _make_room(self, caller: str) -> bool:
        """Send one of whoever has most away, if that is another; he is gone a moment later."""
        own = self._by_caller.get(caller, 0)
        most = max(self._by_caller, key=self._by_caller.__getitem__, default=caller)
        more = self._by_caller.get(most, 0) > own + 1
        if not more or not self._send_away(most, self._overloaded()):
            return False
        self.sent_away += 1
        return True

    def _overloaded(self) -> Overloaded:
        return Overloaded(f"{self.held} units of work are held already", kind="overloaded")
