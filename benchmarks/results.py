"""What was measured: samples become rows, rows become ratios, and both one JSON document."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.generator import Sample

SUBJECT, CONTROL, PLAIN = "holdfast", "control", "plain"
OTHERS = (CONTROL, PLAIN)
FORMAT = 1
"""Of the document; another number when a reader would have to change."""


@dataclass(frozen=True)
class Ratio:
    """How many times another's figure: the median of the rounds, and the range of them."""

    median: float
    least: float
    most: float

    def document(self) -> dict[str, float]:
        """Return it for JSON."""
        values = {"median": self.median, "least": self.least, "most": self.most}
        return {name: round(value, 3) for name, value in values.items()}


def ratio(mine: Sequence[float], its: Sequence[float]) -> Ratio | None:
    """Compare round by round: what slows the machine down for a while slows both.

    None where a round has nothing to compare with.
    """
    if not mine or not its or not all(its):
        return None
    each = [one / other for one, other in zip(mine, its, strict=False)]
    return Ratio(statistics.median(each), min(each), max(each))


@dataclass
class Row:
    """One service under one workload, and a sample for each round."""

    part: str
    workload: str
    connections: int
    service: str
    samples: list[Sample] = field(default_factory=list)

    @property
    def requests(self) -> int:
        """Answers of all rounds."""
        return sum(sample.requests for sample in self.samples)

    @property
    def bad(self) -> int:
        """Requests of all rounds that were not answered with success."""
        return sum(sample.bad for sample in self.samples)

    @property
    def marked(self) -> bool:
        """Whether its figures compare with nothing: an error may be quicker than an answer."""
        return self.bad > 0 or self.requests == 0

    @property
    def rates(self) -> list[float]:
        """Good answers a second, of each round."""
        return [sample.rate for sample in self.samples]

    @property
    def p50s(self) -> list[float]:
        """Each round's median latency."""
        return [sample.p50 for sample in self.samples]

    def median(self, figure: str) -> float | None:
        """Return the median of the rounds of a figure of Sample; None where there is none."""
        found = [getattr(sample, figure) for sample in self.samples]
        return None if not found or None in found else float(statistics.median(found))

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        figures = {
            "per_second": self.median("rate"),
            "p50_ms": self.median("p50"),
            "p99_ms": self.median("p99"),
            "cpu_us": self.median("cpu"),
        }
        return {
            "part": self.part,
            "workload": self.workload,
            "connections": self.connections,
            "service": self.service,
            "requests": self.requests,
            "bad": self.bad,
            **{name: None if one is None else round(one, 3) for name, one in figures.items()},
            "per_second_by_round": [round(rate, 1) for rate in self.rates],
        }


@dataclass
class Results:
    """All of a run."""

    rows: list[Row] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)  # of a part, what is no row
    not_measured: dict[str, str] = field(default_factory=dict)  # a part, and why
    notes: list[str] = field(default_factory=list)

    def row(self, part: str, workload: str, connections: int, service: str) -> Row:
        """Return the row of that, made if there is none yet."""
        for row in self.rows:
            if (row.part, row.workload, row.connections, row.service) == (
                part, workload, connections, service,
            ):  # fmt: skip
                return row
        self.rows.append(Row(part, workload, connections, service))
        return self.rows[-1]

    def to(self, row: Row, other: str) -> Ratio | None:
        """Return the ratio of a row's rate to another service's under the same workload."""
        for its in self.rows:
            if (its.part, its.workload, its.connections, its.service) == (
                row.part, row.workload, row.connections, other,
            ):  # fmt: skip
                return ratio(row.rates, its.rates)
        return None

    def ratios(self) -> dict[str, Any]:
        """Return all of Holdfast's: by part, by workload and connections."""
        found: dict[str, Any] = {}
        for row in _of(self.rows, SUBJECT):
            each = {f"to_{other}": self.to(row, other) for other in OTHERS}
            said = {name: one.document() for name, one in each.items() if one is not None}
            if said:
                found.setdefault(row.part, {})[f"{row.workload} {row.connections}"] = said
        return found

    def document(self, about: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON document; `about`: the machine and the run."""
        return {
            "format": FORMAT,
            "ratios": self.ratios(),
            **about,
            "rows": [row.document() for row in self.rows],
            "figures": self.figures,
            "not_measured": self.not_measured,
            "notes": self.notes,
        }


def _of(rows: Iterable[Row], service: str) -> list[Row]:
    return [row for row in rows if row.service == service]
