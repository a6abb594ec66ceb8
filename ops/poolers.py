"""The PgBouncers of the data nodes (POOLER=yes), as their consoles tell of them."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from ops import cluster

DATABASE = "holdfast"


@dataclass(frozen=True)
class Pooler:
    """One node's. None is what nobody could say: it does not answer."""

    name: str
    clients: int | None = None  # all that are connected
    waiting: int | None = None  # of these, for a session of PostgreSQL
    sessions: int | None = None  # of PostgreSQL that it has open


def look(node: str) -> Pooler:
    """Ask a node's."""
    return pooler_of(node, ask(node, "SHOW POOLS"))


def ask(node: str, command: str) -> str:
    """Return what the console of a node's says to a command, as CSV; nothing when it cannot."""
    return cluster.ask(node, *cluster.POOLER, "--csv", "-c", command)


def pooler_of(node: str, pools: str) -> Pooler:
    """Return what SHOW POOLS tells, as CSV."""
    if not pools:
        return Pooler(node)
    rows = [row for row in csv.DictReader(io.StringIO(pools)) if row["database"] == DATABASE]

    def count(*columns: str) -> int:
        return sum(int(row[column]) for row in rows for column in columns)

    sessions = count("sv_active", "sv_idle", "sv_used", "sv_tested", "sv_login")
    return Pooler(node, count("cl_active", "cl_waiting"), count("cl_waiting"), sessions)


def in_words(pooler: Pooler) -> str:
    """Say it in a line."""
    if pooler.clients is None:
        return f"{pooler.name} does not answer"
    waiting = f" ({pooler.waiting} waiting)" if pooler.waiting else ""
    return f"{pooler.name} {pooler.clients} clients{waiting} on {pooler.sessions} sessions"
