"""What became of the writes whose clients do not know: said from all that was seen of them.

A drill that left many of these unresolved has shown less than it seems to.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ops.drills.entity import ANY, Entity, target
from ops.drills.verdict import Resolution
from ops.load.operation import Kind, Operation, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator


def resolved(entity: Entity) -> Iterator[tuple[Operation, Resolution]]:
    """Say of each write of unknown outcome whether it was done."""
    unknown = [write for write in entity.open if write.outcome is Outcome.UNKNOWN]
    all_needed = entity.spare <= entity.unexplained
    vacant = entity.final - 1 - sum(1 < each <= entity.final for each in entity.durable)
    for write in unknown:
        if _was_seen(entity, write) or _was_needed(entity, write, all_needed=all_needed):
            yield write, Resolution.DONE
        elif not _had_room(entity, write, vacant):
            yield write, Resolution.NOT_DONE
        else:
            yield write, Resolution.CANNOT_TELL


def count(entity: Entity) -> Counter[Resolution]:
    """Count what became of an entity's writes of unknown outcome."""
    return Counter(resolution for _, resolution in resolved(entity))


def _was_seen(entity: Entity, write: Operation) -> bool:
    """Whether its value was read or is there, and is of no other write."""
    return write.value in entity.seen and len(entity.written[write.value]) == 1


def _was_needed(entity: Entity, write: Operation, *, all_needed: bool) -> bool:
    """Whether something is there that nothing else can have made."""
    version = target(write)
    if version is ANY:
        return all_needed
    if len(entity.candidates(version)) > 1:
        return False
    if write.kind is Kind.CREATE:
        return bool(entity.rows or entity.acknowledged)
    return version <= entity.final and entity.spare == 0


def _had_room(entity: Entity, write: Operation, vacant: int) -> bool:
    """Whether a version it may have made is there, and no durable write's."""
    version = target(write)
    if version is ANY:
        return vacant > 0
    return version <= entity.final and version not in entity.durable
