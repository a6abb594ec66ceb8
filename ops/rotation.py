"""Passwords of a running stack, changed one after another; nobody's request fails for it.

Each file is written in place. The primary (the monitor, for its own) sets what it finds there, and
those who log in read the file each time; a login that falls between the two is tried again. Then
the sessions end that logged in with the old one (ops/sessions.py).
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from ops import cluster, operate, poolers, sessions, settings
from ops.console import StackError
from ops.secret_files import PASSWORDS, STATS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ops.secret_files import SecretFiles

SET_LIMIT = 60.0
"""Seconds for a new password to be set where it is checked: a failover may come in between."""

POLL = 0.2

THE_NODES = "the nodes"
SERVERS = {"autoctl_node": (cluster.MONITOR,), "holdfast_monitoring": (THE_NODES, cluster.MONITOR)}
"""Who compares with a role's password, where it is not the nodes alone. The nodes have what the
primary sets; the monitor hashes it anew."""


def rotate(
    files: SecretFiles, names: Sequence[str], say: Callable[[str], None], *, terminate: bool = True
) -> None:
    """Change the passwords in these files, all if none is named.

    `terminate`: sessions that logged in with the old one end. Raises StackError.
    """
    there_are = (*PASSWORDS, STATS)
    unknown = sorted(set(names) - set(there_are))
    if unknown:
        raise StackError(f"there is no secret {unknown[0]}; there are {', '.join(there_are)}")
    operate.await_whole()
    for name in names or there_are:
        if name == STATS:
            files.rotate(name)
            say(f"{name:<22} changed: statistics and metrics ask for the new one")
            continue
        role = PASSWORDS[name]
        servers = SERVERS.get(role, (THE_NODES,))
        before = {server: _verifier(role, server) for server in servers}
        if not all(before.values()):
            raise StackError(f"{name} stays as it is: nobody could be asked for {role}'s")
        files.rotate(name)
        now = {server: _await_another(role, server, before[server]) for server in servers}
        ended = sum(_end_sessions(role, *one) for one in now.items()) if terminate else 0
        told = f"; sessions ended that had the old one: {ended}" if terminate else ""
        say(f"{name:<22} changed, and set for {role}{told}")
    operate.await_whole()


def _end_sessions(role: str, server: str, verifier: str) -> int:
    """End what was opened with an older password, on each node as soon as it has this one.

    On all at the same time: each has seconds to wait for logins that began before.
    """
    running = {one.name for one in cluster.containers() if one.state == "running"}
    nodes = [server] if server != THE_NODES else [name for name in cluster.NODES if name in running]

    def end(node: str) -> int:
        moment = _await_verifier(node, role, verifier)
        # Behind a pooler PostgreSQL's sessions are not its clients'.
        pooled = settings.has_poolers(os.environ) and node in cluster.NODES
        clients = (
            sessions.end_older_clients(role, moment, partial(poolers.ask, node)) if pooled else 0
        )
        return clients + sessions.end_older(role, moment, partial(_sql, node))

    with ThreadPoolExecutor(len(cluster.NODES)) as pool:
        return sum(pool.map(end, nodes))


def _await_verifier(node: str, role: str, verifier: str) -> float:
    """Wait until a server compares with this; return its clock's time then, in Unix time."""
    columns = "rolpassword, extract(epoch FROM clock_timestamp())"
    query = f"SELECT {columns} FROM pg_authid WHERE rolname = '{role}'"  # noqa: S608 - our own
    deadline = time.monotonic() + SET_LIMIT
    while not (told := _sql(node, query).strip()).startswith(f"{verifier}|"):
        if time.monotonic() > deadline:
            what = f"{node} does not have the new password of {role} within {SET_LIMIT:.0f} s"
            raise StackError(f"{what}, so old sessions go on there; `holdfast status` shows why")
        time.sleep(POLL)
    return float(told.rpartition("|")[2])


def _await_another(role: str, server: str, before: str) -> str:
    deadline = time.monotonic() + SET_LIMIT
    while (now := _verifier(role, server)) in {before, ""}:
        if time.monotonic() > deadline:
            told = "the old one" if now else f"nobody of {server} tells"
            what = f"the new password of {role} was not set within {SET_LIMIT:.0f} s ({told})"
            raise StackError(f"{what}; `holdfast status` shows why. It is set once all is well.")
        time.sleep(POLL)
    return now


def _verifier(role: str, server: str) -> str:
    """Return what the server compares a role's password with; nothing when it cannot be asked."""
    node = cluster.find_primary() if server == THE_NODES else server
    query = f"SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'"  # noqa: S608 - our own
    return _sql(node, query).strip() if node else ""


def _sql(node: str, query: str) -> str:
    return cluster.ask(node, "psql", "-d", "postgres", "-qAt", "-c", query)
