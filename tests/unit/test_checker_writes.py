"""What the checker says of writes, in histories that are legal by a hair or broken by one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ops.drills.verdict import Rule
from tests.unit.cases import (
    broken,
    change,
    changed,
    create,
    ended,
    found,
    held,
    local,
    read,
    unknown,
    verdict,
    while_alone,
)
from tests.unit.histories import ABSENT, TAKEN

if TYPE_CHECKING:
    from ops.load.operation import Operation


def unnamed(operations: list[Operation], *rows: tuple[str, int]) -> bool:
    """Whether there are more versions than writes that may have made them."""
    sentences = [finding.sentence for finding in found(operations, *rows)]
    return any("of its versions no answer names" in each for each in sentences)


# ---------------------------------------------------------------- how often a write is applied
@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize(
    ("write", "times"),
    [
        (change("b", 2, 2, tries=3, keyed=True), 1),
        (change("b", 2, 2, tries=3, keyed=False), 3),
        (change("b", 2, 2, tries=1, keyed=False), 1),
        (change("b", 2, 2, tries=3, keyed=False, expected=1), 1),
    ],
)
def test_a_write_is_applied_as_often_as_its_tries_are_told_apart(
    write: Operation, times: int, answered: bool
) -> None:
    """Once with a key or a condition; without, every try may have had its effect."""
    write = write if answered else unknown(write)
    legal = [version for version in range(2, 6) if not unnamed([create(), write], ("b", version))]
    assert legal == [version for version in range(2, 6) if version <= 1 + times]


@pytest.mark.parametrize("tries", [1, 3])
def test_a_creation_is_applied_once(tries: int) -> None:
    """Also without a key: the address is taken then."""
    write = create(tries=tries, keyed=False)
    assert broken([write], ("a", 1)) == []
    assert broken([unknown(write)], ("a", 1)) == []
    assert unnamed([write], ("a", 2))


@pytest.mark.parametrize(
    ("write", "rules"),
    [
        (held(change("b", 2, tries=3, keyed=True)), ["phantom"]),
        (held(change("b", 2, tries=1, keyed=False)), ["phantom"]),
        (held(change("b", 2, tries=2, keyed=False)), []),
        (unknown(change("b", 2, tries=3, keyed=True)), []),
    ],
)
def test_a_failed_write_had_no_effect_unless_tries_before_it_may_have(
    write: Operation, rules: list[str]
) -> None:
    """With a key the last answer speaks for all tries."""
    asked = unknown(change("c", 2))
    assert broken([create(), write, asked, read("b", 4, 2)], ("c", 2)) == rules


def test_only_a_right_answer_says_which_version_was_made() -> None:
    """One that is about something else does not; nor does one that names none."""
    wrong = replace(unknown(change("b", 2)), status=200, error="wrong-answer", version=9)
    assert broken([create(), wrong], ("b", 2)) == []
    assert broken([create(), change("b", 2, None)], ("b", 2)) == []


# ---------------------------------------------------------------- lost
def test_what_was_acknowledged_as_durable_is_there() -> None:
    """A later version keeps it; without any row everything is lost, and the sentence says so."""
    both = [create(), change("b", 2, 2)]
    assert broken(both, ("b", 2)) == []
    assert broken([*both, change("c", 4, 3)], ("c", 3)) == []
    (lost,) = found(both, ("a", 1))
    assert (lost.rule, lost.operations) == (Rule.LOST, (both[1],))
    assert lost.sentence.endswith("in the end the row ended at version 1")
    assert [each.operations for each in found(both)] == [(both[0],), (both[1],)]
    unsaid = change("b", 2, None, expected=1)  # its answer does not name the version
    assert broken([create(), unsaid], ("a", 1)) == ["lost"]


def lost_as_warned(operations: list[Operation], *rows: tuple[str, int]) -> list[str | None]:
    """Return the values that were lost as their answers had warned; nothing else is wrong."""
    judged = verdict(operations, *rows)
    assert judged.ok, judged.findings
    return [finding.operations[0].value for finding in judged.lost_as_warned]


def test_of_a_version_made_twice_the_write_that_stands_is_not_lost() -> None:
    """The durable one; else, at the end, the one whose value is there; else the later one."""
    first, second = local(change("b", 2, 2)), local(change("c", 4, 2))
    end = change("d", 6, 3)
    assert lost_as_warned([create(), first, second], ("a", 1)) == ["b", "c"]
    assert lost_as_warned([create(), first, replace(second, durable=True)], ("c", 2)) == ["b"]
    assert lost_as_warned([create(), first, second], ("c", 2)) == ["b"]
    assert lost_as_warned([create(), first, second], ("b", 2)) == ["c"]
    assert lost_as_warned([create(), second, first, end], ("d", 3)) == ["b"]
    assert lost_as_warned([create(), first, second, end], ("d", 3)) == ["b"]
    assert lost_as_warned([create(), first, end], ("d", 3)) == []
    assert lost_as_warned([create(), first], ("b", 2)) == []


def test_a_durable_write_stands_whatever_was_made_beside_it() -> None:
    """Also where its version is the last one, and the value there is the warned one's."""
    writes = [create(), local(change("b", 2, 2)), change("b", 4, 2)]
    assert lost_as_warned(writes, ("b", 2)) == ["b"]
    assert verdict(writes, ("b", 2)).lost_as_warned[0].operations == (writes[1],)


