"""Whether each value that was read, or is there in the end, had been written just so by then.

A value is a sighting's evidence: where its write is not acknowledged with the version that was
seen, something wrote that should not have, or overwrote what it should have seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.drills.entity import NEVER, Entity
from ops.drills.rules import described
from ops.drills.verdict import Finding, Rule
from ops.load.operation import Kind, Operation

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class _Sighting:
    """A value as it was read, or, with no read, as it is in the end."""

    value: str
    version: int | None
    read: Operation | None = None

    @property
    def began(self) -> float:
        return self.read.sent if self.read else NEVER

    @property
    def ended(self) -> float:
        return self.read.completed if self.read else NEVER

    def __str__(self) -> str:
        if self.read:
            return described(self.read)
        return f"the row ended as {self.value!r}, version {self.version}"


def wrong_sightings(entity: Entity) -> Iterator[Finding]:
    """Find values that no write left there, or none that stands."""
    for sighting in _sightings(entity):
        finding = _judged(entity, sighting)
        if finding and not (sighting.read and entity.may_be_lost(sighting.read)):
            yield finding


def _judged(entity: Entity, sighting: _Sighting) -> Finding | None:
    if not entity.makers(1, sighting.ended):
        return _uncreated(entity, sighting)
    if entity.writer(sighting.value, sighting.version, sighting.ended) is None:
        return _unfounded(entity, sighting)
    return _usurped(entity, sighting)


def _sightings(entity: Entity) -> Iterator[_Sighting]:
    for row in entity.rows:
        yield _Sighting(row.value, row.version)
    for read in entity.reads:
        if read.value is not None:
            yield _Sighting(read.value, read.version, read)


def _uncreated(entity: Entity, sighting: _Sighting) -> Finding:
    for write in entity.failed:
        if write.kind is Kind.CREATE and write.sent <= sighting.ended:
            return _finding(Rule.PHANTOM, entity, sighting, "its creation failed", write)
    return _finding(Rule.NEVER_WRITTEN, entity, sighting, "nobody had created it by then")


def _unfounded(entity: Entity, sighting: _Sighting) -> Finding:
    """Say what is wrong with a value that no write left with this version."""
    other = entity.first(sighting.value, sighting.ended)
    if other is not None:
        return _misplaced(entity, sighting, other)
    denied = entity.denied.get(sighting.value, ())
    if denied and denied[0].sent <= sighting.ended:
        return _finding(Rule.PHANTOM, entity, sighting, "its write failed", denied[0])
    return _finding(Rule.NEVER_WRITTEN, entity, sighting, "nobody had written that by then")


def _misplaced(entity: Entity, sighting: _Sighting, other: Operation) -> Finding:
    """Say what is wrong with a value that was written, but not as this version."""
    makers = entity.made.get(sighting.version or 0, ())
    made = [write for write in makers if write.sent <= sighting.ended]
    if made:
        return _finding(Rule.LOST_UPDATE, entity, sighting, "the version is another's", *made)
    if other.kind is Kind.CHANGE and (sighting.version or 0) > (other.version or 0):
        return _finding(Rule.TWICE, entity, sighting, "it was written once, and before", other)
    return _finding(Rule.NEVER_WRITTEN, entity, sighting, "not as this version", other)


def _usurped(entity: Entity, sighting: _Sighting) -> Finding | None:
    """Say whether a write that stands for good had made this version, with another value.

    Before that was acknowledged, the one seen may have been there, and lost with its primary.
    """
    writes = entity.made.get(sighting.version or 0, ())
    if any(write.value == sighting.value and write.durable for write in writes):
        return None
    owner = entity.durable.get(sighting.version or 0)
    if owner is None or owner.completed > sighting.began:
        return None
    return _finding(Rule.LOST_UPDATE, entity, sighting, "the version is another's", owner)


def _finding(
    rule: Rule, entity: Entity, sighting: _Sighting, why: str, *writes: Operation
) -> Finding:
    told = "".join(f": {described(write)}" for write in writes[:1])
    read = (sighting.read,) if sighting.read else ()
    return Finding(rule, entity.name, f"{sighting}, but {why}{told}", (*read, *writes))
