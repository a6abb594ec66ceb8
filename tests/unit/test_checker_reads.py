"""What the checker says of reads and of the end, and of writes whose clients do not know."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ops.drills import checker, unknown
from ops.drills.history import History, Row
from ops.drills.rules import described
from ops.drills.verdict import Resolution, Rule
from ops.load.operation import Operation, Outcome
from tests.unit import cases
from tests.unit.cases import (
    USER,
    broken,
    change,
    create,
    found,
    held,
    local,
    read,
    verdict,
    while_alone,
)

TWO = [create(), change("b", 2, 2)]
OPEN = cases.unknown(change("x", 2))


# ---------------------------------------------------------------- stale
@pytest.mark.parametrize(
    ("seen", "rules"),
    [
        (read("b", 4, 2, expected=2), []),
        (read("a", 4, 1, expected=2), ["stale"]),
        (read("a", 4, 1), []),
        (read(None, 4, None, status=404, expected=1), ["stale"]),
        (read(None, 4, None, status=404, expected=1, outcome=Outcome.FAILED), ["stale"]),
        (read(None, 4, None, expected=1), ["stale"]),
        (read(None, 4, None, status=503, expected=1, outcome=Outcome.FAILED), []),
        (read("ghost", 4, 9, status=None, expected=1, outcome=Outcome.UNKNOWN), []),
        (read("a", 4, None, expected=2), []),
        (read(None, 4, 2, expected=2), []),
        (read(None, 4, None, expected=1, status=503, outcome=Outcome.UNKNOWN), []),
    ],
)
def test_a_read_is_as_new_as_its_token(seen: Operation, rules: list[str]) -> None:
    """Where it says what it has seen: 404 is nothing, an answer without a version says nothing."""
    assert broken([*TWO, seen], ("b", 2)) == rules


def test_a_stale_read_says_what_was_promised() -> None:
    """In the words of the client."""
    seen = read("a", 4, 1, expected=2)
    (finding,) = found([*TWO, seen], ("b", 2))
    assert finding.operations == (seen,)
    assert finding.sentence == (
        "read as 'a', version 1 (sent at 4.000 s, over at 5.000 s), "
        "though its token promised version 2"
    )


def test_a_token_of_what_was_local_promises_the_last_durable_version() -> None:
    """Acknowledged by the time the read was sent: the rest may be lost with its primary."""
    third = local(change("c", 4, 3))
    writes = [*TWO, third]

    def seeing(version: int, at: float) -> list[str]:
        value = {0: None, 1: "a", 2: "b"}[version]
        return broken([*writes, read(value, at, version or None, expected=3)], ("b", 2))

    assert [seeing(version, 8) for version in (2, 1, 0)] == [[], ["stale"], ["stale"]]
    assert [seeing(version, 3) for version in (1, 0)] == [["stale"], ["stale"]]
    assert [seeing(version, 2.9) for version in (1, 0)] == [[], ["stale"]]
    alone = [local(create()), local(change("b", 2, 2))]
    assert broken([*alone, read(None, 8, None, expected=2)]) == []
    made_again = [*writes, change("d", 6, 3)]
    assert broken([*made_again, read("b", 8, 2, expected=3)], ("d", 3)) == ["stale"]
    assert broken([*made_again, read("b", 6.5, 2, expected=3)], ("d", 3)) == []


def test_a_token_of_what_was_not_acknowledged_promises_it_all_the_same() -> None:
    """It came with a read that saw it: no answer has warned of its loss."""
    asked_for = cases.unknown(change("b", 2))
    reads = [read("b", 4, 2), read("a", 6, 1, expected=2)]
    assert broken([create(), asked_for, *reads], ("b", 2)) == ["stale"]
    late = replace(change("b", 2, 2), completed=9)
    assert broken([create(), late, *reads], ("b", 2)) == ["stale"]


# ---------------------------------------------------------------- values nobody left there
def test_a_value_is_seen_when_it_was_sent() -> None:
    """Not before: by the answer at the latest. With and without a version."""
    for version in (2, None):
        assert broken([*TWO, read("b", 1, version)], ("b", 2)) == []
        assert broken([*TWO, read("b", 0.9, version)], ("b", 2)) == ["never written"]
        assert broken([*TWO, read("ghost", 4, version)], ("b", 2)) == ["never written"]


def test_nobody_had_created_it() -> None:
    """A failed creation is named, if it was sent by then."""
    failed = held(create(at=5))
    noise = held(change("b", 0))
    (finding,) = found([noise, failed, read("a", 4, 1)])
    assert (finding.rule, finding.operations[-1]) == (Rule.PHANTOM, failed)
    assert "but its creation failed: creation to 'a'" in finding.sentence
    assert broken([failed, read("a", 3.9, 1)]) == ["never written"]
    assert broken([noise, read("a", 4, 1)]) == ["never written"]
    assert broken([read("a", 4, 1), create(at=5)], ("a", 1)) == []
    assert broken([read("a", 3.9, 1), create(at=5)], ("a", 1)) == ["never written"]
    assert broken([], ("a", 1)) == ["never written"]


def test_its_write_failed() -> None:
    """A phantom from the moment on when it was sent; the first such write is named."""
    failed, again = held(change("x", 5)), held(change("x", 5.5))
    row = ("a", 1)
    seen = read("x", 4, 2)
    (finding,) = found([create(), again, failed, seen], row)
    assert (finding.rule, finding.operations) == (Rule.PHANTOM, (seen, failed))
    assert finding.sentence.startswith("read as 'x', version 2 (sent at 4.000 s, ")
    assert finding.sentence.count("change to") == 1
    assert broken([create(), failed, read("x", 3.9, 2)], row) == ["never written"]


def test_a_value_as_another_version_than_its_own() -> None:
    """Another's version is a lost update; a later one of its own is a second effect."""
    assert broken([*TWO, read("a", 4, 2)], ("b", 2)) == ["lost update"]
    assert broken([*TWO, read("b", 4, 1)], ("b", 2)) == ["lost update"]
    assert broken([*TWO, OPEN, read("b", 4, 3)], ("x", 3)) == ["twice"]
    assert broken([*TWO, OPEN, read("a", 4, 3)], ("x", 3)) == ["never written"]
    third = change("c", 6, 3)
    assert broken([*TWO, third, read("b", 4, 3)], ("c", 3)) == ["twice"]
    assert broken([*TWO, third, read("b", 5, 3)], ("c", 3)) == ["lost update"]
    early = [create(), OPEN, change("c", 6, 3), read("c", 6, 2)]
    assert broken(early, ("c", 3)) == ["never written"]
    wrong = replace(cases.unknown(change("x", 2, expected=1)), error="wrong-answer", version=9)
    assert broken([create(), wrong, read("x", 4, 9)], ("x", 2)) == ["never written"]


