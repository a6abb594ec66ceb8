"""Where the data of a run go, and whether there is room for so many users."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ops import machine
from ops.embedded.leftovers import MEMORY, scratch_parent

BASE = 2 << 30
"""Bytes for two clusters, their WAL and what the other workloads write."""

A_USER = 450
"""Bytes of one user in `rows`: its row and two indexes, on both nodes. Ten million took 4.4 GB."""

MEMORY_SHARE = 0.5
"""Of the available memory, that data in memory may take: what is measured needs some, too."""


def needed(users: int) -> int:
    """Return the bytes that a run with so many users needs."""
    return BASE + users * A_USER


def free(place: Path) -> int:
    """Return the bytes that are free there."""
    status = os.statvfs(place)
    found = status.f_bavail * status.f_frsize
    available = machine.memory() if place.is_relative_to(MEMORY) else None
    return found if available is None else min(found, int(available * MEMORY_SHARE))


def place(users: int, wanted: Path | None) -> tuple[Path, str]:
    """Choose a place: the wanted one, else memory, else the disk; and say what it lacks.

    The second is empty where there is room for the users.
    """
    if wanted is not None:
        wanted.mkdir(parents=True, exist_ok=True)
    choices = [wanted] if wanted else [scratch_parent(), Path(tempfile.gettempdir())]
    for choice in choices:
        if free(choice) >= needed(users):
            return choice, ""
    last = choices[-1]
    return choices[0], (
        f"{users:,} users need {needed(users) / 1e9:.1f} GB, and {last} has "
        f"{free(last) / 1e9:.1f} GB; choose another place with --directory, or fewer with --users"
    )
