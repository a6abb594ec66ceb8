"""The console on a stack that is played: to look at the page, and to test it, without Docker.

    python -m tests.console_replay [--port 8405] [--recorded FILE] [--read-only]

Everything is the product's but two things: what the parts say, and what the load's process says.
Both are played from the moments of a drill `primary-killed`: states as the monitor reports them,
or, with a FILE such as tests/recorded/primary-killed.json, as `./holdfast status` recorded them.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.backups.repository import Reach
from ops.cluster import Container
from ops.events import Event
from ops.panel import access
from ops.panel.doings import Doings
from ops.panel.errand import Errand
from ops.panel.facts import Facts
from ops.panel.hub import Hub
from ops.panel.journal import Journal
from ops.panel.pools import Instance
from ops.panel.server import Server
from ops.panel.timeline import Timeline
from ops.snapshot import Server as Backend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MEMBERS = ("app1", "app2", "backup", "haproxy1", "haproxy2", "pg-monitor", "postgres1", "postgres2")
WHOLE = "Up 5 minutes (healthy)"
RECORDED = Path(__file__).parent / "recorded" / "primary-killed.json"

KILLED, NOTICED, PROMOTED, STARTED, BACK = 0.0, 0.9, 2.3, 4.2, 7.5
"""Seconds of a drill: when what is seen changes."""


def backends(writes: Sequence[str], reads: Sequence[str]) -> list[Backend]:
    """Make HAProxy's table."""
    both = [Backend("pg_primary", name, "UP" if name in writes else "DOWN") for name in NODES]
    both += [Backend("pg_any", name, "UP" if name in reads else "DOWN") for name in NODES]
    return [*both, Backend("apps", "app1", "UP"), Backend("apps", "app2", "UP")]


NODES = ("postgres1", "postgres2")
POOLS = {
    "write": {"size": 5, "idle": 4, "waiting": 0, "limit": 10},
    "read": {"size": 5, "idle": 3, "waiting": 0, "limit": 10},
}


def row(node: str, state: str, goal: str, *, timeline: int, healthy: bool = True) -> dict[str, Any]:
    """Make a row of the monitor's."""
    return {
        "node_id": NODES.index(node) + 1,
        "nodename": node,
        "current_group_state": state,
        "assigned_group_state": goal,
        "health": 1 if healthy else 0,
        "reported_lsn": "0/5A3F120",
        "reported_tli": timeline,
    }


def sender(node: str, sync: str = "quorum") -> dict[str, Any]:
    """Make a row of pg_stat_replication."""
    name = f"pgautofailover_standby_{NODES.index(node) + 1}"
    return {"name": name, "state": "streaming", "sync": sync, "lag": 0}


def whole(primary: str = "postgres1", timeline: int = 4) -> Facts:
    """Return what all parts say while nothing is missing."""
    standby = next(name for name in NODES if name != primary)
    return Facts(
        containers=[Container(name, "running", WHOLE) for name in (*MEMBERS, "vip-access")],
        states={
            "last": 1,
            "nodes": [
                row(primary, "primary", "primary", timeline=timeline),
                row(standby, "secondary", "secondary", timeline=timeline),
            ],
        },
        nodes={
            primary: {"read_only": "off", "senders": [sender(standby)]},
            standby: {"read_only": "on", "senders": []},
        },
        holds={"haproxy1": True, "haproxy2": False},
        servers={name: backends([primary], NODES) for name in ("haproxy1", "haproxy2")},
        instances={"app1": Instance(POOLS, 1), "app2": Instance(POOLS, 0)},
        edge=True,
        events=[],
        used={"postgres1": 3, "postgres2": 3},
        backups=Reach(
            time.time() - 7200, time.time() - 3600, time.time(), archives=True, failed=""
        ),
    )


def without(facts: Facts, member: str, *, status: str = "Exited (137) 1 second ago") -> Facts:
    """Return the same with a container down."""
    kept = [each for each in facts.containers or [] if each.name != member]
    return replace(facts, containers=[*kept, Container(member, "exited", status)])


