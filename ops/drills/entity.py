"""All that a history knows of one entity, arranged so that each question of the rules is quick.

Writes are of three sorts here. Acknowledged ones had an effect. Open ones may have had one, once,
until the end of the history. Failed ones had none, says their answer; where nothing but its own
effect can have refused one, it is open as well.

What was acknowledged as durable stands for good. What was not may be lost with its primary, and its
version made again by another write.
"""

from __future__ import annotations

from bisect import bisect_right
from http import HTTPStatus
from typing import TYPE_CHECKING

from ops.load.operation import Kind, Operation, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ops.drills.history import Row

ANY = None
"""Stands for the version of a change that may make any."""

NEVER = float("inf")


def target(write: Operation) -> int | None:
    """Return the version that a write makes if it has an effect."""
    if write.kind is Kind.CREATE:
        return 1
    if write.outcome is Outcome.OK and write.version is not None:
        return write.version
    return ANY if write.expected is None else write.expected + 1


def effects(write: Operation) -> int:
    """Return how often a write may be applied: each try is new where nothing makes it known."""
    once = write.keyed or write.kind is Kind.CREATE or write.expected is not None
    return 1 if once else write.tries


def sees(read: Operation) -> int | None:
    """Return the version that an answer shows, 0 for nothing there; None: it does not say."""
    return 0 if read.value is None and read.version is None else read.version


