"""The sentences that the text and the page share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ops.load.pauses import Pause
    from ops.load.report import Report

BOTTLENECK = "The generator was the bottleneck: these numbers are partly its own."
STARVED = "This machine was too busy to send and hear on time: these numbers are partly its own."
INCOMPLETE = "The load did not go as planned: something is missing here."


def duration(seconds: float | None) -> str:
    """Return a duration as people say it: 850 µs, 12 ms, 2.1 s; a dash for none."""
    if seconds is None:
        return "-"
    for least, factor, unit in ((1, 1, "s"), (1e-3, 1e3, "ms"), (0, 1e6, "µs")):
        if seconds >= least:
            number = seconds * factor
            return f"{number:.{1 if number < 10 else 0}f} {unit}"  # noqa: PLR2004 - two digits
    return f"{seconds} s"


def pause(found: Pause | None) -> str:
    """Return a pause's length and beginning."""
    return "-" if found is None else f"{duration(found.seconds)} (from {found.began:.1f} s)"


def warnings(report: Report) -> list[tuple[str, list[str]]]:
    """Return what makes the report untrustworthy: titles and their reasons."""
    whose = STARVED if report.starved else BOTTLENECK
    found = [
        ("".join(report.machine[:1]), list(report.machine[1:])),
        (whose, list(report.distortion.verdict)),
        (INCOMPLETE, list(report.problems)),
    ]
    return [(title, reasons) for title, reasons in found if reasons]


def lateness(report: Report) -> str:
    """Return a line on lateness that changes no statement of the report; nothing without any."""
    told = [*report.generator.bottlenecks, *report.distortion.aside]
    if not told or report.distortion.verdict:
        return ""
    return f"Late, but not so that it changes the verdict: {' '.join(told)}"


def title(report: Report) -> str:
    """Return the one sentence that says it all."""
    failed = f"{report.failed} of {report.sent:,} requests failed"
    return f"{failed}, longest write pause {duration(_seconds(report.write_pause))}"


def plan(report: Report) -> str:
    """Return what was sent, how, and where to."""
    made = report.plan
    how = ["keys" if made.keyed else "no keys", "tokens" if made.tokens else "no tokens"]
    how.append("clients retry" if made.retries else "clients never retry")
    return (
        f"{made.writes_per_second:g} writes/s and {made.reads_per_second:g} reads/s for "
        f"{report.seconds:.0f} s to {made.base_url}; {', '.join(how)}"
    )


def _seconds(found: Pause | None) -> float | None:
    return None if found is None else found.seconds
