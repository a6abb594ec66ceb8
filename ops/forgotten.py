"""The monitor lost what it knew while no data node ran: a person says which one is the primary.

A node that runs registers by itself (heal.sh, watch_monitor). Those that were down wait: none can
know whether another has acknowledged writes that it lacks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops import cluster, names, operate
from ops.console import StackError

if TYPE_CHECKING:
    from ops.snapshot import Snapshot

LED_LIMIT = 180.0
"""Seconds from the decision to a node that accepts writes: crash recovery, and a promotion."""

LEAD = "/var/lib/postgresql/lead"
"""The file by which a node learns of the decision (heal.sh, await_a_leader)."""

LOOK = """cd "$PGDATA" 2>/dev/null && [ -e PG_VERSION ] || { echo empty; exit; }
pg_controldata -D . && { [ ! -e standby.signal ] || echo standby; }"""
TIMELINES = re.compile(r"(?m)^(?:Latest checkpoint's TimeLineID|Min .*timeline): +([0-9]+)$")
"""Of pg_controldata (PostgreSQL 17)."""


@dataclass(frozen=True, order=True)
class Remains:
    """What is on a node's volume. The greater has what was acknowledged last.

    A promotion begins a timeline; of two nodes on one timeline the standby has no more than the
    primary. Between two standbys nothing here decides.
    """

    timeline: int
    was_primary: bool
    node: str

    @property
    def words(self) -> str:
        """Say what it is."""
        role = "the primary" if self.was_primary else "a standby"
        return f"{self.node}: {role} of timeline {self.timeline}"


@dataclass(frozen=True)
class Choice:
    """A node that is to be the primary, and what the others have."""

    node: str
    remains: tuple[Remains, ...]  # the chosen node's first

    @property
    def words(self) -> str:
        """Say it in a few sentences, for who has to decide."""
        all_of_them = "; ".join(each.words for each in self.remains)
        return (
            f"The monitor knows no node any more. What there is: {all_of_them}. {self.node} "
            "becomes the primary as it is. Acknowledged writes that another node alone has are "
            "given up: the others copy it, and what they had stays in "
            "/var/lib/postgresql/given-up-*."
        )


def choose(node: str) -> Choice:
    """Find out what each node has. Raises StackError where another one is the better choice."""
    there = [each.name for each in cluster.containers() if each.name in cluster.NODES]
    if node not in there:
        raise StackError(f"there is no data node {node}; there are {', '.join(there)}")
    remains = {name: found for name in there if (found := _look(name))}
    if node not in remains:
        raise StackError(f"{node} has no data")
    best = max(remains.values())
    mine = remains.pop(node)
    if (best.timeline, best.was_primary) > (mine.timeline, mine.was_primary):
        raise StackError(
            f"{best.words}; {mine.words}: make {best.node} the primary. {_beyond(best.node)}"
        )
    return Choice(node, (mine, *remains.values()))


def accept(choice: Choice) -> str:
    """Make the node the primary, and begin a new history of tokens; return its name."""
    operate.in_container(choice.node, LED_LIMIT, "touch", LEAD)
    what = f"{choice.node} to accept writes"
    operate.wait_for(what, LED_LIMIT, lambda now: _leads(now, choice.node))
    operate.begin_history(choice.node)
    return choice.node


def _leads(now: Snapshot, node: str) -> bool:
    """Tell whether it accepts writes and stays: registering, it starts and stops more than once."""
    settled = any(each.name == node and each.ready for each in now.containers)
    return now.primary == node and settled


def _look(node: str) -> Remains | None:
    """Return what is on a node's volume; None: nothing. Raises StackError if it does not run."""
    said = cluster.ask(node, "sh", "-c", LOOK)
    if not said:
        raise StackError(
            f"nobody knows what {node} has: `{names.start(node)}`, then this again. {_beyond(node)}"
        )
    if said == "empty\n":
        return None
    return Remains(
        timeline=max(map(int, TIMELINES.findall(said))),
        was_primary=not said.endswith("standby\n"),
        node=node,
    )


def _beyond(node: str) -> str:
    return f"If it is beyond repair: `docker rm -f {names.container(node)}`, then this again"
