"""Defects to plant: one user's life as it should be, and everything that can be wrong in it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ops.drills import rules
from ops.drills.history import Row
from ops.drills.sightings import wrong_sightings
from ops.drills.verdict import Rule
from ops.load.operation import Kind, Operation, Outcome
from tests.unit.histories import CHANGED, HELD, TAKEN

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

NAME = "planted"


class Life:
    """A user who is created, changed a few times, and read with a token after each of these."""

    def __init__(self, random: Random) -> None:
        self.last = random.randint(4, 9)
        self.some = random.randint(2, self.last - 1)  # a version with others around it
        self.writes = {version: self._write(version, random) for version in self.versions}
        self.reads = {version: self._read(version) for version in self.versions}
        self.more: list[Operation] = []
        self.rows = [Row(NAME, f"v{self.last}", self.last)]

    @property
    def versions(self) -> range:
        """All versions there are."""
        return range(1, self.last + 1)

    @property
    def operations(self) -> list[Operation]:
        """All that was done."""
        return [*self.writes.values(), *self.reads.values(), *self.more]

    def _write(self, version: int, random: Random) -> Operation:
        kind = Kind.CREATE if version == 1 else Kind.CHANGE
        expected = version - 1 if version > 1 and random.random() < 0.5 else None
        return operation(kind, version, version=version, expected=expected)

    def _read(self, version: int) -> Operation:
        return operation(Kind.READ, version + 0.5, version=version, expected=version)

    def write(self, version: int, result: tuple[Outcome, int | None, str] | None = None) -> None:
        """Make a write a conditional one, and answer it otherwise."""
        write = replace(self.writes[version], expected=version - 1 if version > 1 else None)
        if result:
            outcome, status, error = result
            write = replace(write, outcome=outcome, status=status, error=error, version=None)
        self.writes[version] = write

    def read(self, after: int, **changes: object) -> None:
        """Let the read after a version see something else."""
        self.reads[after] = replace(self.reads[after], **changes)  # type: ignore[arg-type]


def operation(kind: Kind, at: float, *, version: int, expected: int | None = None) -> Operation:
    """Return an operation that went well, a tenth of a second long."""
    begin = at * 10
    return Operation(
        kind, NAME, begin, begin, begin + 1, Outcome.OK, 200, "", f"v{version}", version, expected
    )


def creation_lost(life: Life) -> None:
    """The user is not there."""
    life.rows = []


def change_lost(life: Life) -> None:
    """The last change is not there."""
    life.rows = [Row(NAME, f"v{life.last - 1}", life.last - 1)]


def two_rows(life: Life) -> None:
    """The user is there twice."""
    life.rows *= 2


def created_again(life: Life) -> None:
    """Two creations succeed."""
    life.more = [operation(Kind.CREATE, 200, version=1)]


def creation_refused(life: Life) -> None:
    """The creation is refused, and done."""
    life.write(1, TAKEN)


def change_refused(life: Life) -> None:
    """A conditional change is refused, and done."""
    life.write(life.some, CHANGED)


def step_too_long(life: Life) -> None:
    """A conditional change goes two versions on."""
    life.write(life.last)
    life.writes[life.last] = replace(life.writes[life.last], version=life.last + 1)
    life.read(life.last, version=life.last + 1)
    life.rows = [Row(NAME, f"v{life.last}", life.last + 1)]


def applied_again(life: Life) -> None:
    """A change has a second effect before the next one: all later versions are one higher."""
    for version in range(life.some + 1, life.last + 1):
        life.writes[version] = replace(life.writes[version], version=version + 1, expected=None)
        life.read(version, version=version + 1)
    life.rows = [Row(NAME, f"v{life.last}", life.last + 1)]


def seen_again(life: Life) -> None:
    """A change's value comes back later, as the version of a write that has no answer."""
    unknown = operation(Kind.CHANGE, life.last + 0.2, version=99)
    life.more = [replace(unknown, outcome=Outcome.UNKNOWN, status=None, version=None)]
    life.read(life.last, version=life.last + 1)


def older_version(life: Life) -> None:
    """A read is one version behind its token."""
    life.read(life.some, version=life.some - 1, value=f"v{life.some - 1}")


def not_there(life: Life) -> None:
    """A read finds nothing where its token promises something."""
    life.read(life.some, version=None, value=None, status=404)


def failed_creation_seen(life: Life) -> None:
    """The creation failed, they said."""
    life.write(1, HELD)


def failed_change_seen(life: Life) -> None:
    """A change failed, they said."""
    life.write(life.some, HELD)


def nobodys_read(life: Life) -> None:
    """A read sees what nobody wrote."""
    life.read(life.some, value="nobody's")


def nobodys_row(life: Life) -> None:
    """The row has what nobody wrote."""
    life.rows = [Row(NAME, "nobody's", life.last)]


def read_too_early(life: Life) -> None:
    """A read sees what is written only later."""
    early = life.writes[life.some].sent - 2
    life.read(life.some, sent=early, completed=early + 1, expected=None)


def never_created(life: Life) -> None:
    """Nobody created the user."""
    del life.writes[1]


