"""A report in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ops.load import wording
from ops.load.report import PERCENTILES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

    from ops.load.report import Report

COLOURS = {"fault": "red", "undone": "green"}


def render(report: Report) -> Group:
    """Return the report for a rich console; what makes it untrustworthy stands at its top."""
    alarms: list[RenderableType] = [
        Panel(Text("\n".join(reasons)), title=Text(title.upper()), style="bold white on red")
        for title, reasons in wording.warnings(report)
    ]
    headline = Text(wording.title(report), style="bold red" if report.failed else "bold green")
    parts: list[RenderableType] = [
        headline,
        Text(wording.plan(report), style="dim"),
        _latencies(report),
        _facts(report),
    ]
    if quiet := wording.lateness(report):
        parts.append(Text(quiet, style="dim"))
    return Group(*alarms, *parts, *_marks(report))


def _latencies(report: Report) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in ("ok", "failed", "unknown", "ok/s", *(f"p{p:g}" for p in PERCENTILES), "max"):
        table.add_column(name, justify="right")
    for name, kind in report.kinds.items():
        numbers = [f"{number:,}" for number in report.outcomes(name).values()]
        latencies = [kind.latency.percentile(percent) for percent in (*PERCENTILES, 100)]
        told = [wording.duration(each if kind.ok else None) for each in latencies]
        indent = "  " if name in {"creates", "changes"} else ""
        table.add_row(indent + name, *numbers, f"{kind.per_second:.1f}", *told)
    return table


def _facts(report: Report) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    late = report.generator.late
    wait = report.longest_wait
    facts = {
        "longest pause of writes": wording.pause(report.write_pause),
        "longest pause of reads": wording.pause(report.read_pause),
        "longest latency": f"{wording.duration(wait.latency)} ({wait.kind})" if wait else "-",
        "errors": _counts(report.errors),
        "retried": f"{report.retried:,}",
        "Durability: local": f"{report.local:,}",
        "instances": _counts(report.instances),
        "sent late": f"p99 {wording.duration(late.percentile(99))}, "
        f"max {wording.duration(late.longest)}",
        "CPU per process": ", ".join(f"{one.cpu:.0%}" for one in report.generator.checks) or "-",
    }
    for name, fact in facts.items():
        table.add_row(Text(name), Text(fact))
    return table


def _counts(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counted.items()) or "none"


def _marks(report: Report) -> list[Text]:
    return [
        Text(f"{mark.at:7.2f} s  {mark.what}", style=COLOURS.get(mark.kind, "dim"))
        for mark in report.marks
    ]
