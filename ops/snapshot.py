"""The state of the whole stack at one moment, as data: what `status` shows and drills wait for.

Taken from outside, all parts at the same time; a part that does not answer is missing from it.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from ops import certificates, cluster, poolers, replication, settings, tokens
from ops.backups import repository

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from ops.certificates import Certificate

T = TypeVar("T")

SENDERS = """
    SELECT coalesce(json_agg(json_build_object(
               'name', application_name, 'state', state, 'sync', sync_state,
               'commits', current_setting('synchronous_commit'),
               'lag', pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn))), '[]')
      FROM pg_stat_replication
"""
"""Whom the primary sends WAL to, by how many bytes each is behind in replaying it, and what commits
wait for."""

SIZES = """
    SELECT json_build_object(
        'database', pg_database_size(current_database()),
        'users', pg_total_relation_size(to_regclass('public.users')),
        'keys', pg_total_relation_size(to_regclass('public.idempotency_keys')),
        'audit', (SELECT sum(pg_total_relation_size(relid))
                    FROM pg_partition_tree(to_regclass('public.audit_log'))),
        'wal', (SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)), 0)
                  FROM pg_replication_slots))
"""
"""What takes room on the primary, in bytes; null for a table that is not there yet."""

USED = ("df", "--output=pcent", "/var/lib/postgresql")
"""Asks a node how full its volume is."""

HEALTHY = 1  # pg_auto_failover, node health: -1 unknown, 0 bad, 1 good
IN_SYNC = {"sync", "quorum"}  # pg_stat_replication.sync_state

Sender: TypeAlias = tuple[int | None, bool, str]
"""Of a standby: `lag`, `in_sync` and `commits`, as Node has them."""


@dataclass(frozen=True)
class Node:
    """A data node, as the monitor and the primary see it."""

    name: str
    state: str  # reported to the monitor: primary, secondary, wait_primary ...
    assigned: str  # what the monitor wants it to be
    healthy: bool  # the monitor reaches its PostgreSQL
    lsn: str  # as the node reported last
    timeline: int
    lag: int | None = None  # bytes of WAL not replayed yet; None: the primary does not send to it
    in_sync: bool = False  # a commit waits for it, if it waits at all
    commits: str = ""  # the primary's synchronous_commit; empty: it does not send to it
    used: int | None = None  # percent of its volume; None: nobody says


@dataclass(frozen=True)
class Sizes:
    """What takes room on the primary, in bytes; None is what is not there yet."""

    database: int
    audit: int | None
    users: int | None
    keys: int | None  # of idempotency
    wal: int  # kept for standbys, by their slots


@dataclass(frozen=True)
class Server:
    """One of HAProxy's servers, as the holder of the virtual IP sees it."""

    backend: str
    name: str
    status: str  # HAProxy's word: UP, DOWN, "UP 1/2", "no check" ...

    @property
    def up(self) -> bool:
        """Whether it passes its check."""
        return self.status.startswith("UP")


@dataclass(frozen=True)
class Snapshot:
    """Everything at once. Empty or None is what nobody could say."""

    containers: list[cluster.Container] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    writable: list[str] = field(default_factory=list)  # nodes that accept writes now
    vip_holder: str | None = None  # where there are two, the one that reaches the database
    vip_holders: list[str] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)
    edge: bool = False  # nginx answers on the published port
    leaderless: list[str] = field(default_factory=list)  # nodes that wait for a person's word
    sizes: Sizes | None = None
    tokens: str = ""  # what is wrong with the file of tokens
    certificates: list[Certificate] = field(default_factory=list)  # the first to end in front
    backups: repository.Reach | None = None  # None: the stack has no repository
    poolers: list[poolers.Pooler] = field(default_factory=list)  # none without POOLER=yes

    @property
    def updated(self) -> datetime | None:
        """When the oldest image got its packages; None where nobody says."""
        known = [each.updated for each in self.containers if each.updated]
        return min(map(datetime.fromisoformat, known), default=None)

    @property
    def primary(self) -> str | None:
        """The one node that accepts writes; None also while there are two."""
        return self.writable[0] if len(self.writable) == 1 else None

    @property
    def in_sync(self) -> bool:
        """Whether there is a standby that commits may wait for."""
        return any(node.in_sync for node in self.nodes)

    @property
    def replication(self) -> str:
        """What commits wait for, as REPLICATION says it; empty where no standby is in sync."""
        commits = next((node.commits for node in self.nodes if node.in_sync), "")
        return replication.NAMES.get(commits, "")

    @property
    def durability(self) -> str:
        """Where an acknowledged commit is: `replicated`, `local` (one node), or `unknown`."""
        if self.primary is None or not self.nodes:
            return "unknown"
        waits = self.in_sync and self.replication != replication.ASYNC
        return "replicated" if waits else "local"

    @property
    def redundant(self) -> bool:
        """Whether any one data node may be lost: one primary, and all others standbys in sync."""
        states = sorted(node.state for node in self.nodes)
        wanted = ["primary"] + ["secondary"] * (len(states) - 1)
        settled = all(node.state == node.assigned and node.healthy for node in self.nodes)
        known = self.primary is not None and self.in_sync
        return settled and len(states) > 1 and states == wanted and known

    @property
    def timeline(self) -> int:
        """The timeline of the newest promotion; 0 when nobody says."""
        return max((node.timeline for node in self.nodes), default=0)

    def up(self, backend: str) -> list[str]:
        """Names of a backend's servers that pass their check."""
        return [server.name for server in self.servers if server.backend == backend and server.up]

    @property
    def whole(self) -> bool:
        """Whether nothing at all is missing: containers, redundancy, virtual IP, servers."""
        return (
            self.redundant
            and self.vip_holder is not None
            and len(self.vip_holders) <= 1
            and self.edge
            and all(container.ready for container in self.containers)
            and len(self.up("apps")) == len(cluster.APPS)
            and len(self.up("pg_primary")) == 1
            and len(self.up("pg_any")) == len(self.nodes)
        )


