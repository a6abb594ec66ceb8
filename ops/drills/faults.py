"""The faults: each is applied to a role, not to a name, and undone whatever happens.

A fault is a function of a Stage. It breaks something; the runner holds that for `hold` seconds of
load, then mends. To add one: a function, its decorator, a line in docs/drills.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops import cluster, operate

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.drills.stage import Stage
    from ops.snapshot import Snapshot

BRIEF = 4.0
"""Seconds that most faults last: longer than a failover takes (2 to 3)."""

LONG = 8.0
"""Seconds that a silence lasts: longer than it takes to be noticed (3), and a failover after it."""

OUTLASTS_DEADLINE = 20.0
"""Seconds of a fault that requests cannot wait out: they are held for 15."""

REBUILT = 30.0
"""Seconds in which a node copies another, or registers, while clients go on."""

LOSSY = 45.0
"""Seconds of lost packets; `--hold 600` is the long form."""

STALL = 1.5
"""Seconds that every profile has to sit out: a host that is busy, a machine that is moved."""

PAIR = 2
"""Data nodes; with more the primary is not alone when one is lost."""

RESUMED_LIMIT = 60.0
"""Seconds for writes to go on within a fault of several steps."""


@dataclass(frozen=True)
class Targets:
    """What a drill is measured against: seconds of pause, and failed requests; None: nothing said.

    Medians of several runs count, with the `fast` profile and two data nodes.
    """

    writes: float | None = None
    reads: float | None = None
    plain_may_fail: bool = False  # what was in flight, of clients without retries
    failover: bool | None = None  # whether the primary's role may move


@dataclass(frozen=True)
class Fault:
    """One way to break the stack."""

    name: str
    summary: str
    inject: Callable[[Stage], None]
    hold: float
    targets: Targets
    load: float = 1.0  # the drill's load, times this
    random: bool = True  # one of those that `drill random` draws from


FAULTS: dict[str, Fault] = {}
"""All of them by name, in the order in which `drill all` goes through them."""


def fault(
    name: str, targets: Targets, hold: float = BRIEF, load: float = 1.0, *, random: bool = True
) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:
    """Add a function to FAULTS; its docstring is what operators read."""

    def add(inject: Callable[[Stage], None]) -> Callable[[Stage], None]:
        summary = str(inject.__doc__).splitlines()[0]
        FAULTS[name] = Fault(name, summary, inject, hold, targets, load, random)
        return inject

    return add


FAILOVER = Targets(writes=3.0, reads=1.0)
SILENCE = Targets(writes=5.0, reads=1.5)
STANDBY = Targets(writes=3.0, reads=1.0)
PROXY = Targets(writes=0.7, reads=0.7, plain_may_fail=True)
PROCESS = Targets(writes=1.0, reads=1.0, plain_may_fail=True)
APP = Targets(writes=0.5, reads=0.5)
NOTHING = Targets(failover=False)


@fault("primary-killed", FAILOVER)
def primary_killed(stage: Stage) -> None:
    """The primary's container is killed, as a machine without power; later it returns."""
    stage.kill(stage.primary)


@fault("postgres-killed", FAILOVER)
def postgres_killed(stage: Stage) -> None:
    """PostgreSQL is killed inside the primary: its keeper restarts it, or a failover comes."""
    pid = 'head -n 1 "$PGDATA/postmaster.pid"'
    stage.kill_process(stage.primary, "PostgreSQL", pid)


@fault("primary-frozen", SILENCE, hold=LONG)
def primary_frozen(stage: Stage) -> None:
    """The primary stands still, and wakes up after another one has taken over."""
    stage.freeze(stage.primary)


@fault("primary-cut-off", SILENCE, hold=LONG)
def primary_cut_off(stage: Stage) -> None:
    """The primary loses its network, silently, and gets it back later."""
    stage.cut(stage.primary)


@fault("replication-cut", Targets(writes=5.0, reads=1.0, failover=False), hold=LONG)
def replication_cut(stage: Stage) -> None:
    """Primary and standby do not reach each other, all others reach both: the standby steps out."""
    stage.cut(stage.primary, stage.standby)


@fault("standby-killed", STANDBY)
def standby_killed(stage: Stage) -> None:
    """The standby's container is killed; later it returns."""
    stage.kill(stage.standby)


@fault("standby-frozen", STANDBY, hold=LONG)
def standby_frozen(stage: Stage) -> None:
    """The standby stands still."""
    stage.freeze(stage.standby)


@fault("standby-cut-off", STANDBY, hold=LONG)
def standby_cut_off(stage: Stage) -> None:
    """The standby loses its network, silently."""
    stage.cut(stage.standby)


@fault("monitor-killed", NOTHING)
def monitor_killed(stage: Stage) -> None:
    """The monitor is killed: nobody decides, and nothing needs to be decided."""
    stage.kill(cluster.MONITOR)


