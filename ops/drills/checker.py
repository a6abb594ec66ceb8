"""Judges a history: whether the service kept its promises while the stack was being broken.

The checker knows docs/semantics.md and no line of the service. It has to be right in both
directions: what it finds is a defect whatever the timing was, and tests plant each defect to see it
found. It reads nothing and asks nobody, so a history can be judged again.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ops.drills import rules
from ops.drills.entity import Entity
from ops.drills.sightings import wrong_sightings
from ops.drills.unknown import count
from ops.drills.verdict import Finding, Resolution, Rule, Verdict
from ops.load.operation import Kind, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ops.drills.history import History, Row
    from ops.load.operation import Operation

CHECKS: tuple[Callable[[Entity], Iterator[Finding]], ...] = (
    rules.lost_writes,
    rules.lost_as_warned,
    rules.doubled_rows,
    rules.doubled_creations,
    rules.refused_by_themselves,
    rules.wrong_steps,
    rules.too_many_versions,
    rules.stale_reads,
    rules.same_versions,
    rules.strangers,
    rules.reordered_changes,
    rules.impossible_writes,
    wrong_sightings,
)
"""Each is asked about each entity by itself: entities have nothing to do with one another."""


def judge(history: History) -> Verdict:
    """Say which promises a history breaks, and count what it consists of."""
    findings: list[Finding] = []
    resolved: Counter[Resolution] = Counter()
    for entity in entities(history):
        findings += (found for check in CHECKS for found in check(entity))
        resolved.update(count(entity))
    return Verdict(
        findings=tuple(each for each in findings if each.rule is not Rule.LOST_AS_WARNED),
        lost_as_warned=tuple(each for each in findings if each.rule is Rule.LOST_AS_WARNED),
        operations=Counter((each.kind, each.outcome) for each in history.operations),
        acknowledged=_acknowledged(history),
        resolved=resolved,
    )


def entities(history: History) -> Iterator[Entity]:
    """Yield each entity of a history, in the order of their names."""
    # An answer with `Durability: local` proves it. No such answer proves nothing: all writes of
    # that time may have been in hand when the primary was lost, and applied anew or given up.
    alone = history.alone or not all(each.durable for each in history.operations)
    operations: dict[str, list[Operation]] = {}
    for operation in history.operations:
        changed = operation.found or operation.entity
        operations.setdefault(changed, []).append(operation)
    rows: dict[str, list[Row]] = {}
    for row in history.final:
        rows.setdefault(row.entity, []).append(row)
    for name in sorted(operations.keys() | rows.keys()):
        yield Entity(name, operations.get(name, []), rows.get(name, []), alone=alone)


def _acknowledged(history: History) -> int:
    writes = (each for each in history.operations if each.kind is not Kind.READ)
    return sum(each.outcome is Outcome.OK for each in writes)
