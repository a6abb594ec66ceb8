"""The parts of the stack, and how each is asked: `Facts` is what they say now, all together."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ops import certificates, cluster, events, names, settings, snapshot, tokens
from ops.backups import repository
from ops.console import StackError
from ops.panel import pools
from ops.panel.asking import get, psql, shell
from ops.panel.changes import Changes
from ops.panel.facts import Facts
from ops.panel.part import Part

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.backups.repository import Reach
    from ops.certificates import Certificate
    from ops.cluster import Container
    from ops.events import Event
    from ops.panel.pools import Instance
    from ops.snapshot import Server, Sizes

T = TypeVar("T")

OFTEN = 0.3
"""Seconds between two questions to what may change at any time. One costs next to nothing."""

FRESH = 2.0
"""Seconds that such an answer counts: as long as two that take all the time they may. One that is
late for once, on a busy machine, is not taken for a node that is gone."""

LIMIT = 0.7
"""Seconds for one of them: what is late by more is silent."""

COUNTED = 1.0
"""Seconds between two looks at an instance's metrics, which take it some milliseconds to write."""

LISTED = 5.0
"""Seconds between two lists of containers; Docker's events say at once what changes between."""

SELDOM = 30.0
"""Seconds between two questions to what changes slowly, and costs a process in a container."""

GONE = {"die": ("exited", "Exited"), "pause": ("paused", "Up (Paused)")}
"""Docker's events of a container that answers no more, and its state and status from then on."""

FOR_EVER = math.inf
"""What the monitor recorded once stays recorded."""

END_LIMIT = 3.0
"""Seconds for all questions that are under way to end."""

STATES = """SELECT json_build_object('last', (SELECT max(eventid) FROM pgautofailover.event),
 'nodes', (SELECT json_agg(json_build_object('node_id', nodeid, 'nodename', nodename,
 'current_group_state', reportedstate, 'assigned_group_state', goalstate, 'health', health,
 'reported_lsn', reportedlsn, 'reported_tli', reportedtli)) FROM pgautofailover.node));"""
"""What `pg_autoctl show state --json` says, and the number of the newest event."""

NODE = f"""SELECT json_build_object('read_only', current_setting('transaction_read_only'),
 'senders', CASE WHEN pg_is_in_recovery() THEN '[]'::json ELSE ({snapshot.SENDERS}) END);"""
"""Whether a node accepts writes, as HAProxy's check asks, and whom it sends WAL to."""

EVENTS = 60
"""How many of the monitor's events are looked through when there are new ones."""

STATISTICS = 8404
INSTANCE_PORT = 8000


