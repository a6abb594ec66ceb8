"""The last resort: a node that lacks acknowledged writes is made the primary by a person.

The cluster never does this by itself. It is for a primary that is gone for good while no standby
was in sync: what it alone had is lost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops import cluster, events, names, operate, snapshot
from ops.backups.points import position
from ops.console import StackError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from ops.snapshot import Node, Snapshot

PROMOTED_LIMIT = 90.0
"""Seconds from the decision to a node that accepts writes; measured are 5."""

DROP_LIMIT = 90.0
"""Seconds for the monitor to forget a node: it waits up to 60 for one that may still answer."""

ALONE = "wait_primary"
"""The state of a primary that no commit of which waits for a standby."""

LEADERS = {"primary", ALONE, "single"}
"""A node that is, or is to be, one of these has what was acknowledged last."""

PRIMARIES = LEADERS | {"draining", "demote_timeout", "demoted"}
"""A node that reported one of these last may have acknowledged writes of its own."""

PROMOTED = LEADERS | {"prepare_promotion", "stop_replication"}
"""The monitor has decided for a node that it gave one of these as its goal."""

LOCAL_COMMITS = re.compile(
    r"^holdfast_database_local_commits_total ([0-9.e+]+)$(?s:.*)"
    r"^holdfast_database_local_commits_created ([0-9.e+]+)$",
    re.MULTILINE,
)
"""How many, and since when an instance counts: seconds of the Unix epoch."""

GONE = {"exited", "dead", "created"}
"""Docker's states of a container that does not run, and goes on by no one's doing but `start`."""

MAINTENANCE, REPORTED = "maintenance", "report_lsn"
REPORT = (
    "UPDATE pgautofailover.node SET goalstate = 'report_lsn' "
    "WHERE nodename = '{}' AND reportedstate = 'maintenance'"
)
"""pg_auto_failover 2.2 promotes from report_lsn, and never from maintenance (fsm.c)."""

EVENTS = 1000
"""The monitor's entries that are looked through; a failover makes 20."""


@dataclass(frozen=True)
class Loss:
    """What is given up when a node becomes the primary as it is."""

    node: str
    given_up: tuple[str, ...]  # the nodes that the monitor is to forget
    wal: int  # bytes that they had reported, at least, and the node had not
    writes: int | None  # answered `Durability: local`, at most; None: nobody knows
    since: datetime | None  # the primary was alone from then on; None: nobody knows

    @property
    def words(self) -> str:
        """Say it in two sentences, for who has to decide."""
        many = "an unknown number of" if self.writes is None else f"at most {self.writes:,}"
        then = "" if self.since is None else f" since {self.since:%Y-%m-%d %H:%M:%S} UTC"
        gone = " and ".join(self.given_up)
        return (
            f"{self.node} becomes the primary as it is. Acknowledged writes that only {gone} had "
            f"are given up: {many} of the service's (those answered `Durability: local`){then}, "
            f"{self.wal:,} bytes of WAL."
        )


def estimate(node: str) -> Loss:
    """Find out what would be lost. Raises StackError where nothing may be given up.

    Never a guess downwards: where one instance of the service does not say, nobody knows how many.
    """
    now = snapshot.take()
    target = _candidate(now, node)
    given_up = _given_up(now, target)
    since = _alone_since(given_up)
    ahead = max(position(each.lsn) for each in now.nodes if each is not target)
    return Loss(
        node=node,
        given_up=given_up,
        wal=max(0, ahead - position(target.lsn)),
        writes=_local_commits(since),
        since=since,
    )


def accept(loss: Loss) -> str:
    """Make the node the primary, and begin a new history of tokens; return the primary's name.

    With three nodes it may be another than was asked for: of those left, the one with most WAL.
    A node that was given up, and comes back, copies the primary; what it had is kept aside.
    Raises StackError, and nothing is given up, when it is not any more what was agreed to.
    """
    now = snapshot.take()
    target = _candidate(now, loss.node)
    if _given_up(now, target) != loss.given_up:
        raise StackError("other nodes are gone now than when this was asked; ask again")
    if target.state == MAINTENANCE:
        _leave_maintenance(target.name)
    for name in loss.given_up:
        operate.in_container(
            cluster.MONITOR, DROP_LIMIT, "pg_autoctl", "drop", "node", "--name", name, "--force"
        )
    now, _ = operate.wait_for(
        f"{loss.node} to accept writes", PROMOTED_LIMIT, lambda now: now.primary is not None
    )
    primary = str(now.primary)
    operate.begin_history(primary)
    return primary


