"""Every container replaced by one of the newest image, one after another, and nothing fails.

What another one can stand in for is replaced as `restart --rolling` restarts it. nginx, which has
no second one, is replaced while nobody has a connection to it: those that are idle end with an
answer that says so, and new ones wait.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ops import cluster, firewall, names, operate, settings, snapshot
from ops.console import StackError, result

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.snapshot import Snapshot

MIGRATIONS_LIMIT = 120.0
"""Seconds for migrations that the new version has."""

DRAIN_LIMIT = 60.0
"""Seconds for idle connections to the edge to end: nginx closes them after 30."""

EDGE_LIMIT = 20.0
"""Seconds for the new nginx to answer: measured is 1."""

ANSWERS = (
    *("curl", "-s", "-m", "1", "-o", "/dev/null", "-w", "%{http_code}"),
    "http://127.0.0.1:8080/nginx-health",
)

FAILED = "The migrations failed, and nothing else was replaced: `docker logs {}` says why."


def roll(replace: Callable[[str], object]) -> None:
    """Replace everything; `replace` does it with a member's container, if its image is another.

    Raises StackError where the stack is not whole to begin with, or does not become whole again.
    """
    whole = "a whole stack to begin with"
    now, _ = operate.wait_for(whole, operate.WHOLE_LIMIT, lambda now: now.whole)
    replace(cluster.ONE_SHOT)
    _await_migrations()
    for member in operate.restart_order(now):
        begun = time.monotonic()
        if member == cluster.EDGE:
            replace_edge(replace)
        else:
            replace(member)
        operate.await_whole()
        result(member, f"all whole again after {time.monotonic() - begun:.1f} s")


def switch_poolers(replace: Callable[[str], object], *, on: bool) -> None:
    """Put poolers on the data nodes, or take them away, in turns; `replace` as in `roll`.

    A proxy sends clients to where every node already listens: nodes come first when poolers come,
    and the proxies when they go. Does nothing where all is as wanted. A stack that is not whole has
    no turns to take: whatever starts it then replaces all at once.
    """
    try:
        now = snapshot.take()
    except StackError:  # nobody can be asked, so nothing runs
        return
    if not now.whole or not _differ(now, on=on):
        return
    for member in switch_order(now, on=on):
        begun = time.monotonic()
        replace(member)
        operate.await_whole()
        result(member, f"all whole again after {time.monotonic() - begun:.1f} s")


def switch_order(now: Snapshot, *, on: bool) -> list[str]:
    """Return nodes and proxies in the order of `switch_poolers`: who has a role comes last."""
    nodes = sorted((node.name for node in now.nodes), key=lambda name: name == now.primary)
    proxies = sorted(cluster.PROXIES, key=lambda name: name == now.vip_holder)
    return [*nodes, *proxies] if on else [*proxies, *nodes]


def _differ(now: Snapshot, *, on: bool) -> bool:
    """Say whether a node or a proxy was told otherwise as its container was made."""
    members = (*(node.name for node in now.nodes), *cluster.PROXIES)
    told = cluster.docker(
        *("inspect", "--format", "{{json .Config.Env}}"),
        *(names.container(name) for name in members),
    ).splitlines()
    marks = ('"POOLER=yes"', f':{settings.POOLED["NODE_PORT"]}"')
    return any(any(mark in each for mark in marks) is not on for each in told)


def replace_edge(replace: Callable[[str], object]) -> None:
    """Replace nginx; sessions of PostgreSQL through the published ports end."""
    operate.in_container(cluster.EDGE, DRAIN_LIMIT, "reload", "drain")
    with firewall.held(settings.port(name) for name in settings.PORTS):
        replace(cluster.EDGE)
        deadline = time.monotonic() + EDGE_LIMIT
        # From inside: who asks from here has to wait like everybody.
        while cluster.ask(cluster.EDGE, *ANSWERS) != "204":
            if time.monotonic() > deadline:
                container = names.container(cluster.EDGE)
                raise StackError(f"the new nginx does not answer: `docker logs {container}`")
            time.sleep(operate.POLL)


def _await_migrations() -> None:
    container = names.container(cluster.ONE_SHOT)
    code = cluster.docker("wait", container, limit=MIGRATIONS_LIMIT).strip()
    if code != "0":
        raise StackError(FAILED.format(container))