# ---------------------------------------------------------------- twice
def test_two_durable_creations_are_one_too_many() -> None:
    """Both are named; one that may have been lost in between is no contradiction."""
    first, second = create(), create("b", 5)
    (finding,) = found([first, second], ("a", 1))
    assert (finding.rule, finding.operations) == (Rule.TWICE, (first, second))
    assert "to 'a'" in finding.sentence.split(", and created again: ")[0]
    assert "to 'b'" in finding.sentence.split(", and created again: ")[1]
    assert broken([local(first), second], ("b", 1)) == []
    assert broken([first], ("a", 1), ("a", 1)) == ["twice"]
    assert broken([first, change("b", 2, 2)], ("a", 1), ("b", 2)) == ["twice"]


def test_a_conditional_change_makes_the_next_version() -> None:
    """Or does not say which."""
    third = change("c", 4, 3, expected=2)
    before = [create(), change("b", 2, 2)]
    assert broken([*before, third], ("c", 3)) == []
    assert broken([*before, replace(third, version=None)], ("c", 3)) == []
    assert broken([*before, replace(third, expected=None)], ("c", 3)) == []
    assert broken([create(), change("b", 2, 2, expected=3)], ("b", 2)) == ["twice"]


def test_versions_beyond_the_writes_there_are() -> None:
    """The latest acknowledged writes are named; open writes may have made a version each."""
    writes = [create(), *(change(f"v{each}", 2 * each, each) for each in range(2, 6))]
    (finding,) = found(writes, ("v5", 5), ("v5", 5))
    assert finding.sentence == "2 rows in the end, of versions 5, 5"
    more = unknown(change("x", 20))
    assert broken([*writes, more], ("x", 6)) == []
    (finding,) = found([*writes, more], ("x", 7))
    assert finding.operations == tuple(writes[-3:])
    assert finding.sentence.startswith(
        "the row ended at version 7; 2 of its versions no answer names, and 1 writes without one"
    )


def test_a_failed_change_that_was_seen_explains_its_version() -> None:
    """It is a finding of its own, and no second one; a failed creation explains none."""
    failed = held(change("b", 2))
    assert broken([create(), failed, read("b", 4, 2), change("c", 6, 3)], ("c", 3)) == ["phantom"]
    assert broken([create(), failed, change("c", 6, 3)], ("c", 3)) == ["twice"]
    both = [create(), held(create("b", 1)), failed, read("b", 4, 2), change("c", 6, 3)]
    assert broken(both, ("c", 3)) == ["phantom"]
    creation = held(create("b", 2))
    assert broken([create(), creation, change("c", 6, 3)], ("c", 3)) == ["twice"]
    seen = read("b", 4, 2)
    assert broken([create(), creation, seen, change("c", 6, 3)], ("c", 3)) == ["twice", "phantom"]
    again = change("b", 8, 3)
    assert "twice" in broken([create(), failed, seen, again], ("b", 3))


