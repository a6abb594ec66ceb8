"""What is counted with every request: plain numbers, made into metrics when somebody looks.

prometheus_client's own counters take a lock for each number and each bucket, as any thread may
count. Here the event loop alone does, at a tenth of the time.
"""

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Tally:
    """One number that grows."""

    __slots__ = ("count", "created")

    def __init__(self) -> None:
        self.count = 0
        self.created = time.time()


class Spread:
    """How many of the values so far are in which bucket, and their sum."""

    __slots__ = ("_most", "counts", "created", "total")

    def __init__(self, most: Sequence[float]) -> None:
        """`most`: the upper bound of each bucket, which it includes; one more has no bound."""
        self._most = most
        self.counts = [0] * (len(most) + 1)
        self.total = 0.0
        self.created = time.time()

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self._most, value)] += 1
        self.total += value


class Tallies(Collector):
    """A counter: one tally for each of its labels' values."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._children: dict[tuple[str, ...], Tally] = {}

    def labels(self, *values: str) -> Tally:
        """Return the tally of these values, from now on part of the metric."""
        return self._children.setdefault(values, Tally())

    def collect(self) -> Iterator[Metric]:
        """Return the counter."""
        metric = Metric(self._name, self._text, "counter")
        for values, tally in self._children.items():
            told = dict(zip(self._labels, values, strict=True))
            metric.add_sample(f"{self._name}_total", told, tally.count)
            metric.add_sample(f"{self._name}_created", told, tally.created)
        yield metric


class Spreads(Collector):
    """A histogram: one spread for each of its labels' values."""

    def __init__(self, name: str, text: str, *labels: str, buckets: Sequence[float]) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._most = tuple(buckets)
        self._bounds = [*map(floatToGoString, self._most), "+Inf"]
        self._children: dict[tuple[str, ...], Spread] = {}

    def labels(self, *values: str) -> Spread:
        """Return the spread of these values, from now on part of the metric."""
        return self._children.setdefault(values, Spread(self._most))

    def collect(self) -> Iterator[Metric]:
        """Return the histogram, whose buckets count what the ones before them do as well."""
        metric = Metric(self._name, self._text, "histogram")
        for values, spread in self._children.items():
            told = dict(zip(self._labels, values, strict=True))
            below = 0
            for bound, count in zip(self._bounds, spread.counts, strict=True):
                below += count
                metric.add_sample(f"{self._name}_bucket", {**told, "le": bound}, below)
            metric.add_sample(f"{self._name}_count", told, below)
            metric.add_sample(f"{self._name}_sum", told, spread.total)
            metric.add_sample(f"{self._name}_created", told, spread.created)
        yield metric
