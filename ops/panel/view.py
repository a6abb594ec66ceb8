"""What the parts say, as a Snapshot, so that the same sentences say what is wrong; and as data.

The page draws from the data alone. Where writes and reads go is what the holder of the virtual IP
does with them: its own table of servers.
"""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from ops import cluster, names, snapshot
from ops.certificates import span
from ops.diagnosis import RUNBOOK, diagnose, where_writes_are
from ops.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.backups.repository import Reach
    from ops.cluster import Container
    from ops.diagnosis import Problem
    from ops.panel.facts import Facts
    from ops.snapshot import Node

ASKING = {"level": "", "word": "asking", "sentence": "The parts of the stack are asked."}

ROLES = {
    "primary": "primary",
    "single": "primary, alone",
    "wait_primary": "primary, alone",
    "join_primary": "primary",
    "apply_settings": "primary",
    "secondary": "standby",
    "catchingup": "catching up",
    "prepare_promotion": "being promoted",
    "stop_replication": "being promoted",
    "report_lsn": "election",
    "fast_forward": "election",
    "join_secondary": "standby",
    "draining": "handing over",
    "demote_timeout": "handing over",
    "demoted": "was the primary",
    "wait_standby": "being copied",
    "maintenance": "maintenance",
    "wait_maintenance": "to maintenance",
    "prepare_maintenance": "to maintenance",
    "init": "registering",
    "dropped": "removed",
}
"""The monitor's states, in fewer words."""


def snapshot_of(facts: Facts) -> Snapshot:
    """Return what `status` would take, of what the parts say."""
    writable = sorted(name for name, said in facts.nodes.items() if said["read_only"] == "off")
    senders = facts.nodes[writable[0]]["senders"] if writable else []
    states = (facts.states or {}).get("nodes") or []
    nodes = [
        _with_use(node, facts.used) for node in snapshot.join(states, snapshot.senders_of(senders))
    ]
    held = [name for name in cluster.PROXIES if facts.holds.get(name)]
    holder = snapshot.holder_of(held, facts.servers)
    return Snapshot(
        containers=facts.containers or [],
        nodes=nodes,
        writable=writable,
        vip_holder=holder,
        vip_holders=held,
        servers=facts.servers.get(holder, []) if holder else [],
        edge=bool(facts.edge),
        leaderless=[] if nodes else facts.leaderless,
        sizes=facts.sizes,
        tokens=facts.tokens,
        certificates=facts.certificates,
        backups=facts.backups,
    )


def _with_use(node: Node, used: dict[str, int]) -> Node:
    return replace(node, used=used.get(node.name))


def as_data(facts: Facts) -> dict[str, Any]:
    """Return what the page draws."""
    now = snapshot_of(facts)
    known = facts.containers is not None and not facts.asking
    problems = diagnose(now) if known else []
    return {
        "stack": names.stack(),
        "docker": facts.containers is not None,
        "asking": facts.asking,
        **(ASKING if facts.asking else _verdict(now, problems, known=known)),
        "primary": now.primary,
        "vip": {"address": cluster.vip(), "holder": now.vip_holder},
        "edge": {"up": now.edge, "url": cluster.edge_url(), **_container(now, cluster.EDGE)},
        "proxies": [
            {
                "name": name,
                "holds": bool(facts.holds.get(name)),
                "answers": name in facts.servers,
                **_container(now, name),
            }
            for name in cluster.PROXIES
        ],
        "apps": [_app(facts, now, name) for name in cluster.APPS],
        "nodes": [_node(now, name) for name in _node_names(now)],
        "monitor": {"answers": bool(now.nodes), **_container(now, cluster.MONITOR)},
        "backups": _backups(now),
        "routes": {
            "writes": now.up("pg_primary"),
            "reads": now.up("pg_any"),
            "apps": now.up("apps"),
        },
        "held": sum(each.held for each in facts.instances.values()),
        "problems": [_problem(each) for each in problems],
    }


def _verdict(now: Snapshot, problems: Sequence[Problem], *, known: bool) -> dict[str, str]:
    """Return the one word, and the one sentence, that say it all."""
    if not known:
        return {"level": "bad", "word": "not known", "sentence": "Docker does not answer."}
    if now.primary is None:
        level, word = "bad", "no writes"
    elif problems or not now.whole:
        level, word = "degraded", "degraded"
    else:
        level, word = "well", "all is well"
    sentence = f"{where_writes_are(now).capitalize()}."
    if now.primary is None:
        two = len(now.writable) > 1
        sentence = "Two nodes accept writes." if two else "No node accepts writes: clients wait."
    if len(now.vip_holders) > 1:
        sentence += f" {' and '.join(now.vip_holders)} both hold the virtual IP."
    return {"level": level, "word": word, "sentence": sentence}


def _problem(problem: Problem) -> dict[str, str]:
    return {**asdict(problem), "where": RUNBOOK}


def _find(now: Snapshot, member: str) -> Container | None:
    return next((each for each in now.containers if each.name == member), None)


def _container(now: Snapshot, member: str) -> dict[str, Any]:
    """Return whether a member's container runs, and its condition in words."""
    found = _find(now, member)
    if found is None:
        return {"runs": False, "condition": "not there" if now.containers else "not known"}
    return {"runs": found.state == "running", "condition": _condition(found)}


def _condition(container: Container) -> str:
    if container.state == "paused":
        return "frozen"
    if container.state == "exited":
        return "down"
    return container.condition


def _app(facts: Facts, now: Snapshot, name: str) -> dict[str, Any]:
    said = facts.instances.get(name)
    return {
        "name": name,
        "up": name in now.up("apps"),
        "pools": said.pools if said else None,
        "held": said.held if said else None,
        **_container(now, name),
    }


def _node_names(now: Snapshot) -> list[str]:
    """Return the nodes there are, by the monitor or by Docker, in order."""
    there = {node.name for node in now.nodes} | {each.name for each in now.containers}
    return [name for name in cluster.NODES if name in there]


def _node(now: Snapshot, name: str) -> dict[str, Any]:
    node = next((each for each in now.nodes if each.name == name), None)
    known = {
        "name": name,
        "writable": name in now.writable,
        "writes": name in now.up("pg_primary"),
        "reads": name in now.up("pg_any"),
        **_container(now, name),
    }
    if node is None:  # the monitor does not answer, or does not know it
        return {**known, "state": None, "role": "primary" if known["writable"] else "not known"}
    moving = node.state != node.assigned
    return {
        **known,
        "state": node.state,
        "assigned": node.assigned if moving else None,
        "role": "primary" if known["writable"] and moving else ROLES.get(node.state, node.state),
        "healthy": node.healthy,
        "timeline": node.timeline,
        "lag": node.lag,
        "in_sync": node.in_sync,
        "used": node.used,
    }


def _backups(now: Snapshot) -> dict[str, Any] | None:
    container = _container(now, cluster.REPOSITORY)
    if _find(now, cluster.REPOSITORY) is None:
        return None
    return {**container, "words": _reach(now.backups), "sound": _sound(now.backups)}


def _reach(saved: Reach | None) -> str:
    if saved is None:
        return "does not say"
    if saved.newest is None or saved.first is None:
        return "none yet"
    return f"reach {span(max(time.time() - saved.first, 0))}"


def _sound(saved: Reach | None) -> bool:
    return saved is not None and saved.archives and not saved.gap and not saved.failed