# ---------------------------------------------------------------- refused by itself
REFUSED_CREATION = ended(create("b", 2), TAKEN)
REFUSED_CHANGE = changed(change("b", 2, expected=1))


def test_a_creation_refused_because_of_itself() -> None:
    """Nobody else can have taken the address by then."""
    rows = ("b", 1)
    (finding,) = found([REFUSED_CREATION], rows)
    assert (finding.rule, finding.operations) == (Rule.TWICE, (REFUSED_CREATION,))
    assert "no other write has the address" in finding.sentence
    assert broken([REFUSED_CREATION, unknown(create("a", 3))], ("a", 1)) == []
    several = [unknown(create("a", at)) for at in (9, 1, 7)]
    assert broken([REFUSED_CREATION, *several], ("a", 1)) == []
    assert broken([REFUSED_CREATION, unknown(create("a", 3.1))], rows) == ["twice"]
    assert broken([REFUSED_CREATION, unknown(change("c", 0))], rows) == ["twice"]
    assert broken([held(create("b", 2))]) == []


def test_a_change_refused_because_of_itself() -> None:
    """Its condition held when it was sent, and nobody else can have changed that."""
    rows = ("b", 2)
    (finding,) = found([create(at=1), REFUSED_CHANGE], rows)
    assert (finding.rule, finding.operations) == (Rule.TWICE, (REFUSED_CHANGE,))
    assert "no other write changed 1" in finding.sentence
    assert broken([create(), REFUSED_CHANGE], rows) == ["twice"]
    assert broken([create(at=1.1), REFUSED_CHANGE], ("a", 1)) == []
    assert broken([create(), changed(change("b", 2))], ("a", 1)) == []
    assert broken([create(), changed(change("b", 2, expected=7))], ("a", 1)) == []
    assert broken([create(), ended(change("b", 2, expected=1), ABSENT)], ("a", 1)) == []
    assert broken([local(create()), REFUSED_CHANGE], ("a", 1)) == []
    for other in (change("c", 3), change("c", 3, expected=1)):
        assert broken([create(), REFUSED_CHANGE, unknown(other)], ("c", 2)) == []
    assert broken([create(), REFUSED_CHANGE, change("c", 3, 2)], ("c", 2)) == []
    late = unknown(change("c", 3.1))
    assert broken([create(), REFUSED_CHANGE, late], rows) == ["twice"]
    again = create(at=5)  # its condition held from the first one's answer on
    assert broken([create(), again, REFUSED_CHANGE], rows) == ["twice", "twice"]


@pytest.mark.parametrize(
    ("other", "crosses"),
    [
        (held(change("c", 2)), True),
        (held(change("c", 2, expected=1)), True),
        (held(change("c", 2, expected=7)), False),
        (held(change("c", 3)), True),
        (held(change("c", 3.1)), False),
        (held(change("c", 1)), True),
        (held(change("c", 0.9)), False),
        (held(create("c", 2)), False),
        (change("c", 2, 4), True),
    ],
)
def test_what_crossed_a_refused_write_may_have_been_in_its_way_and_lost(
    other: Operation, crosses: bool
) -> None:
    """While the primary was alone; at any other time nothing is lost that way."""
    late = [unknown(change(value, 9)) for value in ("x", "y", "z")]  # they explain all versions
    operations = [create(), REFUSED_CHANGE, other, *late]
    row = ("c", 4) if other.version else ("x", 2)
    assert broken([*operations, while_alone()], row) == ([] if crosses else ["twice"])
    assert broken(operations, row, alone=True) == ([] if crosses else ["twice"])
    assert broken(operations, row) == ["twice"]


