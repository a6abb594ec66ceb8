"""What the answers of an entity's writes and reads promise, one function for each way to break it.

None of them may find anything in a history that is legal: one where writes overlap, where those
without answer take effect late or never, where what was only on the primary is lost with it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ops.drills.entity import ANY, Entity, sees, target
from ops.drills.verdict import Finding, Rule
from ops.load.operation import Kind, Operation, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator


def lost_writes(entity: Entity) -> Iterator[Finding]:
    """Find what was acknowledged as durable and is not there in the end."""
    end = f"the row ended at version {entity.final}" if entity.rows else "there was no row"
    for version, writes in entity.made.items():
        if version > entity.final:
            for write in writes:
                if write.durable:
                    words = f"{described(write)}, but in the end {end}"
                    yield Finding(Rule.LOST, entity.name, words, (write,))


def lost_as_warned(entity: Entity) -> Iterator[Finding]:
    """Find what was on the primary alone, as its answer said, and went with it."""
    for version, writes in entity.made.items():
        kept = _kept(entity, version, writes)
        for write in writes:
            if not write.durable and write not in kept:
                words = f"{described(write)} with `Durability: local`, and lost"
                yield Finding(Rule.LOST_AS_WARNED, entity.name, words, (write,))


def _kept(entity: Entity, version: int, writes: list[Operation]) -> list[Operation]:
    """Return those of a version's writers that may have made it last."""
    if version > entity.final:
        return []
    if version in entity.durable:
        return [write for write in writes if write.durable]
    if version == entity.final:
        values = {row.value for row in entity.rows}
        return [write for write in writes if write.value in values]
    return [max(writes, key=lambda write: write.completed)]


def doubled_rows(entity: Entity) -> Iterator[Finding]:
    """Find an entity that exists more than once."""
    if len(entity.rows) > 1:
        versions = ", ".join(str(row.version) for row in entity.rows)
        words = f"{len(entity.rows)} rows in the end, of versions {versions}"
        yield Finding(Rule.TWICE, entity.name, words)


def doubled_creations(entity: Entity) -> Iterator[Finding]:
    """Find two acknowledged creations of what can be created only once."""
    creations = [write for write in entity.made.get(1, ()) if write.durable]
    if len(creations) > 1:
        words = f"{described(creations[0])}, and created again: {described(creations[1])}"
        yield Finding(Rule.TWICE, entity.name, words, tuple(creations))


def refused_by_themselves(entity: Entity) -> Iterator[Finding]:
    """Find writes refused because of what only they can have done."""
    for write in entity.refused:
        reason = "has the address" if write.kind is Kind.CREATE else f"changed {write.expected}"
        words = f"{described(write)}, but no other write {reason}: its own effect was in the way"
        yield Finding(Rule.TWICE, entity.name, words, (write,))


def wrong_steps(entity: Entity) -> Iterator[Finding]:
    """Find conditional changes that did not lead from their version to the next one."""
    for write in entity.acknowledged:
        if write.expected is None or write.version in {None, write.expected + 1}:
            continue
        words = f"{described(write)}, though it was to change version {write.expected} only"
        yield Finding(Rule.TWICE, entity.name, words, (write,))


def too_many_versions(entity: Entity) -> Iterator[Finding]:
    """Find more versions than there are writes that may have made one."""
    missing, spare = entity.unexplained, entity.spare
    if missing > spare:
        words = (
            f"the row ended at version {entity.final}; {missing} of its versions no answer names, "
            f"and {spare} writes without one may have made them"
        )
        yield Finding(Rule.TWICE, entity.name, words, tuple(entity.acknowledged[-3:]))


def stale_reads(entity: Entity) -> Iterator[Finding]:
    """Find reads that are older than the token they were sent with."""
    for read in entity.reads:
        seen = sees(read)
        if read.expected is None or seen is None or seen >= read.expected:
            continue
        if seen < entity.promised(read.expected, read.sent):
            words = f"{described(read)}, though its token promised version {read.expected}"
            yield Finding(Rule.STALE, entity.name, words, (read,))


def same_versions(entity: Entity) -> Iterator[Finding]:
    """Find acknowledged changes of which one overwrote the other unseen."""
    for version, writes in entity.made.items():
        durable = [write for write in writes if write.durable]
        if version > 1 and len(durable) > 1:
            words = "; ".join(described(write) for write in durable)
            yield Finding(Rule.LOST_UPDATE, entity.name, words, tuple(durable))


def strangers(entity: Entity) -> Iterator[Finding]:
    """Find conditional changes of a version that their client cannot have seen."""
    for write in (*entity.acknowledged, *entity.open):
        if write.condition is not None and (why := _stranger(entity, write)):
            yield Finding(Rule.STRANGER, entity.name, f"{described(write)}, {why}", (write,))


def _stranger(entity: Entity, write: Operation) -> str | None:
    if write.found is not None:
        return f"sent to {write.entity}, which it was not any more"
    if write.outcome is not Outcome.OK:
        return None
    base = entity.base(write)
    if base is not None and base.tag not in {None, write.condition}:
        return f"whose tag {write.condition} is not that of: {described(base)}"
    given = [each for each in entity.acknowledged if each.tag == write.condition]
    if len({each.value for each in given}) <= 1:
        return None
    words = "; ".join(described(each) for each in given)
    return f"whose tag {write.condition} names more than one version: {words}"


def reordered_changes(entity: Entity) -> Iterator[Finding]:
    """Find changes with an earlier version than one acknowledged before they were sent."""
    for version, writes in entity.made.items():
        for write in writes:
            other = entity.later(version, write.sent)
            if version > 1 and write.durable and other is not None:
                words = f"{described(write)} after {described(other)}"
                yield Finding(Rule.REORDERED, entity.name, words, (write, other))


def impossible_writes(entity: Entity) -> Iterator[Finding]:
    """Find writes without answer that must have happened, and were sent too late for that."""
    if entity.spare:
        return
    sole = Counter(target(write) for write in (*entity.acknowledged, *entity.open))
    for write in entity.open:
        version = target(write)
        if version is ANY or sole[version] > 1 or version > entity.final:
            continue
        other = entity.later(version, write.sent)
        if other is not None:
            words = (
                f"{described(write)}: nothing else can have made version {version}, "
                f"which was there before: {described(other)}"
            )
            yield Finding(Rule.IMPOSSIBLE, entity.name, words, (write, other))


def described(operation: Operation) -> str:
    """Say what became of an operation, and when."""
    told = {
        Kind.READ: f"read as {_seen(operation)}",
        Kind.CREATE: f"creation {_answer(operation)}",
        Kind.CHANGE: f"change{_condition(operation)} {_answer(operation)}",
    }[operation.kind]
    return f"{told} (sent at {operation.sent:.3f} s, over at {operation.completed:.3f} s)"


def _seen(read: Operation) -> str:
    seen = sees(read)
    return "not there" if seen == 0 else f"{read.value!r}, version {seen}"


def _condition(write: Operation) -> str:
    return "" if write.expected is None else f" of version {write.expected}"


def _answer(write: Operation) -> str:
    what = "" if write.version is None else f" as version {write.version}"
    status = "without answer" if write.status is None else f"answered {write.status}"
    problem = f" {write.error}" if write.error else ""
    return f"to {write.value!r} {status}{problem}{what}"
