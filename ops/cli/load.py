"""`holdfast load`: run a load, watch it, and keep its report."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - typer reads the annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from ops import cluster
from ops.cli.output import Json, console, print_json, reported
from ops.load import wording
from ops.load.calibrate import Step, calibrate
from ops.load.operation import Kind, Outcome
from ops.load.page import render_page
from ops.load.plan import Plan
from ops.load.report import summarize
from ops.load.run import HURRY, Run
from ops.load.text import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.load.operation import Operation
    from ops.load.run import Result

LOOK = 0.25
"""Seconds between two looks at a running load."""

WINDOW = 2.0
"""Seconds that the live numbers are about."""


def load(
    *,
    writes: Annotated[float, typer.Option(help="Writes per second.")] = 20.0,
    reads: Annotated[float, typer.Option(help="Reads per second.")] = 80.0,
    seconds: Annotated[
        float | None, typer.Option(help="Seconds to go on; until Ctrl-C if not given.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(envvar="HOLDFAST_URL", help="The service; this stack's if not given."),
    ] = None,
    changes: Annotated[float, typer.Option(help="Share of writes that change a user.")] = 0.5,
    processes: Annotated[int, typer.Option(help="Processes that send.")] = 1,
    keyed: Annotated[
        bool, typer.Option("--keys/--no-keys", help="Choose an Idempotency-Key per write.")
    ] = True,
    tokens: Annotated[bool, typer.Option(help="Send Consistency-Tokens with reads.")] = True,
    retries: Annotated[bool, typer.Option(help="Send again what is safe to.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the report as a page here.")] = None,
    calibration: Annotated[
        bool, typer.Option("--calibrate", help="Measure the generator itself instead.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Send an open-loop load to the service, and report what its clients saw."""
    with reported(as_json=as_json):
        if calibration:
            _calibrate(processes, as_json=as_json)
            return
        plan = Plan(
            base_url=url or cluster.service_url(),
            writes_per_second=writes,
            reads_per_second=reads,
            seconds=seconds,
            changes=changes,
            processes=processes,
            keyed=keyed,
            tokens=tokens,
            retries=retries,
        )
        if html is not None:
            html.touch()  # found out now, not after the load, if it cannot be written
        report = summarize(_watched(plan))
        if as_json:
            sys.stdout.write(report.to_json() + "\n")
        else:
            console.print(render(report))
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


def _calibrate(processes: int, *, as_json: bool) -> None:
    def note(step: Step) -> None:
        kept = "kept" if step.kept else "missed"
        late = wording.duration(step.late)
        if not as_json:
            console.print(f"{step.rate:6.0f}/s {kept}: p99 {late} late, {step.cpu:.0%} of a core")

    found = calibrate(processes, note=note)
    if as_json:
        print_json({"requests_per_second": found.rate})
    else:
        console.print(f"This machine's generator keeps {found.rate:.0f} requests per second.")
