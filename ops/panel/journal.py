"""What happened, in words and times: what was done to the stack, and what it did about it."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ops.panel.view import ROLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.events import Event

KEPT = 400
"""Entries; a failover makes 20."""

LATELY = 900.0
"""Seconds before the first look that the monitor's events are told of: times have no day."""


@dataclass(frozen=True)
class Entry:
    """One of them. Kinds: fault, undone, promotion, address, down, up, monitor, load, note."""

    number: int
    at: float  # Unix time
    kind: str
    what: str


class Journal:
    """The entries; any thread may add some."""

    def __init__(self) -> None:
        """Begin empty."""
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._count = 0
        self._monitor = 0  # the newest of the monitor's events that is here
        self._before: dict[str, Any] | None = None
        self._lock = threading.Lock()

    def add(self, kind: str, what: str, at: float | None = None) -> None:
        """Note something; now, if no time is given."""
        with self._lock:
            self._count += 1
            moment = time.time() if at is None else at
            self._entries.append(Entry(self._count, moment, kind, what))

    def after(self, number: int) -> list[dict[str, Any]]:
        """Return the entries after that number."""
        with self._lock:
            return [asdict(each) for each in self._entries if each.number > number]

    def hear_monitor(self, events: Sequence[Event] | None) -> None:
        """Note what the monitor heard from nodes; not its thoughts between."""
        if events and max(event.number for event in events) < self._monitor:
            self._monitor = 0  # another monitor, which counts from 1
        since = 0.0 if self._monitor else time.time() - LATELY
        for event in events or ():
            if event.number > self._monitor:
                self._monitor = event.number
                recent = event.time.timestamp() >= since
                if recent and event.reported and event.state != "init":
                    role = ROLES.get(event.state, event.state)
                    what = f"Monitor: {event.node} is {event.state}"
                    what += f" ({role})" if role != event.state else ""
                    self.add("monitor", what, event.time.timestamp())

    def compare(self, now: dict[str, Any]) -> None:
        """Note what is different in the page's data from what was there the last time."""
        if now["asking"]:
            return  # whoever has not answered yet has not changed
        before, self._before = self._before, now
        if before is None or not (before["docker"] and now["docker"]):
            return
        self._members(before, now)
        self._roles(before, now)

    def _roles(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        was, primary = before["primary"], now["primary"]
        if was != primary:
            if primary is None:
                self.add("down", "No node accepts writes.")
            else:
                self.add("promotion", f"{primary} accepts writes: it is the primary.")
        was, holder = before["vip"]["holder"], now["vip"]["holder"]
        if was != holder:
            if holder is None:
                self.add("down", f"Nobody holds the virtual IP {now['vip']['address']}.")
            else:
                self.add("address", f"The virtual IP is with {holder}.")

    def _members(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        was, is_now = _conditions(before), _conditions(now)
        for member, (runs, condition) in is_now.items():
            if member in was and was[member][0] != runs:
                if runs:
                    self.add("up", f"{member} is started.")
                else:
                    self.add("down", f"{member} is {condition}.")


def _conditions(data: dict[str, Any]) -> dict[str, tuple[bool, str]]:
    """Return whether each member runs, and its condition."""
    several = [*data["proxies"], *data["apps"], *data["nodes"]]
    found = {each["name"]: (each["runs"], each["condition"]) for each in several}
    for name, key in (("vip-access", "edge"), ("pg-monitor", "monitor")):
        found[name] = (data[key]["runs"], data[key]["condition"])
    return found