def test_of_several_writes_that_made_a_version_one_is_quoted() -> None:
    """All of them are in the finding."""
    both, seen = [change("b", 2, 2), change("c", 2, 2)], read("a", 4, 2)
    (finding,) = (
        each for each in found([create(), *both, seen], ("c", 2)) if seen in each.operations
    )
    assert finding.operations == (seen, *both)
    assert finding.sentence.count("change to") == 1


def test_an_unconditional_change_makes_any_version_but_the_first() -> None:
    """Which only a creation makes."""
    writes = [cases.unknown(create()), cases.unknown(change("b", 2))]
    assert broken([*writes, read("b", 4, 2)], ("b", 2)) == []
    assert broken([*writes, read("b", 4, 1)], ("b", 2)) == ["twice"]


def test_a_value_in_place_of_one_that_stands() -> None:
    """From the moment on when the other was acknowledged."""
    open_write = cases.unknown(change("x", 1))
    for at, rules in ((3, ["lost update"]), (2.9, [])):
        seen = read("x", at, 2)
        assert broken([*TWO, open_write, seen], ("b", 2)) == rules
    (finding,) = found([*TWO, open_write], ("x", 2))
    assert (finding.rule, finding.operations) == (Rule.LOST_UPDATE, (TWO[1],))
    assert finding.sentence.startswith("the row ended as 'x', version 2, but the version is")
    assert broken([create(), local(TWO[1]), open_write], ("x", 2)) == []
    same = [create(), change("b", 2, 2), change("c", 2, 2)]
    assert broken([*same, read("b", 4, 2), read("c", 4, 2)], ("c", 2)) == ["lost update"]
    warned = [create(), local(change("b", 2, 2)), change("c", 2, 2)]
    assert broken([*warned, read("b", 2.9, 2)], ("c", 2)) == []
    assert broken([*warned, read("b", 4, 2)], ("c", 2)) == ["lost update"]