@fault("monitor-lost", NOTHING, hold=REBUILT, random=False)
def monitor_lost(stage: Stage) -> None:
    """The monitor's data are gone: it is made anew, and the nodes register as they are."""
    stage.empty(cluster.MONITOR)


@fault("returned-damaged", Targets(writes=3.0, reads=1.0), hold=REBUILT, random=False)
def returned_damaged(stage: Stage) -> None:
    """The primary is killed, and returns without WAL that it needs: it copies the new one."""
    node = stage.primary
    stage.kill(node)
    operate.wait_for("another primary", RESUMED_LIMIT, lambda now: now.primary not in {None, node})
    stage.damage(node)
    stage.mend()


@fault("proxy-killed", PROXY)
def proxy_killed(stage: Stage) -> None:
    """The proxy with the virtual IP is killed."""
    stage.kill(stage.proxy)


@fault("haproxy-killed", PROCESS)
def haproxy_killed(stage: Stage) -> None:
    """Only the haproxy process of the proxy with the virtual IP is killed."""
    stage.kill_process(stage.proxy, "haproxy", "pidof haproxy")


@fault("keepalived-killed", PROCESS)
def keepalived_killed(stage: Stage) -> None:
    """Only the keepalived processes of the proxy with the virtual IP are killed."""
    stage.kill_process(stage.proxy, "keepalived", "pidof keepalived")


@fault("proxy-cut-off", SILENCE, hold=LONG)
def proxy_cut_off(stage: Stage) -> None:
    """The proxy with the virtual IP loses its network, silently."""
    stage.cut(stage.proxy)


@fault("app-killed", APP)
def app_killed(stage: Stage) -> None:
    """One of the two instances is killed."""
    stage.kill(stage.app)


@fault("app-frozen", Targets(), hold=LONG)
def app_frozen(stage: Stage) -> None:
    """One of the two instances stands still."""
    stage.freeze(stage.app)


@fault("switchover", Targets(writes=1.0, reads=0.5))
def planned_switchover(stage: Stage) -> None:
    """The primary's role is handed over as planned."""
    stage.mark(f"{stage.primary} hands over", "fault")
    operate.switchover()


@fault("rolling-restart", Targets(writes=1.5, reads=0.7, plain_may_fail=True), random=False)
def rolling_restart(stage: Stage) -> None:
    """Every container is restarted, one after another."""
    stage.mark("rolling restart", "fault")
    operate.restart_rolling(stage.note)


@fault("returned-node", Targets(writes=1.0, reads=0.5))
def returned_node(stage: Stage) -> None:
    """A node that was down, and is behind, returns under load; the pause counts from its return."""
    stage.kill(stage.standby)
    operate.wait_for("a primary that goes on alone", RESUMED_LIMIT, _goes_on_alone)
    stage.measure()
    stage.mend()


@fault("standby-then-primary", Targets())
def standby_then_primary(stage: Stage) -> None:
    """Two at once: the standby is down, then the primary is killed; both return."""
    stage.kill(stage.standby)
    operate.wait_for("a primary that goes on alone", RESUMED_LIMIT, _goes_on_alone)
    stage.kill(stage.primary)


@fault("disk-full", FAILOVER, hold=OUTLASTS_DEADLINE, random=False)
def disk_full(stage: Stage) -> None:
    """The primary's volume is full to the last byte, the standby's is not; later there is room."""
    node = stage.standby
    stage.bound(node)
    operate.promote(node)
    operate.await_whole()
    stage.measure()
    stage.fill(node)


@fault("power-lost", Targets(plain_may_fail=True), random=False)
def power_lost(stage: Stage) -> None:
    """Everything is killed at the same time, and started again."""
    names = [c.name for c in stage.before.containers if c.name != cluster.ONE_SHOT]
    stage.kill(*names)


@fault("lossy-network", Targets(failover=False), hold=LOSSY, random=False)
def lossy_network(stage: Stage) -> None:
    """The primary loses 5 % of its packets, in and out: slower, and no role may move."""
    stage.lose(stage.primary, 5)


@fault("short-stall", Targets(failover=False), hold=STALL)
def short_stall(stage: Stage) -> None:
    """The primary stands still for a second and a half: no role may move."""
    stage.stall(stage.primary)


@fault("saturation", NOTHING, hold=15.0, load=8.0, random=False)
def saturation(stage: Stage) -> None:
    """No fault at all, but more load than the machine can serve: no role may move."""
    stage.mark("more load than can be served", "fault")


def _goes_on_alone(now: Snapshot) -> bool:
    """Tell whether the loss of a standby is dealt with: nothing waits for it any more."""
    alone = any(node.state == "wait_primary" == node.assigned for node in now.nodes)
    others = len(now.nodes) > PAIR and any(node.in_sync for node in now.nodes)
    return now.primary is not None and (alone or (others and not all(n.healthy for n in now.nodes)))