def test_a_refused_creation_crossed_by_another() -> None:
    """The same, of creations; a write does not cross itself."""
    other = held(create("c", 2))
    assert broken([REFUSED_CREATION, other, while_alone()]) == []
    assert broken([REFUSED_CREATION, while_alone()]) == ["twice"]
    assert broken([REFUSED_CREATION, held(change("c", 2)), while_alone()]) == ["twice"]


# ---------------------------------------------------------------- one version, two writes
def test_two_durable_changes_of_one_version() -> None:
    """Both are named; with one that was local nothing was overwritten unseen."""
    writes = [create(), change("b", 2, 2), change("c", 2.5, 2)]
    (finding,) = found(writes, ("c", 2))
    assert (finding.rule, finding.operations) == (Rule.LOST_UPDATE, tuple(writes[1:]))
    assert "to 'b'" in finding.sentence.split("; ")[0]
    assert "to 'c'" in finding.sentence.split("; ")[1]
    assert broken([create(), local(writes[1]), writes[2]], ("c", 2)) == []


# ---------------------------------------------------------------- order
def test_a_change_after_another_has_the_later_version() -> None:
    """After means: sent when the other was acknowledged. Of those, the earliest is named."""
    late = change("b", 3.1, 2)
    between = replace(change("d", 4, 4), completed=8)
    writes = [create(), change("c", 2, 3), late, between]
    (finding,) = found(writes, ("d", 4))
    assert (finding.rule, finding.operations) == (Rule.REORDERED, (late, writes[1]))
    assert " after change to 'c'" in finding.sentence
    for legal in (replace(late, sent=3), local(late)):
        assert broken([create(), writes[1], legal, between], ("d", 4)) == []
    assert broken([create(), local(writes[1]), late, between], ("d", 4)) == []


def test_the_earliest_of_later_versions_counts() -> None:
    """Whichever of them that is, and whatever lies below."""
    writes = [create(), change("d", 2, 4), change("c", 6, 3), change("b", 5, 2)]
    assert [each.operations for each in found(writes, ("d", 4))] == [
        (writes[2], writes[1]),
        (writes[3], writes[1]),
    ]
    middle = [create(), change("e", 19, 5), change("d", 2, 4), change("b", 10, 2)]
    middle.append(replace(change("c", 2.5, 3), completed=30))
    assert [each.operations for each in found(middle, ("e", 5))] == [(middle[3], middle[2])]
    early = [create(), change("c", 2, 3), change("d", 6, 4), change("b", 5, 2)]
    assert [each.operations for each in found(early, ("d", 4))] == [(early[3], early[1])]


def test_a_creation_has_no_order() -> None:
    """It is the first by its kind; what it came after may be of a user who was lost."""
    assert broken([change("b", 0, 2), create(at=5)], ("b", 2)) == []


# ---------------------------------------------------------------- impossible
def test_a_write_that_must_have_been_and_cannot() -> None:
    """Nothing else can have made a version that was there before the write was sent."""
    late = unknown(change("b", 6, expected=1))
    writes = [create(), change("c", 2, 3), late]
    (finding,) = found(writes, ("c", 3))
    assert (finding.rule, finding.operations) == (Rule.IMPOSSIBLE, (late, writes[1]))
    assert "nothing else can have made version 2" in finding.sentence
    assert broken([create(), writes[1], replace(late, sent=3)], ("c", 3)) == []
    assert broken([*writes, unknown(change("d", 1))], ("c", 3)) == []
    assert broken([*writes, unknown(change("d", 0, expected=1))], ("c", 3)) == []
    assert broken([*writes[:2], unknown(change("b", 6))], ("c", 3)) == []
    assert set(broken(writes)) == {"lost"}


def test_what_never_was_is_not_impossible() -> None:
    """A version beyond the end was not made by anybody."""
    writes = [create(), unknown(change("b", 6, expected=4)), change("c", 2, 6)]
    assert broken(writes, ("a", 1)) == ["lost"]
    assert broken(writes, ("a", 4)).count("impossible") == 0
    late = unknown(change("b", 6, expected=1))  # what it made is there, and was when it was sent
    assert broken([create(), change("c", 2, 3), late], ("b", 2)) == ["lost", "impossible"]
