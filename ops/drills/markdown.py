"""The results of drills as a table to be committed, with what each fault is measured against."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

from ops.drills.faults import FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ops.drills.result import Judged, Measured

HEAD = (
    "| fault | write pause, s | read pause, s | slowest, s | failed, plain | failed, careful "
    "| whole again, s |\n|---|---|---|---|---|---|---|"
)


def table(measured: Iterable[Measured]) -> str:
    """Return one row a fault: medians, what they are measured against, failures in all runs."""
    return "\n".join([HEAD, *map(_row, measured)])


def verdict(judged: Sequence[Judged]) -> str:
    """Return the checker's verdict on all sessions, in a sentence."""

    def total(name: str) -> int:
        return sum(getattr(each, name) for each in judged)

    sentence = (
        f"{total('acknowledged'):,} acknowledged writes, {total('reads'):,} reads; "
        f"{total('unknown'):,} writes whose client was not told their outcome were resolved. "
        f"Lost: {total('lost')}. Twice: {total('twice')}. Stale: {total('stale')}. "
        f"Otherwise wrong: {total('other')}."
    )
    warned = total("lost_as_warned")
    return sentence + (f" Lost after `Durability: local`: {warned}." if warned else "")


def machine() -> str:
    """Name what the drills ran on, as far as it matters for the numbers."""
    return f"{os.cpu_count()} cores for stack and load together, Linux {platform.release()}"


def _row(each: Measured) -> str:
    targets = FAULTS[each.fault].targets
    cells = [
        each.fault,
        _against(each.write_pause, targets.writes),
        _against(each.read_pause, targets.reads),
        f"{max(each.slowest_write, each.slowest_read):.1f}",
        str(each.failed.get("plain", 0)),
        str(each.failed.get("careful", 0)),
        f"{each.redundant_after:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def _against(seconds: float, most: float | None) -> str:
    if most is None:
        return f"{seconds:.2f}"
    met = f"{seconds:.2f} (≤ {most})"
    return met if seconds <= most else f"**{met}**"