@pytest.mark.parametrize(
    ("write", "may"),
    [
        (held(change("x", 4)), True),
        (held(change("x", 3.1)), True),
        (held(change("x", 3)), False),
        (held(change("x", 5)), True),
        (held(change("x", 5.1)), False),
        (held(change("x", 4, expected=2)), True),
        (held(change("x", 4, expected=3)), False),
        (change("x", 4, 4), True),
    ],
)
def test_what_was_read_may_have_gone_with_a_primary_that_was_alone(
    write: Operation, may: bool
) -> None:
    """If its write was in hand then: it is applied anew, or fails. Not at any other time."""
    seen = read("x", 4, 3)
    more = [cases.unknown(change("y", 20))] if write.version else []
    row = ("x", 4) if write.version else ("b", 2)
    operations = [*TWO, write, seen, *more]
    assert broken(operations, row) != []
    assert (broken([*operations, while_alone()], row) == []) is may
    assert (broken(operations, row, alone=True) == []) is may


def test_a_primary_that_was_alone_need_not_have_answered_anything() -> None:
    """Each write was in hand when it was lost; the new one applies them anew in another order."""
    first, second = (replace(change(value, 4), completed=9) for value in "xy")
    seen = [read("y", 5, 3), read("x", 6, 4)]
    for writes, row, rules in (
        ([replace(first, version=3), cases.unknown(second)], ("x", 3), ["twice"]),
        ([replace(first, version=3), held(second)], ("x", 3), ["phantom", "twice"]),
        ([replace(first, version=3), replace(second, version=4)], ("y", 4), ["lost update"] * 2),
        ([held(first), held(second)], ("b", 2), ["phantom"] * 2),
    ):
        operations = [*TWO, *writes, *seen]
        assert broken(operations, row) == rules
        assert broken(operations, row, alone=True) == []


def test_what_stands_was_not_lost_with_a_primary() -> None:
    """A durable write's version is never another's; a read without a version may be of any."""
    said = [*TWO, held(change("x", 4)), read("x", 4, None), while_alone()]
    assert broken(said, ("b", 2)) == []
    failed = replace(held(change("x", 2)), completed=9)
    for at, rules in ((3, ["phantom"]), (2.9, [])):
        operations = [*TWO, failed, read("x", at, 2), while_alone()]
        assert broken(operations, ("b", 2)) == rules
    assert broken([*TWO, failed, while_alone()], ("x", 3)) != []


def test_one_write_in_hand_is_enough_to_have_left_what_was_lost() -> None:
    """Whatever else has written the same value."""
    for at in (4, 20):
        writes = [held(change("x", at)), held(change("x", 24 - at))]
        assert broken([*TWO, *writes, read("x", 4, 3), while_alone()], ("b", 2)) == []


# ---------------------------------------------------------------- unknown outcomes
def resolutions(operations: list[Operation], *rows: tuple[str, int]) -> list[str]:
    """Return what became of the writes without answer, in their order."""
    history = History(operations, [Row(USER, *row) for row in rows])
    (entity,) = checker.entities(history)
    said = [resolution.value for _, resolution in unknown.resolved(entity)]
    assert sum(verdict(operations, *rows).resolved.values()) == len(said)
    return said


def asked(value: str, at: float = 2, **more: Any) -> Operation:  # noqa: ANN401 - of an operation
    """A change without answer."""
    return cases.unknown(change(value, at, **more))


def test_a_change_without_answer_that_was_seen_is_done() -> None:
    """In a read or in the end; where two wrote the value, it may be the other's."""
    later = change("c", 6, 3)
    assert resolutions([create(), asked("x"), asked("y")], ("x", 2)) == ["done", "cannot tell"]
    seen = read("x", 4, 2)
    more = asked("y"), later
    assert resolutions([create(), asked("x"), *more, seen], ("c", 3)) == ["done", "cannot tell"]
    assert resolutions([create(), asked("x"), *more], ("c", 3)) == ["cannot tell"] * 2
    assert resolutions([create(), asked("x"), asked("x")], ("x", 2)) == ["cannot tell"] * 2


