"""Data nodes: what each may become and be waited for, and the third one, which comes and goes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops import cluster, names, operate, settings, snapshot
from ops.console import Progress, StackError

if TYPE_CHECKING:
    from collections.abc import Mapping

TWO = 2
THIRD = cluster.NODES[2]
"""Only it is on demand: the others are there in any stack."""

FORGET = (
    "SELECT pgautofailover.remove_node(nodeid, {}) FROM pgautofailover.node WHERE nodename = '{}'"
)

GONE = (FORGET.format("false", THIRD), FORGET.format("true", THIRD))
"""The first has the primary wait for fewer standbys, the second ends what does not answer."""

KNOWN = """SELECT json_object_agg(nodename, json_build_array(candidatepriority, replicationquorum))
    FROM pgautofailover.node"""
SET_PRIORITY = "SELECT pgautofailover.set_node_candidate_priority('default', '{}', {})"
SET_QUORUM = "SELECT pgautofailover.set_node_replication_quorum('default', '{}', {})"
SET_STANDBYS = "SELECT pgautofailover.set_formation_number_sync_standbys('default', {})"
STANDBYS = "SELECT number_sync_standbys FROM pgautofailover.formation"
SETTLED = operate.UNTIL.format("reportedstate = 'primary' AND goalstate = 'primary'")
"""The monitor takes the next change only when the primary has taken up the last."""

STOP_LIMIT = 90.0
"""Seconds for `docker stop`: it steps out of the quorum before it stops."""


@dataclass(frozen=True)
class Part:
    """What a node may become, and whether commits wait for it."""

    priority: int = settings.PRIORITY  # of those that a failover chooses from; 0: never
    quorum: bool = True


def parts(environment: Mapping[str, str]) -> dict[str, Part]:
    """Return the part of each node that is there with these settings. Raises StackError.

    A failover needs somebody to take over, and commits somebody to wait for.
    """
    there = cluster.NODES[: 3 if settings.has_three_nodes(environment) else 2]
    priorities = settings.candidate_priorities(environment)
    without = settings.without_quorum(environment)
    if strangers := (priorities.keys() | without) - set(cluster.NODES):
        raise StackError(f"there is no data node {', '.join(sorted(strangers))}")
    found = {
        each: Part(priorities.get(each, settings.PRIORITY), each not in without) for each in there
    }
    leaders = [each for each in there if found[each].priority and found[each].quorum]
    if len(leaders) < TWO:
        raise StackError(
            "CANDIDATE_PRIORITIES and WITHOUT_QUORUM leave fewer than two nodes that can take over "
            "from one another with all that was acknowledged; with two nodes that is both"
        )
    return found


def settle(wanted: Mapping[str, Part]) -> None:
    """Have the monitor give each node its part, and wait until it does. Raises StackError."""
    text = cluster.ask(cluster.MONITOR, *cluster.MONITOR_SQL, "-c", KNOWN)
    known = {name: Part(*said) for name, said in json.loads(text or "{}").items()}
    parting = [each for each in wanted if each in known and known[each] != wanted[each]]
    standbys = min(sum(part.quorum for part in wanted.values()) - 1, TWO) - 1
    now = cluster.ask(cluster.MONITOR, *cluster.MONITOR_SQL, "-c", STANDBYS).strip()
    if not parting and now == str(standbys):
        return
    progress = Progress("Parts of the nodes")
    changes = [
        *(SET_QUORUM.format(each, str(wanted[each].quorum).lower()) for each in parting),
        *(SET_PRIORITY.format(each, wanted[each].priority) for each in parting),
    ]
    # At no time may it be more than there are standbys in the quorum.
    changes.insert(len(changes) if now == "0" else 0, SET_STANDBYS.format(standbys))
    for change in changes:
        operate.tell_monitor(change, SETTLED)
    progress.done(", ".join(f"{each} {_in_words(wanted[each])}" for each in wanted))


def _in_words(part: Part) -> str:
    leads = f"priority {part.priority}" if part.priority else "never leads"
    return leads if part.quorum else f"{leads}, not waited for"


def leave() -> None:
    """Take the third node out where it is not wanted any more, and remove its copy of the data.

    It hands over first if it leads. Raises StackError where the others could not do without it.
    """
    there = {each.name: each.state for each in cluster.containers()}
    if THIRD not in there:
        return
    progress = Progress(f"Taking {names.container(THIRD)} out")
    try:
        _spare()
        cluster.docker("stop", names.container(THIRD), limit=STOP_LIMIT)
        operate.tell_monitor(*GONE)
        cluster.docker("rm", names.container(THIRD))
        cluster.docker("volume", "rm", names.volume(THIRD))
    except StackError:
        progress.failed()
        raise
    progress.done("its volume is removed, commits wait for the others")


def _spare() -> None:
    """Have the others do without it: one leads, and another has all that it has."""
    now = snapshot.take()
    if now.primary == THIRD:
        now, _ = operate.wait_for(
            "a standby to hand over to", operate.WHOLE_LIMIT, lambda now: now.redundant
        )
        operate.promote(next(node.name for node in now.nodes if node.in_sync))
    others = cluster.NODES[:2]

    def do_without(now: snapshot.Snapshot) -> bool:
        in_sync = [node.name for node in now.nodes if node.in_sync]
        return now.primary in others and any(name in others for name in in_sync)

    operate.wait_for(f"{' and '.join(others)} in sync", operate.WHOLE_LIMIT, do_without)
