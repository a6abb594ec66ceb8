"""How many processors this process may use: what it is pinned to, and what its cgroup leaves."""

import math
import os
from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
CFS = ("quota", "period")


def half(root: Path = CGROUP) -> int:
    """Return the default of WORKERS: the other half is for proxies and databases beside us."""
    return max(1, usable(root) // 2)


def usable(root: Path = CGROUP) -> int:
    """Return the number of whole processors that this process may use, at least one."""
    pinned = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, int(min(pinned or 1, _quota(root))))


def _quota(root: Path) -> float:
    """Return the processors' worth of time that the cgroup (version 2, or 1) has."""
    with suppress(OSError, ValueError):
        quota, period = (root / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota, period = ((root / f"cpu/cpu.cfs_{each}_us").read_text() for each in CFS)
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    return math.inf
