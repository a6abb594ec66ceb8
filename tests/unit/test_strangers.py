"""The checker's rule about strangers: what it takes for evidence, and what it does not."""

# ruff: noqa: S311 - a simulated history has no secrets

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from ops.drills.checker import judge
from ops.drills.history import History, Row
from ops.drills.verdict import Rule
from ops.load.operation import Kind, Operation, Outcome
from tests.unit.defects import NAME, Life, lost_version_changed, operation, stranger_changed
from tests.unit.histories import CHANGED, World

WORLDS = 200


def created(tag: str, *, durable: bool = True) -> Operation:
    """A creation with its tag."""
    return replace(operation(Kind.CREATE, 1, version=1), tag=tag, durable=durable)


def changed(at: float, condition: str, value: str, tag: str) -> Operation:
    """A change of version 1 that succeeds."""
    made = operation(Kind.CHANGE, at, version=2, expected=1)
    return replace(made, condition=condition, value=value, tag=tag)


def test_a_stranger_is_named_with_who_came_for_somebody_else() -> None:
    """The finding is the victim's, and says whom the change was sent to."""
    life = Life(Random(1))
    stranger_changed(life)
    (found,) = judge(History(life.operations, life.rows)).findings
    assert (found.rule, found.entity) == (Rule.STRANGER, NAME)
    assert "sent to gone, which it was not any more" in found.sentence


def test_an_id_that_was_given_again_may_be_changed_by_whoever_asks_no_condition() -> None:
    """Without If-Match a change is for whoever has the id."""
    life = Life(Random(1))
    stranger_changed(life)
    life.more[1] = replace(life.more[1], condition=None, expected=None)
    assert judge(History(life.operations, life.rows)).ok


@pytest.mark.parametrize("durable", [True, False])
def test_a_version_is_known_by_its_tag_not_by_its_number(*, durable: bool) -> None:
    """Also where the change is lost again, as long as what it changed was there before it."""
    life = Life(Random(1))
    lost_version_changed(life)
    last = life.last
    life.writes[last] = replace(life.writes[last], durable=durable)
    (found,) = judge(History(life.operations, life.rows)).findings
    assert found.rule is Rule.STRANGER
    assert "tag lost is not that of" in found.sentence


def test_what_was_lost_with_its_base_is_no_stranger() -> None:
    """Both were on a primary that went; the version was made again while the change was in hand."""
    lost, again = created("1-a", durable=False), replace(created("1-b"), sent=30, completed=31)
    change = replace(changed(2, "1-a", "v2", "2-a"), durable=False)
    verdict = judge(History([lost, change, again], [Row(NAME, "v1", 1)]))
    assert verdict.ok
    # Controls: where the change stands, or its base was acknowledged before it, both were there.
    stands = replace(change, durable=True)
    verdict = judge(History([lost, stands, again], [Row(NAME, "v2", 2)]))
    assert verdict.broken == {Rule.STRANGER: 1}
    for sent, broken in ((31, {Rule.STRANGER: 1}), (30.9, {})):
        later = replace(change, sent=sent, completed=32)
        verdict = judge(History([lost, later, again], [Row(NAME, "v1", 1)]))
        assert verdict.broken == broken


def test_a_tag_of_what_was_lost_may_be_refused() -> None:
    """412 is right, though the version of that number is there, and none has made a later one."""
    lost, again = created("1-a", durable=False), created("1-b")
    refused = changed(20, "1-a", "v2", "")
    outcome, status, error = CHANGED
    refused = replace(refused, outcome=outcome, status=status, error=error, version=None, tag=None)
    assert judge(History([lost, again, refused], [Row(NAME, "v1", 1)])).ok
    # Control: for the version that is there, nothing but its own effect can have refused it.
    own = replace(refused, condition="1-b")
    verdict = judge(History([lost, again, own], [Row(NAME, "v1", 1)]))
    assert verdict.broken == {Rule.TWICE: 1}


def test_a_change_without_answer_may_have_been_refused() -> None:
    """For a version that was lost, while the one that is there has another tag."""
    lost, again = created("1-a", durable=False), created("1-b")
    asked = changed(20, "1-a", "v2", "")
    asked = replace(asked, outcome=Outcome.UNKNOWN, status=None, version=None, tag=None)
    assert judge(History([lost, again, asked], [Row(NAME, "v1", 1)])).ok


def test_a_history_of_before_has_no_tags() -> None:
    """Nothing can be said then."""
    writes = [created("1-a"), changed(2, "1-a", "v2", "2-a")]
    bare = [replace(each, tag=None, condition=None) for each in writes]
    for one in (writes, bare, [writes[0], bare[1]], [bare[0], writes[1]]):
        assert judge(History(one, [Row(NAME, "v2", 2)])).ok


def test_a_tag_is_evidence_against_another_tag_only() -> None:
    """A refusal without one, or of a version without one, is of the version by its number."""
    outcome, status, error = CHANGED
    refused = replace(changed(20, "1-a", "v2", ""), outcome=outcome, status=status, error=error)
    refused = replace(refused, version=None, tag=None)
    known, unsaid = created("1-a"), replace(created(""), tag=None)
    for base, condition in ((known, "1-a"), (known, None), (unsaid, "1-a"), (unsaid, None)):
        operations = [base, replace(refused, condition=condition)]
        verdict = judge(History(operations, [Row(NAME, "v1", 1)]))
        assert verdict.broken == {Rule.TWICE: 1}


def test_a_change_for_a_version_that_was_not_named_has_no_base() -> None:
    """Its client knows the tag alone: that is not to be compared with any other version's."""
    second = changed(2, "1-a", "v2", "2-a")
    third = replace(changed(4, "2-a", "v3", "3-a"), expected=None, version=3)
    assert judge(History([created("1-a"), second, third], [Row(NAME, "v3", 3)])).ok


def test_numbers_as_tags_are_found_out() -> None:
    """A service whose tags a later history repeats has strangers, and no other defect."""
    found = [
        finding.rule
        for seed in range(WORLDS)
        for finding in judge(World(Random(seed), 200, 3, loss=True, revisions=False).run()).findings
    ]
    assert set(found) == {Rule.STRANGER}