def first_value_later(life: Life) -> None:
    """The creation's value stands there as a version of its own."""
    life.read(life.last, version=life.last + 5, value="v1")


def version_shared(life: Life) -> None:
    """The last change overwrites the one before as if it had not been there."""
    version = life.last - 1
    life.writes[life.last] = replace(life.writes[life.last], version=version, expected=None)
    life.read(life.last, version=version, expected=version)
    life.rows = [Row(NAME, f"v{life.last}", version)]


def other_value_read(life: Life) -> None:
    """A read sees the value of before with the version of now."""
    life.read(life.some, value=f"v{life.some - 1}")


def other_value_row(life: Life) -> None:
    """The row has the value of before with the version of now."""
    life.rows = [Row(NAME, f"v{life.last - 1}", life.last)]


def unknown_overwrites(life: Life) -> None:
    """A write without answer takes the place of one that was acknowledged."""
    unknown = operation(Kind.CHANGE, 1.2, version=99)
    life.more = [replace(unknown, outcome=Outcome.UNKNOWN, status=None, version=None)]
    life.read(life.some, value="v99")


def stranger_changed(life: Life) -> None:
    """A change of another user, who was lost, changes this one: the id was given again."""
    gone = replace(operation(Kind.CREATE, 0.1, version=1), entity="gone", durable=False)
    change = operation(Kind.CHANGE, 200, version=life.last + 1, expected=life.last)
    wrong = {"outcome": Outcome.UNKNOWN, "error": "wrong-answer"}
    change = replace(change, entity="gone", found=NAME, condition="1", **wrong)  # type: ignore[arg-type]
    life.more = [gone, change]
    life.rows = [Row(NAME, f"v{life.last + 1}", life.last + 1)]


def lost_version_changed(life: Life, tag: str = "another") -> None:
    """A change for a version that was lost changes the one that has the same number now."""
    lost = operation(Kind.CHANGE, life.last - 1.6, version=life.last - 1)
    life.more = [replace(lost, value="lost", durable=False, tag="lost")]
    life.write(life.last)
    life.writes[life.last - 1] = replace(life.writes[life.last - 1], tag=tag)
    life.writes[life.last] = replace(life.writes[life.last], condition="lost")


def tag_given_again(life: Life) -> None:
    """The same, and both versions have the same tag."""
    lost_version_changed(life, tag="lost")


def order_turned(life: Life) -> None:
    """Of two changes, one after the other, the second got the earlier version."""
    first, second = life.some, life.some + 1
    for version, other in ((first, second), (second, first)):
        life.writes[version] = replace(life.writes[version], version=other, expected=None)
    life.reads = {}
    if second == life.last:
        life.rows = [Row(NAME, f"v{first}", life.last)]


def too_late_to_be(life: Life) -> None:
    """The only write that can have made a version was sent when later ones were there."""
    life.write(life.some, (Outcome.UNKNOWN, None, "ReadTimeout"))
    life.writes[life.some] = replace(life.writes[life.some], sent=200, completed=201)
    life.reads = {}


DEFECTS: dict[Callable[[Life], None], tuple[Rule, object]] = {
    creation_lost: (Rule.LOST, rules.lost_writes),
    change_lost: (Rule.LOST, rules.lost_writes),
    two_rows: (Rule.TWICE, rules.doubled_rows),
    created_again: (Rule.TWICE, rules.doubled_creations),
    creation_refused: (Rule.TWICE, rules.refused_by_themselves),
    change_refused: (Rule.TWICE, rules.refused_by_themselves),
    applied_again: (Rule.TWICE, rules.too_many_versions),
    older_version: (Rule.STALE, rules.stale_reads),
    not_there: (Rule.STALE, rules.stale_reads),
    failed_creation_seen: (Rule.PHANTOM, wrong_sightings),
    failed_change_seen: (Rule.PHANTOM, wrong_sightings),
    nobodys_read: (Rule.NEVER_WRITTEN, wrong_sightings),
    nobodys_row: (Rule.NEVER_WRITTEN, wrong_sightings),
    read_too_early: (Rule.NEVER_WRITTEN, wrong_sightings),
    never_created: (Rule.NEVER_WRITTEN, wrong_sightings),
    first_value_later: (Rule.NEVER_WRITTEN, wrong_sightings),
    seen_again: (Rule.TWICE, wrong_sightings),
    version_shared: (Rule.LOST_UPDATE, rules.same_versions),
    other_value_read: (Rule.LOST_UPDATE, wrong_sightings),
    other_value_row: (Rule.LOST_UPDATE, wrong_sightings),
    unknown_overwrites: (Rule.LOST_UPDATE, wrong_sightings),
    stranger_changed: (Rule.STRANGER, rules.strangers),
    lost_version_changed: (Rule.STRANGER, rules.strangers),
    tag_given_again: (Rule.STRANGER, rules.strangers),
    order_turned: (Rule.REORDERED, rules.reordered_changes),
    too_late_to_be: (Rule.IMPOSSIBLE, rules.impossible_writes),
}
"""Each with the rule that it breaks, and the only check that finds it."""
