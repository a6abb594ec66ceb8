"""What an instance of the service says of itself in its metrics: pools, and what it holds."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

POOL = re.compile(
    r'^holdfast_database_pool_(size|idle|waiting|limit)\{role="(\w+)"\} ([0-9.e+]+)$', re.MULTILINE
)
HELD = re.compile(r"^holdfast_database_units_held ([0-9.e+]+)$", re.MULTILINE)


@dataclass(frozen=True)
class Instance:
    """One instance: its pools by endpoint (`write`, `read`), and units of work in progress."""

    pools: dict[str, dict[str, int]] = field(default_factory=dict)
    held: int = 0

    @property
    def busy(self) -> int:
        """How many connections are in use."""
        return sum(each.get("size", 0) - each.get("idle", 0) for each in self.pools.values())


def read(text: str) -> Instance:
    """Return what is in an instance's metrics, in Prometheus' text format."""
    pools: dict[str, dict[str, int]] = {}
    for what, role, value in POOL.findall(text):
        pools.setdefault(role, {})[what] = int(float(value))
    held = HELD.search(text)
    return Instance(pools, int(float(held[1])) if held else 0)
