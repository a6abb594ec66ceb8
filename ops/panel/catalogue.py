"""The drills as the page offers them: what will happen, how long it takes, and what asks first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ops.drills.faults import PAIR
from ops.drills.three import EVERY, OF_THREE

if TYPE_CHECKING:
    from ops.drills.faults import Fault

GRAVE = {
    "power-lost": "Everything is killed at once: nothing answers until it has started again.",
    "disk-full": "A node's volume is filled to the last byte, and its data move there and back.",
    "monitor-lost": "The monitor's data are removed; it is made anew.",
    "returned-damaged": "A node's data are damaged; it copies the other one's.",
    "saturation": "Eight times the load: all clients wait.",
    "rolling-restart": "Every container is restarted in turn; it takes some minutes.",
}
"""Drills that ask before they begin, with what there is to say yes to."""

FIRST = ("primary-killed", "switchover", "proxy-killed", "app-killed", "standby-killed")
"""What to show to somebody who sees this for the first time, in this order."""

AROUND = 12.0
"""Seconds of a drill beside its fault: a whole stack, a load that settles, and the verdict."""


def offered() -> list[dict[str, Any]]:
    """Return the drills in the order in which the page has them.

    Those that need more data nodes than there are, the page leaves out while that is so.
    """
    names = [*FIRST, *(name for name in EVERY if name not in FIRST)]
    return [_offer(EVERY[name]) for name in names]


def _offer(fault: Fault) -> dict[str, Any]:
    return {
        "name": fault.name,
        "summary": fault.summary,
        "seconds": round(fault.hold + AROUND),
        "asks": GRAVE.get(fault.name, ""),
        "nodes": PAIR + 1 if fault.name in OF_THREE else PAIR,
    }
