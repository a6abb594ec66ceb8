"""`holdfast status`: the snapshot as tables, and what is wrong in sentences."""

from __future__ import annotations

import sys
import textwrap
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

from ops import cluster, names, poolers, settings, snapshot
from ops.certificates import span
from ops.cli.plain import Printable, Table, Text, drawn
from ops.cli.plain import show as put
from ops.console import StackError
from ops.diagnosis import RUNBOOK, Problem, diagnose, where_writes_are

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ops.backups.repository import Reach
    from ops.snapshot import Node, Sizes, Snapshot

WIDTH = 80
"""Columns that everything fits in, as in a terminal that nobody has widened."""

PART = 20
"""Columns before the states of parts: `backend pg_primary` and a gap."""

SCREEN, SCREEN_BEFORE = "\x1b[?1049h\x1b[?25l\x1b[2J", "\x1b[?25h\x1b[?1049l"
HOME, REST_OF_LINE, REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[K\x1b[J"
"""Control sequences (ECMA-48, xterm) of `--watch`: a screen of its own, drawn over in place."""

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
        "replication": now.replication,
        "primary": now.primary,
        "virtual_ip": {"address": cluster.vip(), "holder": now.vip_holder},
        "edge": now.edge,
        "nodes": now.nodes,
        "backends": now.servers,
        "sizes": now.sizes,
        "certificates": now.certificates,
        "backups": now.backups,
        "poolers": now.poolers,
        "containers": {each.name: each.condition for each in now.containers},
        "problems": diagnose(now),
    }


def show(now: Snapshot) -> None:
    """Print the state once."""
    for part in _page(now):
        put(part)


def watch() -> NoReturn:
    """Show the state as it changes, until interrupted."""
    sys.stdout.write(SCREEN)
    try:
        while True:
            try:
                parts = _page(snapshot.take())
            except StackError as error:  # a container was just removed, or Docker is busy
                parts = [Text(str(error), "bold red")]
            lines = "\n".join(drawn(part, colours=True) for part in parts)
            sys.stdout.write(HOME + lines.replace("\n", f"{REST_OF_LINE}\n") + REST_OF_SCREEN)
            sys.stdout.flush()
            time.sleep(WATCH_INTERVAL)
    finally:
        sys.stdout.write(SCREEN_BEFORE)


def _page(now: Snapshot) -> list[Printable]:
    problems = diagnose(now)
    head = _headline(now, well=now.whole and not problems)
    return [*head, "", _nodes(now), "", _others(now), *_problems(problems)]


def _headline(now: Snapshot, *, well: bool) -> list[Printable]:
    verdict = Text("all is well", "bold green") if well else Text("degraded", "bold yellow")
    if now.primary is None:
        verdict = Text("no writes", "bold red")
    return [verdict, f"primary {now.primary or 'none'}  ·  {where_writes_are(now)}"]


def _nodes(now: Snapshot) -> Table:
    """Return the nodes; 80 columns hold the longest states, one above the other in a change."""
    table = Table("node", "state", "health", "timeline: LSN", "behind", "in sync")
    for node in now.nodes:
        state = node.state if node.state == node.assigned else f"{node.state}\n→ {node.assigned}"
        table.add_row(
            node.name,
            Text(state, "bold" if node.name == now.primary else ""),
            Text("reachable", "green") if node.healthy else Text("unreachable", "red"),
            f"{node.timeline}: {node.lsn}",
            *_standby(node, now.primary),
        )
    return table


def _standby(node: Node, primary: str | None) -> tuple[str, str]:
    if node.name == primary:
        return "", ""
    return "?" if node.lag is None else in_words(node.lag), "yes" if node.in_sync else "no"


def _others(now: Snapshot) -> Table:
    table = Table("part", "state")
    for part, where in {"stack": names.stack(), **settings.where()}.items():
        table.add_row(part, _wrapped(where))
    table.add_row("virtual IP", f"{cluster.vip()} on {now.vip_holder or 'nobody'}")
    edge = "answers" if now.edge else "does not answer"
    table.add_row("edge", f"{cluster.edge_url().removeprefix('http://')} {edge}")
    for backend in ("apps", "pg_primary", "pg_any"):
        servers = [each for each in now.servers if each.backend == backend]
        words = _listed(f"{each.name} {each.status}" for each in servers)
        table.add_row(f"backend {backend}", words or "HAProxy does not answer")
    if now.poolers:
        table.add_row("poolers", _listed(map(poolers.in_words, now.poolers)))
    if now.sizes is not None:
        table.add_row("data", _sizes(now.sizes))
        table.add_row("WAL kept", f"{in_words(now.sizes.wal)} for standbys")
    used = [f"{node.name} {node.used} %" for node in now.nodes if node.used is not None]
    if used:
        table.add_row("volumes used", _listed(used))
    ill = [f"{each.name} {each.condition}" for each in now.containers if not each.ready]
    table.add_row("containers", _listed(ill) or f"all {len(now.containers)} healthy")
    if now.updated is not None:
        age = span((datetime.now(UTC) - now.updated).total_seconds())
        table.add_row("images", f"packages of {now.updated:%Y-%m-%d}, {age} old")
    table.add_row("certificates", _certificates(now))
    if now.backups is not None:
        table.add_row("backups", _backups(now.backups))
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


def _listed(words: Iterable[str]) -> str:
    """Return words with commas between, in lines that 80 columns hold."""
    return _wrapped(", ".join(words))


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH - PART, break_long_words=False)


def _certificates(now: Snapshot) -> str:
    if not now.certificates:
        return "nobody says when they end"
    first = now.certificates[0]
    return f"the first to end is that of {first.name}, in {span(first.left)}"


def _backups(saved: Reach) -> str:
    if saved.first is None:
        return "none yet"
    archived = "" if saved.archived is None else f", archived {span(_since(saved.archived))} ago"
    first, newest = span(_since(saved.first)), span(_since(saved.newest or saved.first))
    return _wrapped(f"to any moment of the last {first}; newest {newest} old{archived}")


def _since(moment: float) -> float:
    return max(time.time() - moment, 0)


def _problems(problems: list[Problem]) -> list[Printable]:
    """Say what is wrong, each with the command to run and the runbook's heading."""
    parts: list[Printable] = []
    for one in problems:
        parts += ["", *(Text(line, "yellow") for line in textwrap.wrap(one.what, WIDTH))]
        parts += [Text(f"  $ {one.command}", "bold")] if one.command else []
        parts += [f'  {RUNBOOK}, "{one.heading}"']
    return parts
