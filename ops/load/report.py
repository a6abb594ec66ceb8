"""What a load showed, in numbers; ops.load.text and ops.load.page say it to people."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ops.load.distortion import Distortion, distortion
from ops.load.histogram import Histogram
from ops.load.operation import Kind, Mark, Operation, Outcome
from ops.load.pauses import Pause, longest_pause
from ops.load.selfcheck import CPU_MOST, Lateness, lateness
from ops.load.timeline import Timeline, nice_step, timeline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ops.load.plan import Plan
    from ops.load.run import Result

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
BOTH = ("writes", "reads")


@dataclass(frozen=True, slots=True)
class KindReport:
    """The requests of one kind. Latencies are of those that succeeded, in seconds from due."""

    ok: int
    failed: int
    unknown: int
    per_second: float  # successes
    latency: Histogram

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry; `latency` has the histogram in full as well."""
        told = {f"p{percent:g}": self.latency.percentile(percent) for percent in PERCENTILES}
        return {
            "ok": self.ok,
            "failed": self.failed,
            "unknown": self.unknown,
            "per_second": round(self.per_second, 3),
            "latency": {
                **told,
                "max": self.latency.longest,
                "histogram": self.latency.to_dict(),
            },
        }


@dataclass(frozen=True, slots=True)
class Report:
    """A load in numbers. Times are in seconds after its start; the preparation is left out.

    `longest_wait` is the operation with the longest latency a client saw, whatever its outcome:
    it is not a pause, which is a stretch of time without any success.
    """

    plan: Plan
    started: float  # Unix time
    seconds: float
    kinds: Mapping[str, KindReport]  # writes, of these creates and changes, and reads
    write_pause: Pause | None
    read_pause: Pause | None
    longest_wait: Operation | None
    errors: Mapping[str, int]  # "write unavailable" -> count, most frequent first
    local: int  # writes that succeeded with `Durability: local`
    retried: int  # requests with more than one try
    instances: Mapping[str, int]
    timeline: Timeline
    marks: Sequence[Mark]
    generator: Lateness
    distortion: Distortion
    problems: Sequence[str]
    machine: Sequence[str] = ()  # what it lacks, in sentences, the first of which says it all

    @property
    def sent(self) -> int:
        """How many requests there were."""
        return sum(sum(self.outcomes(kind).values()) for kind in BOTH)

    @property
    def starved(self) -> bool:
        """Whether lateness is the machine's: no process of the load had as much as a core."""
        return all(check.cpu <= CPU_MOST for check in self.generator.checks)

    @property
    def failed(self) -> int:
        """How many requests did not succeed, for certain or not."""
        return sum(self.kinds[kind].failed + self.kinds[kind].unknown for kind in BOTH)

    def outcomes(self, kind: str) -> dict[str, int]:
        """Return how many of a kind ended which way."""
        one = self.kinds[kind]
        return {"ok": one.ok, "failed": one.failed, "unknown": one.unknown}

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry; what makes it untrustworthy comes first."""
        late = self.generator.late
        return {
            "distorted": list(self.distortion.verdict),
            "machine_overloaded": list(self.machine),
            "problems": list(self.problems),
            "plan": asdict(self.plan),
            "started": datetime.fromtimestamp(self.started, UTC).isoformat(),
            "seconds": self.seconds,
            "kinds": {name: kind.to_dict() for name, kind in self.kinds.items()},
            "longest_write_pause": self.write_pause and asdict(self.write_pause),
            "longest_read_pause": self.read_pause and asdict(self.read_pause),
            "longest_wait": self.longest_wait and _wait(self.longest_wait),
            "errors": dict(self.errors),
            "durability_local": self.local,
            "retried": self.retried,
            "instances": dict(self.instances),
            "marks": [asdict(mark) for mark in self.marks],
            "generator": {
                "bottlenecks": [*self.generator.bottlenecks, *self.distortion.aside],
                "late": {"p50": late.percentile(50), "p99": late.percentile(99)}
                | {"max": late.longest},
                "processes": [check.to_dict() for check in self.generator.checks],
            },
            "timeline": self.timeline.to_dict(),
        }

    def to_json(self) -> str:
        """Return the report as JSON."""
        return json.dumps(self.to_dict(), indent=1)


def summarize(result: Result, *, step: float | None = None, machine: Sequence[str] = ()) -> Report:
    """Count a load. `step`: of the timeline, in seconds; None is 0.1, or more for long loads.

    `machine`: sentences on what the machine lacks (ops.machine), to stand at the report's top.
    """
    operations = [one for one in result.operations if one.due >= 0]
    longest = max(operations, key=lambda one: one.latency, default=None)
    seconds = max([result.seconds, *(one.due for one in operations)])
    pauses = {kind: longest_pause(operations, writes=kind == "writes") for kind in BOTH}
    fault = any(mark.kind == "fault" for mark in result.marks)
    return Report(
        plan=result.plan,
        started=result.started,
        seconds=seconds,
        kinds=_kinds(operations, seconds),
        write_pause=pauses["writes"],
        read_pause=pauses["reads"],
        longest_wait=longest,
        errors=dict(Counter(_error(one) for one in operations if one.error).most_common()),
        local=sum(not one.durable and one.outcome is Outcome.OK for one in operations),
        retried=sum(one.tries > 1 for one in operations),
        instances=dict(sorted(Counter(one.instance for one in operations if one.instance).items())),
        timeline=timeline(operations, seconds, step or nice_step(seconds)),
        marks=sorted(result.marks, key=lambda mark: mark.at),
        generator=lateness(operations, result.checks),
        distortion=distortion(operations, pauses, result.checks, fault=fault),
        problems=result.problems,
        machine=machine,
    )


def _kinds(operations: Sequence[Operation], seconds: float) -> dict[str, KindReport]:
    chosen = {
        "writes": (Kind.CREATE, Kind.CHANGE),
        "creates": (Kind.CREATE,),
        "changes": (Kind.CHANGE,),
        "reads": (Kind.READ,),
    }
    return {
        name: _kind([one for one in operations if one.kind in kinds], seconds)
        for name, kinds in chosen.items()
    }


def _kind(operations: Sequence[Operation], seconds: float) -> KindReport:
    outcomes = Counter(one.outcome for one in operations)
    return KindReport(
        ok=outcomes[Outcome.OK],
        failed=outcomes[Outcome.FAILED],
        unknown=outcomes[Outcome.UNKNOWN],
        per_second=outcomes[Outcome.OK] / seconds if seconds else 0.0,
        latency=Histogram(one.latency for one in operations if one.outcome is Outcome.OK),
    )


def _error(one: Operation) -> str:
    return f"{'read' if one.kind is Kind.READ else 'write'} {one.outcome}: {one.error}"


def _wait(one: Operation) -> dict[str, Any]:
    """Return what the report tells of the request that took longest."""
    return {
        "kind": one.kind,
        "due": one.due,
        "seconds": one.latency,
        "outcome": one.outcome,
        "error": one.error,
    }
