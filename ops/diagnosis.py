"""What is wrong with the stack, in sentences, each with the runbook's heading that mends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops import cluster, names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.snapshot import Snapshot

RUNBOOK = "docs/runbook.md"

LAG_MOST = 16 * 1024 * 1024
"""Bytes of WAL, one segment, that a standby may have left to replay without a word about it."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where to read on."""

    what: str
    heading: str  # of docs/runbook.md


def diagnose(snapshot: Snapshot) -> list[Problem]:
    """Return what is wrong, the worst first; nothing when all is well."""
    checks = (_writes, _durability, _nodes, _proxies, _edge, _apps, _backends, _containers)
    return [problem for check in checks for problem in check(snapshot)]


def _writes(snapshot: Snapshot) -> Iterator[Problem]:
    if not snapshot.writable:
        yield Problem("No node accepts writes.", "No node accepts writes")
    if len(snapshot.writable) > 1:
        both = " and ".join(snapshot.writable)
        yield Problem(f"{both} accept writes at the same time.", "Two nodes accept writes")


def _durability(snapshot: Snapshot) -> Iterator[Problem]:
    if snapshot.durability == "local":
        what = f"An acknowledged commit is on {snapshot.primary} alone: no standby is in sync."
        yield Problem(what, "Commits are on one node only")


def _nodes(snapshot: Snapshot) -> Iterator[Problem]:
    if not snapshot.nodes:
        what = "The monitor does not answer: no failover happens, and nodes that start wait for it."
        yield Problem(what, "The monitor is down")
    for node in snapshot.nodes:
        if not node.healthy:
            what = f"The monitor does not reach {node.name} (last state: {node.state})."
            yield Problem(what, "A data node is down")
        elif node.state != node.assigned:
            what = f"{node.name} is on its way from {node.state} to {node.assigned}."
            yield Problem(what, "A data node is down")
        elif node.state == "maintenance":
            yield Problem(f"{node.name} is in maintenance.", "Planned work")
        if (node.lag or 0) > LAG_MOST:
            what = f"{node.name} has {node.lag} bytes of WAL left to replay."
            yield Problem(what, "The standby lags")


def _proxies(snapshot: Snapshot) -> Iterator[Problem]:
    if snapshot.vip_holder is None:
        what = f"No proxy holds the virtual IP {cluster.vip()}."
        yield Problem(what, "Nobody holds the virtual IP")


def _edge(snapshot: Snapshot) -> Iterator[Problem]:
    if not snapshot.edge:
        what = f"Nobody answers on {cluster.edge_url()}, where nginx is published."
        yield Problem(what, "The published ports do not answer")


def _apps(snapshot: Snapshot) -> Iterator[Problem]:
    up = snapshot.up("apps")
    for name in cluster.APPS if snapshot.servers else ():
        if name not in up:
            yield Problem(f"{name} is out of rotation.", "An app is out of rotation")


def _backends(snapshot: Snapshot) -> Iterator[Problem]:
    """Find nodes that the monitor reaches and the proxy does not."""
    healthy = [node.name for node in snapshot.nodes if node.healthy]
    if snapshot.servers and snapshot.primary and snapshot.up("pg_primary") != [snapshot.primary]:
        what = f"HAProxy does not send writes to the primary, {snapshot.primary}."
        yield Problem(what, "HAProxy does not see a node")
    for name in healthy if snapshot.servers else ():
        if name not in snapshot.up("pg_any"):
            yield Problem(f"HAProxy does not read from {name}.", "HAProxy does not see a node")


def _containers(snapshot: Snapshot) -> Iterator[Problem]:
    if not snapshot.containers:
        yield Problem("The stack is not there.", "Everything is off, after a power cut")
    for container in snapshot.containers:
        if not container.ready:
            what = f"Container {names.container(container.name)}: {container.condition}."
            yield Problem(what, "A container is down")
