"""`holdfast status`: the snapshot as tables, and what is wrong in sentences."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ops import cluster, names, settings, snapshot
from ops.cli.output import console
from ops.console import StackError
from ops.diagnosis import RUNBOOK, Problem, diagnose

if TYPE_CHECKING:
    from ops.snapshot import Node, Sizes, Snapshot

WATCH_INTERVAL = 1.0
"""Seconds between two looks of `--watch`; one look costs about half a second of one core."""

STEP = 1024
"""From one unit of size to the next."""


def as_data(now: Snapshot) -> dict[str, object]:
    """Return what `--json` prints."""
    return {
        "stack": names.stack(),
        "healthy": now.whole,
        "redundant": now.redundant,
        "durability": now.durability,
        "primary": now.primary,
        "virtual_ip": {"address": cluster.vip(), "holder": now.vip_holder},
        "edge": now.edge,
        "nodes": now.nodes,
        "backends": now.servers,
        "sizes": now.sizes,
        "containers": {each.name: each.condition for each in now.containers},
        "problems": diagnose(now),
    }


def show(now: Snapshot) -> None:
    """Print the state once."""
    console.print(_page(now))


def watch() -> None:
    """Show the state as it changes, until interrupted."""
    with Live(_page(snapshot.take()), console=console, screen=True) as live:
        while True:
            time.sleep(WATCH_INTERVAL)
            try:
                live.update(_page(snapshot.take()))
            except StackError as error:  # a container was just removed, or Docker is busy
                live.update(Text(str(error), "bold red"))


def _page(now: Snapshot) -> RenderableType:
    problems = diagnose(now)
    head = _headline(now, well=now.whole and not problems)
    return Group(head, "", _nodes(now), "", _others(now), *_problems(problems))


def _headline(now: Snapshot, *, well: bool) -> Text:
    verdict = ("all is well", "bold green") if well else ("degraded", "bold yellow")
    if now.primary is None:
        verdict = ("no writes", "bold red")
    durability = {
        "replicated": "an acknowledged write is on two nodes",
        "local": "an acknowledged write is on one node alone",
    }.get(now.durability, "where writes go is not known")
    return Text.assemble(verdict, f"  ·  primary {now.primary or 'none'}  ·  {durability}")


def _nodes(now: Snapshot) -> Table:
    table = Table("node", "state", "health", "LSN", "timeline", "behind", "commits wait", box=None)
    for node in now.nodes:
        state = node.state if node.state == node.assigned else f"{node.state} → {node.assigned}"
        table.add_row(
            node.name,
            Text(state, "bold" if node.name == now.primary else ""),
            Text("reachable", "green") if node.healthy else Text("not reachable", "red"),
            node.lsn,
            str(node.timeline),
            *_standby(node, now.primary),
        )
    return table


def _standby(node: Node, primary: str | None) -> tuple[str, str]:
    if node.name == primary:
        return "", ""
    return "?" if node.lag is None else f"{node.lag} B", "yes" if node.in_sync else "no"


def _others(now: Snapshot) -> Table:
    table = Table("part", "state", box=None)
    for part, where in {"stack": names.stack(), **settings.where()}.items():
        table.add_row(part, where)
    table.add_row("virtual IP", f"{cluster.vip()} on {now.vip_holder or 'nobody'}")
    edge = "answers" if now.edge else "does not answer"
    table.add_row("edge", f"{cluster.edge_url().removeprefix('http://')} {edge}")
    for backend in ("apps", "pg_primary", "pg_any"):
        servers = [each for each in now.servers if each.backend == backend]
        words = ", ".join(f"{each.name} {each.status}" for each in servers)
        table.add_row(f"backend {backend}", words or "HAProxy does not answer")
    if now.sizes is not None:
        table.add_row("data", _sizes(now.sizes))
        table.add_row("WAL kept", f"{in_words(now.sizes.wal)} for standbys")
    used = [f"{node.name} {node.used} %" for node in now.nodes if node.used is not None]
    if used:
        table.add_row("volumes used", ", ".join(used))
    ill = [f"{each.name} {each.condition}" for each in now.containers if not each.ready]
    table.add_row("containers", ", ".join(ill) or f"all {len(now.containers)} healthy")
    return table


def _sizes(sizes: Sizes) -> str:
    parts = {"audit": sizes.audit, "users": sizes.users, "keys": sizes.keys}
    told = [f"{name} {in_words(size)}" for name, size in parts.items() if size is not None]
    return f"{in_words(sizes.database)}: {', '.join(told)}"


def in_words(size: float) -> str:
    """Return bytes with the unit that leaves at most four digits, as `du -h` does."""
    units = iter(("B", "kB", "MB", "GB"))
    unit = next(units)
    for larger in units:
        if size < STEP:
            break
        size, unit = size / STEP, larger
    return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"  # noqa: PLR2004 - two digits


def _problems(problems: list[Problem]) -> list[RenderableType]:
    if not problems:
        return []
    lines = [Text(f'{one.what}  → {RUNBOOK}, "{one.heading}"', "yellow") for one in problems]
    return ["", *lines]