class Parts:
    """All of them. `changed` is called when there is something new to say."""

    def __init__(self, changed: Callable[[], object]) -> None:
        """Ask nothing yet."""
        self._changed = changed
        self._all: list[Part[Any]] = []
        self._addresses: dict[str, str] = {}
        self.containers = self._part("containers", self._containers, LISTED, 3 * LISTED)
        monitor = psql(cluster.MONITOR, *cluster.MONITOR_SQL[3:])
        self.states = self._fast(
            cluster.MONITOR, lambda: _json(monitor.ask(_line(STATES), LIMIT)), monitor.close
        )
        self.nodes = {name: self._node(name) for name in cluster.NODES}
        self.holds = {name: self._holder(name) for name in cluster.PROXIES}
        self.servers = {
            name: self._fast(name, partial(self._servers, name)) for name in cluster.PROXIES
        }
        self.instances = {
            name: self._part(name, partial(self._instance, name), COUNTED, 2 * COUNTED)
            for name in cluster.APPS
        }
        self.edge = self._fast(cluster.EDGE, _edge)
        asked = psql(cluster.MONITOR, *cluster.MONITOR_SQL[3:])
        self.events = self._part("events", lambda: _events(asked), SELDOM, FOR_EVER, asked.close)
        self.sizes = self._part("sizes", self._sizes, SELDOM, 3 * SELDOM)
        self.used = self._part("used", self._used, SELDOM, 3 * SELDOM)
        self.leaderless = self._part("leaderless", self._leaderless, 3.0, 12.0)
        self.tokens = self._part("tokens", lambda: tokens.complaint(tokens.of_stack()), 5.0, 60.0)
        self.certificates = self._part("certificates", self._certificates, SELDOM, 4 * SELDOM)
        self.backups = self._part("backups", self._backups, SELDOM, 4 * SELDOM)
        self._changes = Changes(self._container_changed)

    def start(self) -> None:
        """Begin to ask: the containers first, by which it is known who is there."""
        self.containers.look()
        for part in self._all:
            part.start()
        self._changes.start()

    def stop(self) -> None:
        """Ask no more."""
        self._changes.stop()
        until = time.monotonic() + END_LIMIT
        for part in self._all:
            part.stop()
        for part in self._all:
            part.wait(max(0.0, until - time.monotonic()))

    @property
    def facts(self) -> Facts:
        """What they say now."""
        return Facts(
            asking=not all(part.asked for part in self._drawn()),
            containers=self.containers.answer,
            states=self.states.answer,
            nodes=_said(self.nodes),
            holds=_said(self.holds),
            servers=_said(self.servers),
            instances=_said(self.instances),
            edge=self.edge.answer,
            events=self.events.answer,
            sizes=self.sizes.answer,
            used=self.used.answer or {},
            leaderless=self.leaderless.answer or [],
            tokens=self.tokens.answer or "",
            certificates=self.certificates.answer or [],
            backups=self.backups.answer,
        )

    def _drawn(self) -> list[Part[Any]]:
        """Return the parts without which it is not known who leads, and what is wrong."""
        several = (self.nodes, self.holds, self.servers)
        each: list[Part[Any]] = [part for parts in several for part in parts.values()]
        return [self.containers, self.states, self.edge, *each]

    # ------------------------------------------------------------------ how each is asked

    def _part(
        self,
        name: str,
        ask: Callable[[], T],
        every: float,
        lasts: float,
        done: Callable[[], object] = lambda: None,
    ) -> Part[T]:
        part = Part(name, ask, every, lasts, self._changed, done)
        self._all.append(part)
        return part

    def _fast(
        self, member: str, ask: Callable[[], T], done: Callable[[], object] = lambda: None
    ) -> Part[T]:
        def only_if_it_runs() -> T:
            if not self._runs(member):
                raise OSError(f"{member} does not run")
            return ask()

        return self._part(member, only_if_it_runs, OFTEN, FRESH, done)

    def _node(self, name: str) -> Part[dict[str, Any]]:
        session = psql(name, "-d", "postgres")
        return self._fast(name, lambda: _json(session.ask(_line(NODE), LIMIT)), session.close)

    def _holder(self, name: str) -> Part[bool]:
        session, address = shell(name), f" {cluster.vip()}/"
        question = "ip -4 address show"
        return self._fast(name, lambda: address in session.ask(question, LIMIT), session.close)

    def _containers(self) -> list[Container]:
        found = cluster.containers()
        if set(cluster.APPS) - set(self._addresses):
            self._find_addresses()
        return found

    def _find_addresses(self) -> None:
        """Learn where the instances are: Docker gives them addresses as they start."""
        shown = "{{.Name}} {{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
        containers = [names.container(each) for each in cluster.APPS]
        with contextlib.suppress(StackError):
            for line in cluster.docker("inspect", "--format", shown, *containers).splitlines():
                name, *addresses = line.split()
                if addresses:
                    self._addresses[names.member(name.lstrip("/"))] = addresses[0]

    def _instance(self, name: str) -> Instance:
        if not self._runs(name) or name not in self._addresses:
            raise OSError(f"{name} does not run")
        return pools.read(get(self._addresses[name], INSTANCE_PORT, "/metrics", LIMIT))

    def _servers(self, name: str) -> list[Server]:
        number = 31 + cluster.PROXIES.index(name)
        address = f"{settings.prefix('EDGE_SUBNET')}.{number}"
        return snapshot.servers(cluster.servers_in(get(address, STATISTICS, "/;csv", LIMIT)))

    def _sizes(self) -> Sizes | None:
        return next((snapshot.sizes(name) for name in self._writable()), None)

    def _used(self) -> dict[str, int]:
        found = {name: snapshot.used(name) for name in cluster.NODES if self._runs(name)}
        return {name: percent for name, percent in found.items() if percent is not None}

    def _leaderless(self) -> list[str]:
        if (self.states.answer or {}).get("nodes"):
            return []
        running = [name for name in cluster.NODES if self._runs(name)]
        return [name for name in running if cluster.is_leaderless(name)]

    def _certificates(self) -> list[Certificate]:
        return certificates.now(edge=self._runs(cluster.EDGE))

    def _backups(self) -> Reach | None:
        there_are = [each.name for each in self.containers.answer or []]
        if cluster.REPOSITORY not in there_are:
            return None
        return repository.reach(next(iter(self._writable()), None))

    # ------------------------------------------------------------------ what is known meanwhile

    def _writable(self) -> list[str]:
        return [name for name, said in _said(self.nodes).items() if said["read_only"] == "off"]

    def _runs(self, member: str) -> bool:
        known = self.containers.answer
        return known is None or any(
            each.name == member and each.state == "running" for each in known
        )

    def _container_changed(self, member: str, what: str) -> None:
        """Take Docker's word for a container that has ended or is frozen, and look at the rest."""
        if what in GONE:
            for part in self._of(member):
                part.forget()
            self.containers.amend(lambda known: [_ended(each, member, what) for each in known])
        if what == "start":
            self._addresses.pop(member, None)
        self.containers.hurry()

    def _of(self, member: str) -> list[Part[Any]]:
        """Return the parts that a member answers for."""
        by_name = (self.nodes, self.holds, self.servers, self.instances)
        single: dict[str, Part[Any]] = {cluster.MONITOR: self.states, cluster.EDGE: self.edge}
        found: list[Part[Any]] = [parts[member] for parts in by_name if member in parts]
        return [*found, single[member]] if member in single else found

    def news_of_monitor(self) -> None:
        """Have the monitor's events read: there are newer ones."""
        self.events.hurry()


def _ended(container: Container, member: str, what: str) -> Container:
    if container.name != member:
        return container
    state, status = GONE[what]
    return replace(container, state=state, status=status)


def _said(parts: dict[str, Part[T]]) -> dict[str, T]:
    answers = {name: part.answer for name, part in parts.items()}
    return {name: answer for name, answer in answers.items() if answer is not None}


def _line(sql: str) -> str:
    return " ".join(sql.split())


def _json(text: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(text)
    return answer


def _events(session: Any) -> list[Event]:  # noqa: ANN401 - a Conversation
    said = session.ask(f"{events.RECENT.format(EVENTS)};", cluster.LOOK_LIMIT)
    return events.read(said)


def _edge() -> bool:
    return cluster.ask_edge("/nginx-health", LIMIT) == http.client.NO_CONTENT
