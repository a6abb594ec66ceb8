"""What `holdfast load` does: run a load, show its last seconds, print and keep its report."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ops import machine
from ops.cli.output import print_json
from ops.cli.plain import show
from ops.load import wording
from ops.load.calibrate import Step, calibrate
from ops.load.operation import Kind, Outcome
from ops.load.page import render_page
from ops.load.report import summarize
from ops.load.run import HURRY, Run
from ops.load.text import render

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ops.load.operation import Operation
    from ops.load.plan import Plan
    from ops.load.run import Result

LOOK = 0.25
"""Seconds between two looks at a running load."""

WINDOW = 2.0
"""Seconds that the live numbers are about."""


def loaded(plan: Plan, html: Path | None, *, as_json: bool) -> None:
    """Run a load, and report it. Raises LoadError, and OSError where the page has no place."""
    if html is not None:  # found out now, not after the load
        html.parent.mkdir(parents=True, exist_ok=True)
        html.touch()
    lacks = machine.lacks(machine.measure())
    for line in lacks:
        show(line, "bold red", error=True)
    report = summarize(_watched(plan), machine=lacks)
    if as_json:
        sys.stdout.write(report.to_json() + "\n")
    else:
        Console(highlight=False).print(render(report))
    if html is not None:
        html.write_text(render_page(report), encoding="utf-8")


def _watched(plan: Plan) -> Result:
    """Run a plan to its end or to Ctrl-C, showing the last seconds' numbers on standard error."""
    with Run(plan) as run, Live(console=Console(stderr=True), transient=True) as live:
        recent = _Recent()
        try:
            while not run.wait(LOOK):
                live.update(recent.table(run))
        except KeyboardInterrupt:
            run.stop(HURRY)
    return run.stop()


@dataclass
class _Recent:
    """The numbers of a running load; each operation is looked at once."""

    seen: int = 0
    bad: int = 0

    def table(self, run: Run) -> Table:
        """Return what to show now."""
        operations = run.operations
        self.bad += sum(one.outcome is not Outcome.OK for one in operations[self.seen :])
        self.seen = len(operations)
        most = int(run.plan.rate * WINDOW)
        last = [one for one in operations[-most:] if one.completed > run.now - WINDOW]
        table = Table(box=None, title=f"{run.now:.0f} s, {self.seen:,} sent, {self.bad:,} failed")
        for column in ("", "ok/s", "failed/s", "median", "longest"):
            table.add_column(column, justify="right")
        table.add_row("writes", *_row([one for one in last if one.kind is not Kind.READ]))
        table.add_row("reads", *_row([one for one in last if one.kind is Kind.READ]))
        return table


def _row(operations: Sequence[Operation]) -> list[str]:
    """Return rates and latencies of the last WINDOW seconds."""
    latencies = sorted(one.latency for one in operations)
    fine = sum(one.outcome is Outcome.OK for one in operations)
    median = latencies[len(latencies) // 2] if latencies else None
    rates = [f"{count / WINDOW:.0f}" for count in (fine, len(operations) - fine)]
    return [
        *rates,
        wording.duration(median),
        wording.duration(latencies[-1] if latencies else None),
    ]


def calibrated(processes: int, *, as_json: bool) -> None:
    """Measure how much this machine's generator keeps, and say so."""

    def note(step: Step) -> None:
        kept = "kept" if step.kept else "missed"
        late = wording.duration(step.late)
        if not as_json:
            show(f"{step.rate:6.0f}/s {kept}: p99 {late} late, {step.cpu:.0%} of a core")

    found = calibrate(processes, note=note)
    if as_json:
        print_json({"requests_per_second": found.rate})
    else:
        show(f"This machine's generator keeps {found.rate:.0f} requests per second.")
