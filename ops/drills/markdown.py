"""The results of drills as a table to be committed, with what each fault is measured against."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ops.drills.result import Judged, Totals
    from ops.drills.summary import Line, Spread

HEAD = (
    "| fault | runs | write pause, s | read pause, s | slowest, s | failed, plain | careful "
    "| lost, twice, stale | whole again, s |\n|---|---|---|---|---|---|---|---|---|"
)


def table(lines: Iterable[Line]) -> str:
    """Return a row a fault: medians, ranges, what they are measured against, failures in all."""
    return "\n".join([HEAD, *map(_row, lines)])


def verdict(judged: Sequence[Judged]) -> str:
    """Return the checker's verdict on all sessions, in a sentence."""

    def total(name: str) -> int:
        return sum(getattr(each, name) for each in judged)

    sentence = (
        f"{total('acknowledged'):,} acknowledged writes, {total('reads'):,} reads; "
        f"{total('unknown'):,} writes whose client was not told their outcome, "
        f"{total('undecided'):,} of which the history does not tell either. "
        f"Lost: {total('lost')}. Twice: {total('twice')}. Stale: {total('stale')}. "
        f"Otherwise wrong: {total('other')}."
    )
    warned = total("lost_as_warned")
    return sentence + (f" Lost after `Durability: local`: {warned}." if warned else "")


def totals(several: Sequence[Totals]) -> str:
    """Say what failed in all of the sessions, in and between faults, and of the generator."""
    failed = {name: 0 for each in several for name in each.failed}
    for each in several:
        for name, count in each.failed.items():
            failed[name] += count
    clients = ", ".join(f"{count} {name}" for name, count in failed.items())
    writes = max(each.write_pause for each in several)
    reads = max(each.read_pause for each in several)
    late = sum(bool(each.bottlenecks) for each in several)
    sentence = (
        f"Failed in all, in faults and between them: {clients}. Longest pause of writes "
        f"{writes:.2f} s, of reads {reads:.2f} s. Not sent, as too much was under way: "
        f"{sum(each.not_sent for each in several)}."
    )
    return sentence + (f" The generator was late in {late} sessions." if late else "")


def machine() -> str:
    """Name what the drills ran on, as far as it matters for the numbers."""
    return f"{os.cpu_count()} cores for stack and load together, Linux {platform.release()}"


def _row(line: Line) -> str:
    verdict = line.verdict
    cells = [
        line.fault,
        str(line.runs),
        _against(line.write_pause, line.targets.writes),
        _against(line.read_pause, line.targets.reads),
        f"{line.slowest:.1f}",
        str(line.plain),
        str(line.careful),
        f"{verdict.lost}, {verdict.twice}, {verdict.stale}" if verdict else "see below",
        _range(line.redundant_after),
    ]
    return f"| {' | '.join(cells)} |"


def _against(seconds: Spread, most: float | None) -> str:
    text = _range(seconds)
    if most is None:
        return text
    return f"{text}, ≤ {most}" if seconds.median <= most else f"**{text}**, not ≤ {most}"


def _range(seconds: Spread) -> str:
    if seconds.least == seconds.most:
        return f"{seconds.median:.2f}"
    return f"{seconds.median:.2f} ({seconds.least:.2f} to {seconds.most:.2f})"