def killed(at: float) -> Facts:
    """Return what the parts say so many seconds after the primary, postgres1, was killed."""
    start = whole()
    if at < KILLED:
        return start
    if at >= BACK:
        return whole("postgres2", 5)
    held = {"app1": Instance(POOLS, 24), "app2": Instance(POOLS, 22)}
    standby = {"postgres2": {"read_only": "on", "senders": []}}
    gone = row("postgres1", "primary", "primary", timeline=4, healthy=False)
    other = row("postgres2", "secondary", "secondary", timeline=4)
    facts = replace(without(start, "postgres1"), nodes=standby, instances=held)
    facts = replace(
        facts, servers={name: backends([], ["postgres2"]) for name in ("haproxy1", "haproxy2")}
    )
    if at >= NOTICED:
        gone = row("postgres1", "primary", "demote_timeout", timeline=4, healthy=False)
        other = row("postgres2", "prepare_promotion", "stop_replication", timeline=4)
    if at >= PROMOTED:
        gone = row("postgres1", "primary", "demoted", timeline=4, healthy=False)
        other = row("postgres2", "wait_primary", "wait_primary", timeline=5)
        alone = {"postgres2": {"read_only": "off", "senders": []}}
        now = backends(["postgres2"], ["postgres2"])
        facts = replace(
            facts,
            nodes=alone,
            instances=start.instances,
            servers={"haproxy1": now, "haproxy2": now},
        )
    if at >= STARTED:
        gone = row("postgres1", "catchingup", "secondary", timeline=5)
        facts = replace(facts, containers=whole().containers)
    return replace(facts, states={"last": int(at * 10), "nodes": [gone, other]})


# ---------------------------------------------------------------------- recorded


def facts_of(status: dict[str, Any]) -> Facts:
    """Return what the parts would say where `./holdfast status --json` says this."""
    servers = [Backend(**each) for each in status["backends"]]
    holder = status["virtual_ip"]["holder"]
    primary = status["primary"]
    saved = status.get("backups")
    return Facts(
        containers=[_container(*each) for each in status["containers"].items()],
        states={"last": 0, "nodes": [_row(each) for each in status["nodes"]]},
        nodes=_said(status["nodes"], primary),
        used={node["name"]: node["used"] for node in status["nodes"] if node["used"] is not None},
        holds={holder: True} if holder else {},
        servers={holder: servers} if holder else {},
        instances={name: Instance(POOLS, 0) for name in ("app1", "app2")},
        edge=bool(status["edge"]),
        backups=Reach(**saved) if saved else None,
    )


def _container(name: str, condition: str) -> Container:
    if condition in {"healthy", "unhealthy"}:
        return Container(name, "running", f"Up 5 minutes ({condition})")
    if condition == "starting":
        return Container(name, "running", "Up 1 second (health: starting)")
    if condition == "done":
        return Container(name, "exited", "Exited (0) 5 minutes ago")
    return Container(name, "exited", condition)


def _row(node: dict[str, Any]) -> dict[str, Any]:
    made = row(node["name"], node["state"], node["assigned"], timeline=node["timeline"])
    return {**made, "health": 1 if node["healthy"] else 0, "reported_lsn": node["lsn"]}


def _said(nodes: list[dict[str, Any]], primary: str | None) -> dict[str, dict[str, Any]]:
    if primary is None:
        return {}
    others = [node for node in nodes if node["name"] != primary and node["lag"] is not None]
    senders = [
        {**sender(node["name"], "quorum" if node["in_sync"] else "async"), "lag": node["lag"]}
        for node in others
    ]
    return {primary: {"read_only": "off", "senders": senders}}


def recording(file: Path = RECORDED) -> list[tuple[float, dict[str, Any]]]:
    """Return the looks of a recording: seconds from the first without a primary, and the status."""
    looks = json.loads(file.read_text())["status"]
    return [(seconds, status) for seconds, status in looks]


def recorded(file: Path) -> Callable[[float], Facts]:
    """Return what a recording says, by seconds after the primary was killed."""
    looks = recording(file)

    def at(seconds: float) -> Facts:
        past = [status for moment, status in looks if moment <= seconds]
        return facts_of(past[-1] if past else looks[0][1])

    return at


# ---------------------------------------------------------------------- the console


@dataclass
class Played:
    """A console whose stack is played; `facts` may be replaced at any time."""

    port: int = 0
    read_only: bool = False
    key: str = "a-key-of-the-test"
    course: Callable[[float], Facts] = killed
    facts: Facts | None = None
    journal: Journal = field(default_factory=Journal)
    timeline: Timeline = field(default_factory=Timeline)

    def start(self) -> Server:
        """Serve."""
        changed = threading.Event()
        self.doings = None
        if not self.read_only:
            self.doings = Doings(self.journal, self.timeline, changed.set, errand)
        self.hub = Hub(self.now, self.journal, self.timeline, self.doings, changed)
        self.server = Server(self.port, access.Keys(self.key), self.hub)
        self.hub.start()
        self.server.serve()
        return self.server

    def close(self) -> None:
        """End it."""
        if self.doings is not None:
            self.doings.close()
        self.hub.stop()
        self.server.shutdown()
        self.server.server_close()

    def now(self) -> Facts:
        """Return what the parts say now: as told, or what follows from the drill that runs."""
        if self.facts is not None:
            return self.facts
        drill = (self.doings.data() if self.doings else {}).get("drill")
        if drill is None:
            return whole()
        struck = [mark["at"] for mark in drill["marks"] if mark["kind"] == "fault"]
        since = time.time() - struck[0] if struck else -1.0
        return replace(self.course(since), events=_heard(struck[0], since) if struck else [])


