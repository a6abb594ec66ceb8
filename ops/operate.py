"""Planned work on the running stack: hand a role over, take a node out, restart everything in turn.

Each verb checks first whether it can succeed, waits for what it has caused, and says so when that
does not come. None of them needs clients to stop.
"""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from ops import cluster, names, snapshot
from ops.console import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ops.snapshot import Snapshot

HANDOVER_LIMIT = 60.0
"""Seconds for a role to move; measured are 1 to 3."""

WHOLE_LIMIT = 120.0
"""Seconds for full redundancy after a restart; measured are 2 to 15."""

STOP_LIMIT = 90.0
"""Seconds for `docker restart`: an app first ends what it holds, a primary hands over."""

OF_NODE = "SELECT pgautofailover.{}(nodeid) FROM pgautofailover.node WHERE nodename = '{}'"
"""Calls a function of the monitor's for one node."""

UNTIL = """DO $$ BEGIN FOR look IN 1..1000 LOOP
EXIT WHEN EXISTS (SELECT FROM pgautofailover.node WHERE {}); PERFORM pg_sleep(0.05);
END LOOP; END $$"""
"""Waits in the monitor itself, for at most 50 s. Snapshots taken meanwhile would take the
processors from those that hand over: on two cores the pause was twice as long."""

POLL = 0.3
"""Seconds between two looks at what is waited for."""


def wait_for(
    what: str, limit: float, condition: Callable[[Snapshot], bool], *, settled: bool = False
) -> tuple[Snapshot, float]:
    """Take snapshots until one fits; return it and the seconds it took.

    `settled`: none can fit before all nodes are where the monitor wants them.

    Raises StackError, which names what was waited for, after `limit` seconds.
    """
    begun = time.monotonic()
    while time.monotonic() - begun < limit:
        if (not settled or snapshot.settled()) and condition(now := snapshot.take()):
            return now, time.monotonic() - begun
        time.sleep(POLL)
    raise StackError(f"not within {limit:.0f} s: {what}. `holdfast status` shows why.")


def await_whole() -> float:
    """Wait until nothing of the stack is missing; return the seconds it took."""
    return wait_for("a whole stack", WHOLE_LIMIT, lambda now: now.whole, settled=True)[1]


def switchover() -> str:
    """Hand the primary's role to a standby in sync; return the new primary."""
    before = _redundant("A switchover")
    other = f"nodename <> '{before.primary}' AND reportedstate = 'primary'"
    tell_monitor("SELECT pgautofailover.perform_failover()", UNTIL.format(other))
    return _await_primary(lambda name: name != before.primary)


def promote(node: str) -> str:
    """Make one node the primary; return its name."""
    before = _redundant("A failover to a chosen node")
    _known(before, node)
    if before.primary == node:
        raise StackError(f"{node} is the primary already; there is nothing to do")
    tell_monitor(
        f"SELECT pgautofailover.perform_promotion('default', '{node}')",
        UNTIL.format(f"nodename = '{node}' AND reportedstate = 'primary'"),
    )
    return _await_primary(lambda name: name == node)


def maintenance_on(node: str) -> None:
    """Take a node out, so that it can be stopped for long; a primary hands over first."""
    before = snapshot.take()
    _known(before, node)
    if not before.redundant:
        raise StackError(f"{node} cannot be spared: the cluster is not redundant as it is")
    out = f"nodename = '{node}' AND reportedstate = 'maintenance'"
    tell_monitor(OF_NODE.format("start_maintenance", node), UNTIL.format(out))
    wait_for(f"{node} in maintenance", HANDOVER_LIMIT, lambda now: is_in(now, node, "maintenance"))


def maintenance_off(node: str) -> None:
    """Take a node back; return when it is in sync again."""
    _known(snapshot.take(), node)
    back = f"nodename = '{node}' AND reportedstate IN ('secondary', 'primary')"
    tell_monitor(OF_NODE.format("stop_maintenance", node), UNTIL.format(back))
    wait_for(f"{node} in sync", WHOLE_LIMIT, lambda now: now.redundant)