class Entity:
    """What was done to an entity, and seen of it."""

    def __init__(
        self, name: str, operations: Iterable[Operation], rows: list[Row], *, alone: bool
    ) -> None:
        self.name = name
        self.rows = rows
        self.final = max((row.version for row in rows), default=0)
        self.alone = alone  # whether the primary may have been without a standby at some time
        self.reads: list[Operation] = []  # those that were answered
        self.acknowledged: list[Operation] = []
        self.open: list[Operation] = []
        self.failed: list[Operation] = []
        for operation in operations:
            self._sort(operation)
        self._arrange_acknowledged()
        self._targets: dict[int | None, list[Operation]] = {}
        self._since: dict[int | None, float] = {}
        self._arrange_targets((*self.acknowledged, *self.open))
        self.refused = [write for write in self.failed if self._refused_by_itself(write)]
        self.open += self.refused
        self._arrange_targets(self.refused)
        self._arrange_values()
        self.unexplained = self._unexplained()
        self.spare = self._spare()

    def _sort(self, operation: Operation) -> None:
        if operation.kind is Kind.READ:
            if operation.outcome is Outcome.OK or operation.status == HTTPStatus.NOT_FOUND:
                self.reads.append(operation)
        elif operation.outcome is Outcome.OK:
            self.acknowledged.append(operation)
        elif operation.outcome is Outcome.UNKNOWN or self._is_repeated(operation):
            self.open.append(operation)
        else:
            self.failed.append(operation)

    @staticmethod
    def _is_repeated(operation: Operation) -> bool:
        """Whether only the last try is known to have failed."""
        return operation.tries > 1 and not operation.keyed

    def _arrange_acknowledged(self) -> None:
        self.made: dict[int, list[Operation]] = {}
        for write in self.acknowledged:
            version = target(write)
            if version is not ANY:
                self.made.setdefault(version, []).append(write)
        durable = [
            (version, min(those, key=lambda write: write.completed))
            for version, writes in self.made.items()
            if (those := [write for write in writes if write.durable])
        ]
        self.durable = dict(sorted(durable))  # by version: the one acknowledged first
        self._versions = list(self.durable)
        self._earliest: list[Operation] = []  # of each of these versions and those above
        for write in reversed(self.durable.values()):
            before = self._earliest[-1] if self._earliest else write
            self._earliest.append(min(write, before, key=lambda each: each.completed))
        self._earliest.reverse()

    def _arrange_targets(self, writes: Iterable[Operation]) -> None:
        for write in writes:
            for version in self._may_make(write):
                self._targets.setdefault(version, []).append(write)
                self._since[version] = min(write.sent, self._since.get(version, write.sent))

    def _may_make(self, write: Operation) -> set[int | None]:
        version = target(write)
        return {version} if effects(write) == 1 else {version, ANY}

    def _arrange_values(self) -> None:
        self._writers: dict[tuple[str | None, int | None], Operation] = {}
        self.written: dict[str | None, list[Operation]] = {}
        self.denied: dict[str | None, list[Operation]] = {}
        for write in sorted((*self.acknowledged, *self.open), key=lambda each: each.sent):
            self.written.setdefault(write.value, []).append(write)
            for version in self._may_make(write):
                self._writers.setdefault((write.value, version), write)
        for write in sorted(self.failed, key=lambda each: each.sent):
            self.denied.setdefault(write.value, []).append(write)
        self.seen: set[str | None] = {row.value for row in self.rows}
        self.seen.update(read.value for read in self.reads)

    def _refused_by_itself(self, write: Operation) -> bool:
        """Whether nothing but its own effect can be why a write was refused."""
        if write.kind is Kind.CREATE:
            refused, version = write.error.endswith("email-in-use"), 1
        elif write.status == HTTPStatus.PRECONDITION_FAILED and write.expected is not None:
            base, version = self.durable.get(write.expected), write.expected + 1
            refused = (
                base is not None
                and base.completed <= write.sent
                and (write.condition is None or base.tag in {None, write.condition})
            )
        else:
            return False
        others = self.makers(version, write.completed)
        return refused and not others and not (self.alone and self._was_crossed(write))

    def _was_crossed(self, write: Operation) -> bool:
        """Whether another write in hand may have had an effect that was lost with its primary."""
        return any(
            other is not write
            and other.kind is write.kind
            and other.expected in {None, write.expected}
            and other.sent <= write.completed
            and other.completed >= write.sent
            for other in (*self.acknowledged, *self.failed)
        )

    def makers(self, version: int, by: float) -> bool:
        """Whether a write that was sent by then may have made a version."""
        if self._since.get(version, NEVER) <= by:
            return True
        return version > 1 and self._since.get(ANY, NEVER) <= by

    def candidates(self, version: int) -> list[Operation]:
        """Return the acknowledged and open writes that may make this version and no other."""
        return self._targets.get(version, [])

    def writer(self, value: str, version: int | None, by: float) -> Operation | None:
        """Return a write sent by then that may have left this value with this version."""
        if version is None:
            return self.first(value, by)
        keys: list[tuple[str, int | None]] = [(value, version)]
        if version > 1:
            keys.append((value, ANY))
        found = (self._writers.get(key) for key in keys)
        return next((write for write in found if write and write.sent <= by), None)

    def base(self, write: Operation) -> Operation | None:
        """Return the write that must have made the version which an acknowledged change was for.

        Both are there in the end, or the base was there before the change was sent. None: one of
        them may have been lost with a primary, or the base is not known.
        """
        base = self.durable.get(write.expected or 0)
        if base is None or not (write.durable or base.completed <= write.sent):
            return None
        return base

    def first(self, value: str, by: float) -> Operation | None:
        """Return the first write of a value that may have had an effect, if sent by then."""
        writes = self.written.get(value)
        return writes[0] if writes and writes[0].sent <= by else None

    def later(self, version: int, before: float) -> Operation | None:
        """Return a durable write of a later version that was acknowledged before that time."""
        place = bisect_right(self._versions, version)
        if place == len(self._versions):
            return None
        earliest = self._earliest[place]
        return earliest if earliest.completed < before else None

    def promised(self, version: int, at: float) -> int:
        """Return what a token for a version promises: what was not durable it may have lost."""
        if all(write.durable for write in self.made.get(version, ())):
            return version
        for place in range(bisect_right(self._versions, version) - 1, -1, -1):
            if self.durable[self._versions[place]].completed <= at:
                return self._versions[place]
        return 0

    def may_be_lost(self, read: Operation) -> bool:
        """Whether what was read may have gone with a primary that may have been alone.

        The service goes on with a write it has in hand: then that is applied anew, or fails.
        """
        owner = self.durable.get(read.version or 0)
        if not self.alone or (owner is not None and owner.completed <= read.sent):
            return False
        writes = (*self.written.get(read.value, ()), *self.denied.get(read.value, ()))
        return any(
            write.sent <= read.completed
            and write.completed > read.sent
            and (write.expected is None or write.expected + 1 == read.version)
            for write in writes
        )

    def _unexplained(self) -> int:
        """Return how many versions up to the final one no write is known to make."""
        known = (version for version in self._targets if version is not ANY)
        return self.final - 1 - sum(1 < version <= self.final for version in known)

    def _spare(self) -> int:
        """Return how many versions could come from writes that do not say which they make."""
        unnamed = self._targets.get(ANY, ())
        more = sum(effects(write) - (target(write) is not ANY) for write in unnamed)
        return more + sum(self._is_exposed(*each) for each in self.denied.items())

    def _is_exposed(self, value: str | None, writes: list[Operation]) -> bool:
        """Whether a failed change was seen to have had its effect: a finding of its own."""
        change = any(write.kind is Kind.CHANGE for write in writes)
        return change and value in self.seen and value not in self.written