def _heard(struck: float, since: float) -> list[Event]:
    """Return the monitor's events of a killed primary by then."""
    states = [
        (NOTICED, "postgres2", "prepare_promotion"),
        (NOTICED + 0.6, "postgres2", "stop_replication"),
        (PROMOTED, "postgres2", "wait_primary"),
        (STARTED + 0.8, "postgres1", "demoted"),
        (STARTED + 1.4, "postgres1", "catchingup"),
        (BACK - 0.6, "postgres1", "secondary"),
        (BACK - 0.1, "postgres2", "primary"),
    ]
    return [
        Event(
            number,
            datetime.fromtimestamp(struck + at, UTC),
            node,
            state,
            state,
            f"New state is reported by {node}",
        )
        for number, (at, node, state) in enumerate(states, 1)
        if at <= since
    ]


# ---------------------------------------------------------------------- the load's process


def errand(*given: Any) -> Errand:  # noqa: ANN401 - as Errand takes them
    """Return an errand whose process is this module."""
    return Errand(*given, command=(sys.executable, "-m", "tests.console_replay"))


class Clients:
    """Says what 20 writes and 40 reads a second would see, but for a pause."""

    def __init__(self) -> None:
        """Begin now."""
        self.due = time.time()
        self.count = 0
        self.pause: tuple[float, float] | None = None
        self.late: list[list[Any]] = []

    def tell(self) -> None:
        """Say what has ended by now."""
        seen: list[list[Any]] = []
        while self.due < time.time() - 0.15:
            kind = "write" if self.count % 3 == 0 else "read"
            took = (8 if kind == "write" else 4) * (0.7 + 0.1 * (self.count * 7 % 6)) / 1000
            ended = self.due + took
            if self.pause and kind == "write" and self.pause[0] <= ended < self.pause[1]:
                ended = self.pause[1] + took
            seen.append([kind, self.due, ended, "ok"])
            self.count += 1
            self.due += 1 / 60
        ready = [each for each in seen if each[2] <= time.time()]
        self.late += [each for each in seen if each not in ready]
        ready += [each for each in self.late if each[2] <= time.time()]
        self.late = [each for each in self.late if each not in ready]
        say(seen=ready)


def say(**what: Any) -> None:  # noqa: ANN401 - JSON
    """Say a line as the worker does."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def work(words: Sequence[str], over: threading.Event) -> None:
    """Be a load until the end, or a drill."""
    clients = Clients()
    if words[0] == "load":
        say(phase="running")
        while not over.wait(0.1):
            clients.tell()
        return
    say(phase="waiting for a whole stack", lacks=[])
    course: list[tuple[float, dict[str, Any]]] = [
        (0.8, {"phase": "clients are at work"}),
        (3.5, {"kind": "fault", "what": "postgres1 killed"}),
        (3.5 + STARTED - 0.2, {"kind": "undone", "what": "postgres1 started"}),
        (3.5 + BACK + 0.3, {"kind": "undone", "what": "whole again"}),
        (3.5 + BACK + 3.5, {"verdict": VERDICT}),
    ]
    begun = time.time()
    for at, what in course:
        while time.time() < begun + at:
            if over.wait(0.1):
                say(error="Stopped after 1 s.")
                return
            clients.tell()
        if what.get("kind") == "fault":
            clients.pause = (time.time(), time.time() + PROMOTED + 0.1)
        say(**({"mark": [time.time(), what["kind"], what["what"]]} if "kind" in what else what))


VERDICT = {
    "ok": True,
    "kept": ".holdfast/drills/x",
    "problems": [],
    "judged": {
        "acknowledged": 318, "reads": 640, "unknown": 0, "undecided": 0, "lost": 0,
        "lost_as_warned": 0, "twice": 0, "stale": 0, "other": 0, "findings": [],
    },
    "measured": [{
        "fault": "primary-killed", "write_pause": 2.42, "read_pause": 0.14, "slowest_write": 2.4,
        "slowest_read": 0.2, "failed": {"plain": 0, "careful": 0}, "errors": {},
        "redundant_after": 3.4, "moved": True, "missed": [],
    }],
}  # fmt: skip
"""As of a drill that was run on the real stack."""


def main(arguments: Sequence[str]) -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=access.PORT)
    parser.add_argument("--recorded", type=Path)
    parser.add_argument("--read-only", action="store_true")
    said = parser.parse_args(arguments)
    course = recorded(said.recorded) if said.recorded else killed
    played = Played(port=said.port, read_only=said.read_only, course=course)
    print(played.start().link, flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        played.close()


if __name__ == "__main__":
    if sys.argv[1:2] in (["load"], ["drill"]):
        END = threading.Event()
        threading.Thread(target=lambda: (sys.stdin.read(), END.set()), daemon=True).start()
        work(sys.argv[1:], END)
    else:
        main(sys.argv[1:])