def settled() -> bool:
    """Tell whether every node is where the monitor wants it: one question instead of ten.

    A whole look costs a third of a core's second, which a load beside it feels.
    """
    rows = _states()
    moving = any(row["current_group_state"] != row["assigned_group_state"] for row in rows)
    return bool(rows) and not moving and all(row["health"] == HEALTHY for row in rows)


def take() -> Snapshot:
    """Look at everything. Raises StackError when Docker does not answer."""
    containers = cluster.containers()
    running = {container.name for container in containers if container.state == "running"}
    names = [name for name in cluster.NODES if name in running]
    with ThreadPoolExecutor() as pool:
        states = pool.submit(_states)
        edge = pool.submit(cluster.edge_answers) if cluster.EDGE in running else None
        ends = pool.submit(certificates.now, edge=cluster.EDGE in running)
        proxies = {
            proxy: pool.submit(cluster.holds_vip, proxy)
            for proxy in cluster.PROXIES
            if proxy in running
        }
        writable = {name: pool.submit(cluster.accepts_writes, name) for name in names}
        full = {name: pool.submit(used, name) for name in names}
        pooled = names if settings.has_poolers(os.environ) else []
        looked = [pool.submit(poolers.look, name) for name in pooled]
        accepting = [name for name in names if writable[name].result()]
        senders = pool.submit(_senders, accepting[0]) if accepting else None
        taken = pool.submit(sizes, accepting[0]) if accepting else None
        saved = None
        if any(container.name == cluster.REPOSITORY for container in containers):
            saved = pool.submit(repository.reach, accepting[0] if accepting else None)
        held = [proxy for proxy, holds in proxies.items() if holds.result()]
        asked = {proxy: pool.submit(_servers, proxy) for proxy in held}
        tables = {proxy: table.result() for proxy, table in asked.items()}
        holder = holder_of(held, tables)
        nodes = [
            replace(node, used=full[node.name].result() if node.name in full else None)
            for node in join(states.result(), _result(senders, dict))
        ]
        # Without its container it is another's port that answers.
        return Snapshot(
            *(
                containers,
                nodes,
                accepting,
                holder,
                held,
                tables.get(holder or "", []),
                _result(edge, bool),
            ),
            leaderless=[] if nodes else [name for name in names if cluster.is_leaderless(name)],
            sizes=taken.result() if taken else None,
            tokens=tokens.complaint(tokens.of_stack()),
            certificates=ends.result(),
            backups=saved.result() if saved else None,
            poolers=[each.result() for each in looked],
        )


def _result(future: Future[T] | None, otherwise: Callable[[], T]) -> T:
    return otherwise() if future is None else future.result()


def _states() -> list[dict[str, object]]:
    text = cluster.ask(cluster.MONITOR, "pg_autoctl", "show", "state", "--json")
    rows: list[dict[str, object]] = json.loads(text) if text else []
    return rows


def _senders(primary: str) -> dict[str, Sender]:
    """Return what the primary says of its standbys, by pg_auto_failover's node number."""
    text = cluster.query(primary, SENDERS)
    return senders_of(json.loads(text) if text else [])


def senders_of(rows: list[dict[str, object]]) -> dict[str, Sender]:
    """Return the rows of SENDERS as `join` wants them."""
    return {
        str(row["name"]).rpartition("_")[2]: (
            None if row["lag"] is None else int(str(row["lag"])),
            row["state"] == "streaming" and row["sync"] in IN_SYNC,
            str(row.get("commits", "")),
        )
        for row in rows
    }


def sizes(primary: str) -> Sizes | None:
    """Return what takes room, if the primary says."""
    text = cluster.query(primary, SIZES, "holdfast")
    return Sizes(**json.loads(text)) if text else None


def used(node: str) -> int | None:
    """Return how full a node's volume is, in percent."""
    words = cluster.ask(node, *USED).split()
    return int(words[-1].rstrip("%")) if words else None


def join(states: list[dict[str, object]], senders: dict[str, Sender]) -> list[Node]:
    """Return the nodes as the monitor has them, with what the primary says of its standbys."""
    nodes = []
    for row in states:
        lag, in_sync, commits = senders.get(str(row["node_id"]), (None, False, ""))
        nodes.append(
            Node(
                name=str(row["nodename"]),
                state=str(row["current_group_state"]),
                assigned=str(row["assigned_group_state"]),
                healthy=row["health"] == HEALTHY,
                lsn=str(row["reported_lsn"]),
                timeline=int(str(row["reported_tli"])),
                lag=lag,
                in_sync=in_sync,
                commits=commits,
            )
        )
    return sorted(nodes, key=lambda node: node.name)


def holder_of(held: Sequence[str], tables: Mapping[str, list[Server]]) -> str | None:
    """Return who takes the requests of those that have the virtual IP.

    Of two it is the one that reaches servers: a proxy that is cut off keeps the address as well.
    """

    def reach(proxy: str) -> tuple[bool, int]:
        return proxy in tables, sum(server.up for server in tables.get(proxy, []))

    return max(held, key=reach, default=None)


def _servers(proxy: str) -> list[Server]:
    return servers(cluster.servers_of(proxy))


def servers(rows: list[dict[str, str]]) -> list[Server]:
    """Return the servers of HAProxy's table that there are, and that it checks."""
    known = [row for row in rows if row["status"] not in {"no check", "MAINT (resolution)"}]
    return [Server(row["pxname"], row["svname"], row["status"]) for row in known]