def test_changes_without_answer_that_are_all_needed_are_done() -> None:
    """As many versions as they can make have no other origin."""
    assert resolutions([create(), asked("x"), asked("y")], ("y", 3)) == ["done"] * 2
    assert resolutions([create(), asked("x"), change("b", 4, 3)], ("b", 3)) == ["done"]
    assert resolutions([create(), asked("x"), change("b", 4, 2)], ("b", 2)) == ["not done"]
    assert resolutions([create(), asked("x")], ("a", 1)) == ["not done"]
    assert resolutions([create()], ("a", 1)) == []
    again = asked("x", tries=2, keyed=False)
    assert resolutions([create(), again, change("b", 4, 4)], ("b", 4)) == ["done"]
    assert resolutions([create(), again, change("b", 4, 3)], ("b", 3)) == ["cannot tell"]


def test_a_conditional_change_without_answer() -> None:
    """Its version tells, where nothing else can have made it."""
    late = change("c", 6, 3)
    one, other = asked("x", expected=1), asked("y", expected=1)
    assert resolutions([create(), one, late], ("c", 3)) == ["done"]
    assert resolutions([create(), one], ("a", 1)) == ["not done"]
    assert resolutions([create(), one, other, late], ("c", 3)) == ["cannot tell"] * 2
    assert resolutions([create(), one, change("b", 4, 2), late], ("c", 3)) == ["not done"]
    assert resolutions([create(), one, asked("z"), late], ("c", 3)) == ["cannot tell"] * 2
    assert resolutions([create(), one, local(change("b", 4, 2)), late], ("c", 3)) == ["cannot tell"]
    assert resolutions([create(), asked("x", expected=2)], ("a", 2)) == ["not done"]
    assert resolutions([create(), one, other], ("x", 2)) == ["done", "cannot tell"]
    same = [create(), one, asked("x", expected=7)]
    assert resolutions(same, ("x", 2)) == ["done", "not done"]


def test_a_creation_without_answer() -> None:
    """It is done if there is anything that needs it."""
    asked_for = cases.unknown(create())
    assert resolutions([asked_for], ("a", 1)) == ["done"]
    assert resolutions([asked_for]) == ["not done"]
    assert resolutions([asked_for, asked("b")], ("b", 2)) == ["done"] * 2
    assert resolutions([asked_for, change("b", 2, 2)], ("b", 2)) == ["done"]
    assert resolutions([asked_for, local(change("b", 2, 2))]) == ["done"]
    assert resolutions([asked_for, create("b", 2)], ("b", 1)) == ["not done"]
    two = [asked_for, cases.unknown(create("b", 2)), change("c", 4, 2)]
    assert resolutions(two, ("c", 2)) == ["cannot tell"] * 2


def test_writes_that_failed_are_not_unknown() -> None:
    """Also those whose tries before the last may have had an effect."""
    repeated = held(change("x", 2, tries=2, keyed=False))
    assert resolutions([create(), repeated, asked("y")], ("y", 2)) == ["done"]
    assert verdict([create(), repeated], ("a", 1)).resolved == {}


# ---------------------------------------------------------------- what is said, and counted
def test_operations_are_described() -> None:
    """What was asked, what was answered, and when."""
    when = " (sent at 2.000 s, over at 3.000 s)"
    assert described(change("b", 2, 2, expected=1)) == (
        f"change of version 1 to 'b' answered 200 as version 2{when}"
    )
    assert described(OPEN) == f"change to 'x' without answer ReadTimeout{when}"
    assert described(read(None, 2, None, status=404)) == f"read as not there{when}"
    assert described(read("b", 2, 2)) == f"read as 'b', version 2{when}"


def test_findings_are_of_their_entity_and_counted_by_rule() -> None:
    """What is lost as warned is none of them; reads are not counted as acknowledged writes."""
    warned = replace(local(change("c", 4, 3)))
    judged = verdict([*TWO, warned, read("b", 6, 2)], ("a", 1))
    assert judged.broken == {Rule.LOST: 1}
    assert [each.entity for each in judged.of(Rule.LOST)] == [USER]
    assert [each.entity for each in judged.of(Rule.LOST_AS_WARNED)] == [USER]
    assert judged.lost_as_warned == tuple(judged.of(Rule.LOST_AS_WARNED))
    assert judged.of(Rule.TWICE) == []
    assert judged.acknowledged == 3
    assert judged.resolved[Resolution.DONE] == 0
