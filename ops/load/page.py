"""A report as one HTML page that needs nothing but itself: a picture to put in a talk."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.load import wording
from ops.load.chart import (
    LEFT,
    OUTCOMES,
    RIGHT,
    WIDTH,
    Axis,
    Scene,
    labels,
    latencies,
    named,
    stacked,
)
from ops.load.report import PERCENTILES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ops.load.pauses import Pause
    from ops.load.report import Report
    from ops.load.timeline import Bucket

HERE = Path(__file__).parent


def render_page(report: Report, heading: str = "Holdfast under load") -> str:
    """Return the page; `heading` says what was done to the stack."""
    line = report.timeline
    scene = Scene(Axis(line.seconds), report.marks, report.write_pause)
    each = wording.duration(line.step).replace(".0", "")
    style, script = ((HERE / name).read_text() for name in ("page.css", "page.js"))
    started = datetime.fromtimestamp(report.started, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(heading)}</title>
<style>
{style}</style>
</head>
<body>
{_alarms(report)}
<h1>{escape(heading)}</h1>
<p class="plan">{escape(wording.plan(report))}. {started}</p>
{_headline(report)}
<div id="charts">
{labels(scene)}
<h2>Writes completed per {each} {_legend(*((name, name) for name in OUTCOMES))}</h2>
{stacked(scene, line.writes, line.step)}
{_reads(report, scene, each)}
<h2>Latency {_latency_legend()}</h2>
{latencies(scene, line.writes, line.reads, line.step)}
<div id="cursor"></div>
<div id="tip"></div>
</div>
<p class="note">Counts stand at the time of the answer; latencies at the time the request was due,
from where they count. A bar that reaches the top is cut off there. {_shade(report.write_pause)}</p>
{_unnamed(scene)}
{_table(report)}
{_facts(report)}
<script id="data" type="application/json">{_data(report)}</script>
<script>
{script}</script>
</body>
</html>
"""


def _reads(report: Report, scene: Scene, each: str) -> str:
    """Return the chart of the reads, if there were any."""
    if not sum(report.outcomes("reads").values()):
        return ""
    chart = stacked(scene, report.timeline.reads, report.timeline.step)
    return f"<h2>Reads completed per {each}</h2>\n{chart}"


def _alarms(report: Report) -> str:
    return "".join(
        f'<div class="alarm"><strong>{escape(title)}</strong><br>'
        f"{'<br>'.join(escape(reason) for reason in reasons)}</div>"
        for title, reasons in wording.warnings(report)
    )


def _headline(report: Report) -> str:
    """Return the numbers that a talk is about."""
    wait = report.longest_wait
    numbers = [
        (f"{report.failed:,}", f"failed of {report.sent:,}", "bad" if report.failed else "good"),
        (_seconds(report.write_pause), "longest write pause", ""),
        (_seconds(report.read_pause), "longest read pause", ""),
        (wording.duration(wait.latency if wait else None), "longest latency", ""),
    ]
    return '<div class="headline">{}</div>'.format(
        "".join(
            f'<div class="{name}"><b>{escape(number)}</b><span>{escape(what)}</span></div>'
            for number, what, name in numbers
        )
    )


def _seconds(pause: Pause | None) -> str:
    return wording.duration(pause.seconds if pause else None)


def _legend(*entries: tuple[str, str]) -> str:
    return "".join(f'<span class="key {name}">{text}</span>' for name, text in entries)


def _latency_legend() -> str:
    return _legend(
        ("writes", "writes: median"),
        ("writes longest", "longest"),
        ("reads", "reads: median"),
        ("reads longest", "longest"),
    )


def _shade(pause: Pause | None) -> str:
    return "Shaded: the longest stretch without a successful write." if pause else ""


def _unnamed(scene: Scene) -> str:
    """Return the marks as a list, if some have no room for a name above the charts."""
    if len(named(scene)) == len(scene.marks):
        return ""
    rows = "".join(f"<li>{mark.at:.1f} s: {escape(mark.what)}</li>" for mark in scene.marks)
    return f"<details><summary>All that happened, in order</summary><ul>{rows}</ul></details>"


def _table(report: Report) -> str:
    """Return counts and latencies per kind."""
    names = ["", "ok", "failed", "unknown", "ok/s", *(f"p{p:g}" for p in PERCENTILES), "max"]
    rows = []
    for name, kind in report.kinds.items():
        counts = [f"{count:,}" for count in report.outcomes(name).values()]
        told = [
            wording.duration(kind.latency.percentile(percent) if kind.ok else None)
            for percent in (*PERCENTILES, 100)
        ]
        part = ' class="part"' if name in {"creates", "changes"} else ""
        rows.append(f"<tr{part}>{_cells([name, *counts, f'{kind.per_second:.1f}', *told])}</tr>")
    head = "".join(f"<th>{name}</th>" for name in names)
    return f"<table>\n<tr>{head}</tr>\n{''.join(rows)}\n</table>"


def _cells(values: Iterable[str]) -> str:
    return "".join(f"<td>{escape(value)}</td>" for value in values)


def _facts(report: Report) -> str:
    """Return what else is worth knowing, as a list."""
    late = report.generator.late
    most, all_of_them = (wording.duration(each) for each in (late.percentile(99), late.longest))
    cpu = ", ".join(f"{one.cpu:.0%}" for one in report.generator.checks)
    quiet = wording.lateness(report)
    facts = [
        f"Errors: {_counts(report.errors)}",
        f"Sent again by their clients: {report.retried:,}; Durability: local: {report.local:,}",
        f"Instances: {_counts(report.instances)}",
        f"Requests left late: 99 % by less than {most}, all by less than {all_of_them}",
        f"CPU per process of the generator: {cpu or 'unknown'}",
        *([quiet] if quiet else []),
    ]
    return f"<ul>{''.join(f'<li>{escape(fact)}</li>' for fact in facts)}</ul>"


def _counts(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counted.items()) or "none"


def _data(report: Report) -> str:
    """Return what the tooltips show, safe inside of a script element."""
    line = report.timeline
    data = {
        "step": line.step,
        "seconds": line.seconds,
        "left": LEFT / WIDTH,
        "right": 1 - RIGHT / WIDTH,
        "writes": [_shown(bucket) for bucket in line.writes],
        "reads": [_shown(bucket) for bucket in line.reads],
        "marks": [{"at": mark.at, "what": mark.what} for mark in report.marks],
    }
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _shown(bucket: Bucket) -> list[Any]:
    times = [wording.duration(bucket.p50), wording.duration(bucket.longest)]
    return [bucket.ok, bucket.failed, bucket.unknown, *times]
