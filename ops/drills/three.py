"""With three data nodes: drills that two cannot have, and what the others are measured against."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ops import operate
from ops.drills.faults import BRIEF, FAULTS, PAIR, RESUMED_LIMIT, Fault, Targets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ops.drills.stage import Stage
    from ops.snapshot import Snapshot

FAILOVER = Targets(writes=3.5, reads=1.0)
UNNOTICED = Targets(writes=1.0, reads=1.0, failover=False)
"""Commits that wait for one of two do not miss the other."""

AIMS: Mapping[str, Targets] = {
    "primary-killed": FAILOVER,
    "postgres-killed": FAILOVER,
    "returned-damaged": FAILOVER,
    "replication-cut": UNNOTICED,
    "standby-killed": UNNOTICED,
    "standby-frozen": UNNOTICED,
    "standby-cut-off": UNNOTICED,
}
"""What differs from two nodes; what is not here does not."""

BEHIND_LIMIT = 20.0
"""Seconds for a standby that is sent nothing to be seen behind, under any load."""


def _two_lost_in_turn(stage: Stage) -> None:
    """Lose the primary, and its successor as well once that has a standby; both return."""
    first = stage.primary
    stage.kill(first)

    def succeeded(now: Snapshot) -> bool:
        return now.primary not in {None, first} and any(node.in_sync for node in now.nodes)

    now, _ = operate.wait_for("a primary with a standby", RESUMED_LIMIT, succeeded)
    stage.measure()
    stage.kill(str(now.primary))


def _standby_behind(stage: Stage) -> None:
    """Send one standby nothing, and kill the primary: who has everything takes over."""
    behind = stage.standby
    stage.withhold(behind)

    def is_behind(now: Snapshot) -> bool:
        others = [node for node in now.nodes if node.name not in {behind, stage.primary}]
        at = next(node.lag for node in now.nodes if node.name == behind)
        return bool(at) and any(node.in_sync for node in others)

    operate.wait_for(f"{behind} to be behind", BEHIND_LIMIT, is_behind)
    stage.measure()
    stage.kill(stage.primary)


OF_THREE: Mapping[str, Fault] = {
    name: Fault(name, str(inject.__doc__), inject, BRIEF, targets)
    for name, inject, targets in (
        ("two-lost-in-turn", _two_lost_in_turn, Targets()),
        ("standby-behind", _standby_behind, FAILOVER),
    )
}
"""Drills that need a third node."""

EVERY: Mapping[str, Fault] = {**FAULTS, **OF_THREE}


def drills(nodes: int) -> dict[str, Fault]:
    """Return the drills of a stack with so many data nodes, with their targets there."""
    if nodes <= PAIR:
        return dict(FAULTS)
    return {
        name: replace(fault, targets=AIMS.get(name, fault.targets)) for name, fault in EVERY.items()
    }
