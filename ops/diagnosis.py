"""What is wrong with the stack, in sentences, each with what to run and the runbook's heading."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ops import cluster, names, replication
from ops.certificates import span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.snapshot import Snapshot

RUNBOOK = "docs/runbook.md"

LAG_MOST = 16 * 1024 * 1024
"""Bytes of WAL, one segment, that a standby may have left to replay without a word about it."""


AGE_MOST = 30 * 86400.0
"""Seconds that images may keep their packages without a word about it."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where to read on."""

    what: str
    heading: str  # of docs/runbook.md
    command: str = ""  # to be run first: it mends, or shows what to mend


def diagnose(snapshot: Snapshot) -> list[Problem]:
    """Return what is wrong, the worst first; nothing when all is well."""
    checks = (
        _writes,
        _durability,
        _nodes,
        _proxies,
        _edge,
        _apps,
        _backends,
        _containers,
        _ends,
        _tokens,
        _backups,
        _age,
    )
    return [problem for check in checks for problem in check(snapshot)]


def _writes(snapshot: Snapshot) -> Iterator[Problem]:
    if not snapshot.writable and not snapshot.leaderless:
        nodes = [each.name for each in snapshot.containers if each.name in cluster.NODES]
        command = names.start(cluster.MONITOR, *(nodes or cluster.NODES[:2]))
        yield Problem("No node accepts writes.", "No node accepts writes", command)
    if len(snapshot.writable) > 1:
        both = " and ".join(snapshot.writable)
        what = f"{both} accept writes at the same time."
        yield Problem(what, "Two nodes accept writes", names.command("./holdfast events"))


def where_writes_are(snapshot: Snapshot) -> str:
    """Say of how many nodes an acknowledged write is."""
    if snapshot.durability == "unknown":
        return "where writes go is not known"
    if not snapshot.in_sync:
        return "an acknowledged write is on one node alone"
    return {
        replication.ASYNC: "an acknowledged write is on one node, and soon on two",
        replication.REMOTE_APPLY: "an acknowledged write is on two nodes, and both show it",
    }.get(snapshot.replication, "an acknowledged write is on two nodes")


def _durability(snapshot: Snapshot) -> Iterator[Problem]:
    if snapshot.primary is not None and snapshot.nodes and not snapshot.in_sync:
        what = f"An acknowledged commit is on {snapshot.primary} alone: no standby is in sync."
        others = [node.name for node in snapshot.nodes if node.name != snapshot.primary]
        command = names.start(*others) if others else names.command("./holdfast events")
        yield Problem(what, "Commits are on one node only", command)


def _nodes(snapshot: Snapshot) -> Iterator[Problem]:
    if snapshot.leaderless:
        what = "The monitor lost its data while no node ran: a person says which was the primary."
        chosen = names.command(f"./holdfast failover {snapshot.leaderless[0]} --accept-loss")
        yield Problem(what, "The monitor is down", chosen)
    elif not snapshot.nodes:
        what = "The monitor does not answer: no failover happens, and nodes that start wait for it."
        yield Problem(what, "The monitor is down", names.start(cluster.MONITOR))
    for node in snapshot.nodes:
        if not node.healthy:
            what = f"The monitor does not reach {node.name} (last state: {node.state})."
            yield Problem(what, "A data node is down", names.start(node.name))
        elif node.state != node.assigned:
            what = f"{node.name} is on its way from {node.state} to {node.assigned}."
            yield Problem(what, "A data node is down", names.command("./holdfast status --watch"))
        elif node.state == "maintenance":
            back = names.command(f"./holdfast maintenance off {node.name}")
            what = f"{node.name} is in maintenance."
            yield Problem(what, "Planned work", f"{names.start(node.name)}; {back}")
        if (node.lag or 0) > LAG_MOST:
            what = f"{node.name} has {node.lag} bytes of WAL left to replay."
            asked = "psql -d postgres -c 'TABLE pg_stat_activity'"
            command = f"docker exec {names.container(node.name)} {asked}"
            yield Problem(what, "The standby lags", command)


def _proxies(snapshot: Snapshot) -> Iterator[Problem]:
    if snapshot.vip_holder is None:
        what = f"No proxy holds the virtual IP {cluster.vip()}."
        command = names.start(*cluster.PROXIES)
        yield Problem(what, "Nobody holds the virtual IP", command)
    elif len(snapshot.vip_holders) > 1:
        what = f"{' and '.join(snapshot.vip_holders)} both hold the virtual IP {cluster.vip()}."
        other = next(name for name in snapshot.vip_holders if name != snapshot.vip_holder)
        command = f"docker stop {names.container(other)}"
        yield Problem(what, "The virtual IP moves, or two proxies hold it", command)


