"""The tour: every drill once. What was promised is kept under each fault, whatever it is.

Nothing here asserts how long a pause was: docs/results.md has the measured ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ops.drills import session
from ops.drills.controls import CONTROLS, Control
from ops.drills.faults import BRIEF, FAULTS, LONG, LOSSY, REBUILT, STALL
from ops.drills.runner import run_one
from ops.load.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WRITES, READS = 20.0, 40.0
"""Requests a second, all clients: what a machine with little to spare can do beside the stack."""

SETTLED = 1.0
"""Seconds of load before and after: enough for what is judged here, which is no pause."""

STALL_HERE = 1.0
"""Seconds of a stall beside other work: the 1.6 s to a failover begin with the last answer before
it, and a busy machine is late by more than the 0.1 s that STALL leaves."""

HELD = {REBUILT: BRIEF, LOSSY: LONG, STALL: STALL_HERE}
"""Seconds here for seconds by hand. What is rebuilt mends itself; the load goes on until it has."""


@pytest.mark.parametrize("name", FAULTS)
def test_a_drill(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost, twice or stale; nothing fails but what the fault's targets allow."""
    monkeypatch.setattr(session, "SETTLE", SETTLED)
    fault = FAULTS[name]
    fault = replace(fault, hold=HELD.get(fault.hold, fault.hold))
    drill = run_one(fault, Plan(writes_per_second=WRITES, reads_per_second=READS), tmp_path)
    print(drill)
    assert drill.problems == []
    assert drill.judged.findings == []
    assert drill.judged.ok
    assert drill.judged.acknowledged > 0
    failed = drill.measured[0].failed
    assert failed["careful"] == 0
    assert failed["plain"] == 0 or fault.targets.plain_may_fail
    assert not (drill.measured[0].moved and fault.targets.failover is False)


@pytest.mark.parametrize("control", CONTROLS, ids=lambda each: each.__name__)
def test_a_control(control: Callable[[Plan], Control]) -> None:
    """Without its guarantee a drill shows what is lost, or refused; with it, nothing."""
    found = control(Plan(writes_per_second=WRITES, reads_per_second=READS))
    assert found.ok, found
