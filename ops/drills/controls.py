"""Negative controls: without a guarantee, a drill on the real stack has to show what is lost.

A checker that finds nothing proves something only if it finds something here.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops import names, operate, snapshot
from ops.cluster import EDGE, NODES
from ops.console import StackError
from ops.drills.faults import Fault, Targets
from ops.drills.history import History
from ops.drills.result import judge_all
from ops.drills.session import CAREFUL, CARELESS, Session, rows
from ops.drills.stage import docker

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.drills.session import Behaviour
    from ops.drills.stage import Stage
    from ops.load.plan import Plan

LAG = 3.0
"""Seconds of acknowledged writes that the standby does not get."""

HELD = 0.7
"""Seconds after the primary's death: the service holds some writes, and no node takes them yet."""

HOLD = 6.0
"""Seconds that a control's fault lasts once it is complete: longer than a failover takes."""

QUORUM_LIMIT = 60.0
"""Seconds for a node that was killed to take its setting back."""

CONFLICTS = {409, 412}
"""A refusal for what the client has done itself: its address is in use, its version is gone."""


@dataclass(frozen=True)
class Control:
    """One guarantee taken away. `shown` counts what went wrong: none means that it was missed."""

    name: str
    summary: str
    shown: int
    wanted: bool  # whether something has to show

    @property
    def ok(self) -> bool:
        """Whether what shows is what has to."""
        return (self.shown > 0) == self.wanted


def asynchronous(plan: Plan) -> Control:
    """Commit without waiting for the standby, let it lag, kill the primary: writes are lost."""
    nodes = [node.name for node in snapshot.take().nodes if node.name in NODES]
    with ExitStack() as undos:
        undos.callback(operate.await_whole)
        for node in nodes:
            undos.callback(_replicate, node)
            _quorum(node, "false")
        operate.wait_for("asynchronous replication", operate.HANDOVER_LIMIT, _asynchronous)
        with Session(plan, clients={"careful": CAREFUL}, whole=_asynchronous) as session:
            session.strike(_fault("lagging-standby", _lag_and_die))
            judged = judge_all(
                History(result.operations, rows(result.plan.prefix), result.started)
                for result in session.stop().values()
            )
    lost = judged.lost + judged.lost_as_warned
    return Control("asynchronous", summary(asynchronous), lost, wanted=True)


def without_keys(plan: Plan) -> Control:
    """Send writes again without keys after the edge died with them in hand: they are refused."""
    shown = _conflicts(plan, CARELESS)
    return Control("without-keys", summary(without_keys), shown, wanted=True)


def with_keys(plan: Plan) -> Control:
    """Do the same with keys: nothing is refused. This one must show nothing."""
    shown = _conflicts(plan, CAREFUL)
    return Control("with-keys", summary(with_keys), shown, wanted=False)


def _conflicts(plan: Plan, client: Behaviour) -> int:
    with Session(plan, clients={"one": client}) as session:
        session.strike(_fault("edge-killed-midway", _kill_midway))
        operations = session.stop()["one"].operations
    return sum(each.status in CONFLICTS for each in operations)


def _lag_and_die(stage: Stage) -> None:
    stage.cut(stage.primary, stage.standby)
    time.sleep(LAG)
    stage.kill(stage.primary)


def _kill_midway(stage: Stage) -> None:
    stage.kill(stage.primary)
    time.sleep(HELD)
    stage.kill(EDGE)
    docker("start", names.container(EDGE))


def _fault(name: str, inject: Callable[[Stage], None]) -> Fault:
    return Fault(name, "", inject, hold=HOLD, targets=Targets())


def _quorum(node: str, value: str) -> None:
    docker("exec", names.container(node), "pg_autoctl", "set", "node", "replication-quorum", value)


def _replicate(node: str) -> None:
    """Let commits wait for a node again, also when it is still on its way back."""
    deadline = time.monotonic() + QUORUM_LIMIT
    while True:
        try:
            _quorum(node, "true")
        except StackError as error:
            if time.monotonic() > deadline:
                there = f"docker exec {names.container(node)}"
                raise StackError(
                    f"{error}\nCommits do not wait for {node} until this has been run: "
                    f"{there} pg_autoctl set node replication-quorum true"
                ) from error
            time.sleep(operate.POLL)
        else:
            return


def _asynchronous(now: snapshot.Snapshot) -> bool:
    """Tell whether there are a primary and a standby, and no commit waits for it."""
    states = sorted(node.state for node in now.nodes if node.healthy)
    settled = all(node.state == node.assigned for node in now.nodes)
    served = all(now.up(backend) for backend in ("apps", "pg_primary", "pg_any"))
    there = states == ["primary", "secondary"] and settled and served
    return there and now.durability == "local"


def summary(control: Callable[[Plan], Control]) -> str:
    """Return what an operator reads of a control."""
    return str(control.__doc__).splitlines()[0]


CONTROLS: tuple[Callable[[Plan], Control], ...] = (without_keys, with_keys, asynchronous)
"""All of them, in order."""