def restart_rolling(say: Callable[[str], None]) -> None:
    """Restart every container, one after another, waiting for a whole stack between them.

    Nothing that holds a role is restarted while another could hold it: standbys before the primary,
    the spare proxy before the one with the virtual IP. nginx, which has no second one, reloads:
    its workers are replaced, its port stays open. `say` is told of each step.
    """
    now, _ = wait_for("a whole stack to begin with", WHOLE_LIMIT, lambda now: now.whole)
    for name in restart_order(now):
        begun = time.monotonic()
        if name == cluster.EDGE:
            in_container(name, STOP_LIMIT, "reload")
        else:
            _docker(STOP_LIMIT, "restart", names.container(name))
        await_whole()
        verb = "reloaded" if name == cluster.EDGE else "restarted"
        say(f"{name:<12} {verb}, all whole again after {time.monotonic() - begun:.1f} s")


def restart_order(now: Snapshot) -> list[str]:
    """Return the containers in the order in which they may be restarted."""
    spare_proxies = [name for name in cluster.PROXIES if name != now.vip_holder]
    standbys = [node.name for node in now.nodes if node.name != now.primary]
    last = [name for name in (now.vip_holder, now.primary) if name]
    there_are = {each.name for each in now.containers}
    on_demand = [name for name in (cluster.REPOSITORY, cluster.WATCHER) if name in there_are]
    first = [cluster.MAKER, cluster.CLIENT, cluster.EDGE, cluster.MONITOR, *cluster.APPS]
    return [*first, *on_demand, *spare_proxies, *standbys, *last]


def _await_primary(fits: Callable[[str], bool]) -> str:
    now, _ = wait_for(
        "another primary", HANDOVER_LIMIT, lambda now: now.primary is not None and fits(now.primary)
    )
    return str(now.primary)


def _redundant(verb: str) -> Snapshot:
    before = snapshot.take()
    if not before.redundant:
        raise StackError(
            f"{verb} needs a primary and a standby in sync; `holdfast status` says what is missing"
        )
    return before


def _known(before: Snapshot, node: str) -> None:
    names = [each.name for each in before.nodes]
    if node not in names:
        raise StackError(f"there is no data node {node}; there are {', '.join(names) or 'none'}")


def is_in(now: Snapshot, name: str, state: str) -> bool:
    """Tell whether the monitor has heard of a node that it is in a state."""
    return any(node.name == name and node.state == state for node in now.nodes)


def tell_monitor(*statements: str) -> None:
    """Run statements in the monitor's database; raise StackError with what it refused."""
    words = [word for statement in statements for word in ("-c", statement)]
    in_container(cluster.MONITOR, HANDOVER_LIMIT, *cluster.MONITOR_SQL, *words)


def begin_history(primary: str) -> None:
    """Let no token or key of before count any more: acknowledged writes may be gone."""
    history = ("psql", "--no-psqlrc", "-q", "-d", "holdfast", "-c", "SELECT begin_history()")
    in_container(primary, HANDOVER_LIMIT, *history)


def in_container(member: str, limit: float, *command: str) -> None:
    """Run a command in a member's container; raise StackError with the end of what it said."""
    _docker(limit, "exec", names.container(member), *command)


def _docker(limit: float, *arguments: str) -> None:
    """Run a Docker command; raise StackError with the end of what it said."""
    try:
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, check=False, timeout=limit
        )
    except subprocess.TimeoutExpired:
        what = f"docker {' '.join(arguments)} took longer than {limit:.0f} s"
        raise StackError(f"{what}; `holdfast status` shows where it stands") from None
    if done.returncode != 0:
        raise StackError(_end(arguments, (done.stdout + done.stderr).splitlines()))


def _end(arguments: Iterable[str], lines: list[str]) -> str:
    return "\n".join([f"docker {' '.join(arguments)} failed:", *lines[-5:]])
