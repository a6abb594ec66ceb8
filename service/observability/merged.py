"""Metrics of several processes as one: what each told, and their sum under the same names.

Counters and histograms are summed, gauges too, but for those of which the smallest or the largest
tells most. What is of a process (`process_*`) has the label `worker`.
"""

import json
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

Labels: TypeAlias = dict[str, str]
Sample: TypeAlias = tuple[str, Labels, float]
"""Name, labels, value."""

Family: TypeAlias = tuple[str, str, str, list[Sample]]
"""Name, help, type, and samples."""

SMALLEST = frozenset(
    {
        "python_info",  # 1, everywhere
        "holdfast_database_endpoint_serving",  # serving is what serves for all
        "holdfast_database_certificate_expiry_timestamp_seconds",
    }
)
LARGEST = frozenset(
    {
        # A caller with many requests has some at each process: a sum would count it as many. Of
        # `holdfast_database_caller_units_most` the sum is right for the same reason.
        "holdfast_database_callers",
        "holdfast_database_keys_purged_timestamp_seconds",  # one process purges for all
    }
)
EARLIEST = "holdfast_database_background_last_turn_timestamp_seconds"
"""That of whoever hangs; 0 is not yet, and no time."""

LASTING = frozenset({"counter", "histogram"})
"""Types of which the last value of a process that has ended still counts."""

OF_A_PROCESS = "process_"


def told_by(registry: CollectorRegistry, worker: int) -> list[Family]:
    """Return what a worker has to tell."""
    own = {"worker": str(worker)}
    return [
        (
            family.name,
            family.documentation,
            family.type,
            [
                (
                    sample.name,
                    {**sample.labels, **own} if _of_a_process(family.name) else sample.labels,
                    sample.value,
                )
                for sample in family.samples
            ],
        )
        for family in registry.collect()
    ]


def lasting(families: Iterable[Family]) -> list[Family]:
    """Return what still counts when the process has ended."""
    return [each for each in families if each[2] in LASTING and not _of_a_process(each[0])]


def summed(families: Iterable[Family]) -> list[Family]:
    """Return one family for each name."""
    found: dict[str, tuple[str, str, dict[tuple[str, str], Sample]]] = {}
    for name, text, kind, samples in families:
        *_, sums = found.setdefault(name, (text, kind, {}))
        for sample, labels, value in samples:
            key = sample, json.dumps(labels, sort_keys=True)
            total = _together(name, sample, sums[key][2], value) if key in sums else value
            sums[key] = sample, labels, total
    return [(name, text, kind, list(sums.values())) for name, (text, kind, sums) in found.items()]


def _together(name: str, sample: str, one: float, other: float) -> float:
    """Return what two values of one sample are as one."""
    if name in SMALLEST or (name == EARLIEST and one and other):
        return min(one, other)
    # Since the latest `_created` nothing that ended is missing.
    if name in LARGEST or sample.endswith("_created"):
        return max(one, other)
    return one + other


class Merged(CollectorRegistry):
    """Families as a registry, for prometheus_client to write down."""

    def __init__(self, families: Iterable[Family]) -> None:
        super().__init__()
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        """Return the families."""
        for name, text, kind, samples in self._families:
            metric = Metric(name, text, kind)
            for sample, labels, value in samples:
                metric.add_sample(sample, labels, value)
            yield metric


def _of_a_process(name: str) -> bool:
    return name.startswith(OF_A_PROCESS)