def _candidate(now: Snapshot, node: str) -> Node:
    """Return the node, if it may become the primary only by giving something up."""
    found = next((each for each in now.nodes if each.name == node), None)
    if found is None:
        there = ", ".join(each.name for each in now.nodes)
        raise StackError(
            f"there is no data node {node}; there are {there}"
            if there
            else f"the monitor does not answer (`{names.start(cluster.MONITOR)}`), or knows no "
            'node any more (docs/runbook.md, "The monitor is down")'
        )
    if now.primary is not None:
        raise StackError(
            f"{now.primary} accepts writes: nothing has to be given up. "
            f"`holdfast failover {node}` hands the role over once {node} is in sync"
        )
    if not any(each.name == node and each.state == "running" for each in now.containers):
        raise StackError(f"{node} does not run: `{names.start(node)}`, then this again")
    others = [each for each in now.nodes if each is not found]
    if found.state in PRIMARIES and not any(
        {each.state, each.assigned} & LEADERS for each in others
    ):
        raise StackError(
            f"{node} is the primary, and does not accept writes: it has what was acknowledged. "
            f"`docker logs {names.container(node)}` says why"
        )
    if found.assigned in PROMOTED:
        raise StackError(f"a failover to {node} is under way; `holdfast status` shows it")
    for each in others:
        _refuse_while_it_may_help(now, each, found)
    return found


def _refuse_while_it_may_help(now: Snapshot, other: Node, node: Node) -> None:
    """Raise StackError where another node's writes need not be given up."""
    container = names.container(other.name)
    beyond = f"If it is beyond repair: `docker rm -f {container}`, then this again"
    if other.state in PRIMARIES:
        if not _is_gone(now, other.name):
            raise StackError(
                f"{other.name} is there, and may have what {node.name} lacks: it is not given up "
                f"while it is. {beyond}"
            )
    elif position(other.lsn) > position(node.lsn) and _exists(now, other.name):
        raise StackError(
            f"{other.name} has more than {node.name}: `{names.start(other.name)}`, and make that "
            f"the primary. {beyond}"
        )


def _exists(now: Snapshot, name: str) -> bool:
    return any(each.name == name for each in now.containers)


def _leave_maintenance(node: str) -> None:
    """Let a standby that stepped out as it was stopped say what it has: from there it may go on.

    Which it may do between two looks, once the monitor has noticed that the others are gone.
    """
    operate.tell_monitor(REPORT.format(node))

    def said(now: Snapshot) -> bool:
        return operate.is_in(now, node, REPORTED) or now.primary is not None

    operate.wait_for(f"{node} to say what it has", PROMOTED_LIMIT, said)


def _given_up(now: Snapshot, target: Node) -> tuple[str, ...]:
    """Return the nodes that are gone; raise StackError where none is."""
    others = (each.name for each in now.nodes if each is not target)
    gone = tuple(name for name in others if _is_gone(now, name))
    if not gone:
        raise StackError("no data node is gone, so there is nothing to give up")
    return gone


def _is_gone(now: Snapshot, name: str) -> bool:
    """Tell whether a node's container can do nothing; one that is paused, or starts again, can."""
    return all(each.state in GONE for each in now.containers if each.name == name)


def _alone_since(lost: Iterable[str]) -> datetime | None:
    """Return when the last of these to be the primary began to go on alone; None: nobody knows."""
    since = None
    for event in events.recent(EVENTS):
        if event.node in lost and event.goal == ALONE:
            since = since or event.time
        elif event.node in lost and event.goal == "primary":
            since = None
    return since


def _local_commits(since: datetime | None) -> int | None:
    """Return how many writes were answered `local`; None unless all instances counted them."""
    total = 0.0
    for app in cluster.APPS:
        found = LOCAL_COMMITS.search(
            cluster.ask(app, "curl", "-fsS", "-m", "2", "http://127.0.0.1:8000/metrics")
        )
        if found is None or since is None or float(found[2]) > since.timestamp():
            return None
        total += float(found[1])
    return int(total)