def _edge(snapshot: Snapshot) -> Iterator[Problem]:
    if not snapshot.edge:
        what = f"Nobody answers on {cluster.edge_url()}, where nginx is published."
        command = f"docker restart {names.container(cluster.EDGE)}"
        yield Problem(what, "The published ports do not answer", command)


def _apps(snapshot: Snapshot) -> Iterator[Problem]:
    up = snapshot.up("apps")
    for name in cluster.APPS if snapshot.servers else ():
        if name not in up:
            what, heading = f"{name} is out of rotation.", "An app is out of rotation"
            yield Problem(what, heading, names.start(name))


def _backends(snapshot: Snapshot) -> Iterator[Problem]:
    """Find nodes that the monitor reaches and the proxy does not."""
    healthy = [node.name for node in snapshot.nodes if node.healthy]
    if snapshot.servers and snapshot.primary and snapshot.up("pg_primary") != [snapshot.primary]:
        what = f"HAProxy does not send writes to the primary, {snapshot.primary}."
        yield Problem(what, "HAProxy does not see a node", _way(snapshot, snapshot.primary))
    for name in healthy if snapshot.servers else ():
        if name not in snapshot.up("pg_any"):
            what = f"HAProxy does not read from {name}."
            yield Problem(what, "HAProxy does not see a node", _way(snapshot, name))


def _way(snapshot: Snapshot, node: str) -> str:
    """Return the command that tells whether the proxy can reach a node."""
    proxy = snapshot.vip_holder or cluster.PROXIES[0]
    return f"docker exec {names.container(proxy)} bash -c 'echo >/dev/tcp/{node}/5432'"


def _containers(snapshot: Snapshot) -> Iterator[Problem]:
    if not snapshot.containers:
        heading = "Everything is off, after a power cut"
        yield Problem("The stack is not there.", heading, names.command("make up"))
    for container in snapshot.containers:
        if not container.ready:
            what = f"Container {names.container(container.name)}: {container.condition}."
            yield Problem(what, "A container is down", _wake(container))


def _age(snapshot: Snapshot) -> Iterator[Problem]:
    if snapshot.updated is not None:
        age = (datetime.now(UTC) - snapshot.updated).total_seconds()
        if age > AGE_MOST:
            what = f"The images' packages are {span(age)} old: security updates are missing."
            yield Problem(what, "Security updates", names.command("make update"))


def _ends(snapshot: Snapshot) -> Iterator[Problem]:
    renew = names.command("./holdfast certificates renew")
    for one in snapshot.certificates:
        if one.left <= 0:
            what = f"The certificate of {one.name} has ended: whoever verifies it is refused."
            yield Problem(what, "A certificate has ended, or is about to", renew)
        elif one.late:
            what = f"The certificate of {one.name} ends in {span(one.left)} and was not renewed."
            yield Problem(what, "A certificate has ended, or is about to", renew)


def _tokens(snapshot: Snapshot) -> Iterator[Problem]:
    if snapshot.tokens:
        what = f"The file of tokens is wrong, the last good one counts: {snapshot.tokens}."
        yield Problem(what, "The file of tokens is wrong", names.command("./holdfast access list"))


def _backups(snapshot: Snapshot) -> Iterator[Problem]:
    heading, saved = "Backups are behind", snapshot.backups
    if saved is None:
        return
    if not saved.archives:
        what = "The primary fails to archive what is written: a restore would end before it."
        yield Problem(what, heading, names.command("./holdfast backup check"))
    elif saved.gap:
        what = (
            f"The repository lacks WAL from {saved.gap} on: nothing after it can be restored "
            "before there is another full backup, which takes itself."
        )
        yield Problem(what, heading, names.command("./holdfast backup run --full"))
    if saved.failed:
        run = names.command("./holdfast backup run")
        yield Problem(f"The last backup ({saved.failed}) failed.", heading, run)
    elif saved.late and saved.newest is not None:
        age = span(time.time() - saved.newest)
        logs = f"docker logs --tail 20 {names.container(cluster.REPOSITORY)}"
        yield Problem(f"The newest backup is {age} old.", heading, logs)


def _wake(container: cluster.Container) -> str:
    """Return what starts a container that has ended, or shows why one that runs is not ready."""
    if container.state == "running":
        return f"docker logs --tail 20 {names.container(container.name)}"
    return names.start(container.name)
