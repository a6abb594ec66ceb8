"""What happened to the cluster, in words and times: the monitor's states and decisions."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime

from ops import cluster, names
from ops.console import StackError

RECENT = (
    "SELECT coalesce(json_agg(event), '[]') "
    "FROM pgautofailover.last_events('default', count => {}) AS event"
)
_NODE = re.compile(r'node \d+ "([^"]+)" \([^)]*\)')


@dataclass(frozen=True)
class Event:
    """One entry of the monitor's record."""

    number: int
    time: datetime  # the monitor's clock, UTC
    node: str
    state: str  # reported by the node
    goal: str  # what the monitor wants of it
    what: str  # the monitor's sentence, nodes by their names alone

    @property
    def reported(self) -> bool:
        """Whether it is the first word of a node's having reached a state."""
        return self.what.startswith("New state is reported")


def recent(count: int) -> list[Event]:
    """Return the last `count` events, as they were recorded. Raises StackError without a monitor.

    Not in the order of their times, as the monitor gives them: those are of the beginnings of its
    transactions, of which several may be under way.
    """
    text = cluster.ask(cluster.MONITOR, *cluster.MONITOR_SQL, "-c", RECENT.format(count))
    if not text:
        raise StackError(f"The monitor does not answer. Try `{names.start(cluster.MONITOR)}`.")
    return read(text)


def read(text: str) -> list[Event]:
    """Return what the monitor says to RECENT."""
    events = [_event(row) for row in json.loads(text)]
    return sorted(events, key=lambda event: event.number)


def _event(row: dict[str, object]) -> Event:
    return Event(
        number=int(str(row["eventid"])),
        time=datetime.fromisoformat(str(row["eventtime"])),
        node=str(row["nodename"]),
        state=str(row["reportedstate"]),
        goal=str(row["goalstate"]),
        what=_NODE.sub(r"\1", str(row["description"])),
    )
