"""The checker is right in both directions: nothing is found in what is legal, each defect is."""

# ruff: noqa: S311 - a simulated history has no secrets

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.drills import checker, rules, unknown
from ops.drills.checker import judge
from ops.drills.history import History, HistoryError, Row, load, save
from ops.drills.verdict import Resolution, Rule
from ops.load.operation import Kind, Outcome
from tests.unit.defects import DEFECTS, NAME, Life, operation, step_too_long
from tests.unit.histories import World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RANDOMS = st.integers(0, 2**32).map(Random)


def simulated(random: Random, *, loss: bool, names: int = 10**9) -> World:
    """A world of a random size."""
    return World(random, random.randint(1, 300), random.randint(1, 5), loss=loss, names=names)


def among_others(life: Life, random: Random) -> History:
    """One user's life in a legal history of others."""
    others = simulated(random, loss=random.random() < 0.5).run()
    operations = [*others.operations, *life.operations]
    random.shuffle(operations)
    return replace(others, operations=operations, final=[*others.final, *life.rows])


@given(RANDOMS, st.booleans(), st.sampled_from([3, 10**9]))
def test_nothing_is_found_in_a_legal_history(random: Random, loss: bool, names: int) -> None:
    """Whatever overlaps, comes late, is tried again or is lost as its answer had warned."""
    history = simulated(random, loss=loss, names=names).run()
    assert [found.sentence for found in judge(history).findings] == []


@given(RANDOMS)
def test_nothing_is_found_in_a_life_without_a_defect(random: Random) -> None:
    """What defects are planted in is legal itself."""
    assert judge(among_others(Life(random), random)).ok


def test_a_primary_that_was_alone_may_have_left_no_answer_that_says_so() -> None:
    """A draw that was judged wrong: all writes that it answered as durable, and one was lost."""
    random = Random(1965)
    history = among_others(Life(random), random)
    assert history.alone
    assert all(each.durable for each in history.operations)
    assert judge(history).ok
    assert judge(replace(history, alone=False)).broken == {Rule.TWICE: 1}


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
@given(random=RANDOMS)
def test_a_defect_breaks_its_rule_and_no_other(
    defect: Callable[[Life], None], random: Random
) -> None:
    """Each finding is of the rule, and of the user in whose life the defect is."""
    life = Life(random)
    defect(life)
    verdict = judge(among_others(life, random))
    assert {(found.rule, found.entity) for found in verdict.findings} == {
        (DEFECTS[defect][0], NAME)
    }
    assert not verdict.ok


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_without_its_check_a_defect_is_not_found(
    defect: Callable[[Life], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No check stands in for another, so each that breaks makes a test fail."""
    others = tuple(check for check in checker.CHECKS if check is not DEFECTS[defect][1])
    assert len(others) == len(checker.CHECKS) - 1
    monkeypatch.setattr(checker, "CHECKS", others)
    life = Life(Random(1))
    defect(life)
    assert judge(History(life.operations, life.rows)).ok


def test_every_check_has_a_defect() -> None:
    """No check is there that no planted defect needs; two have tests of their own."""
    needed = {check for _, check in DEFECTS.values()}
    assert set(checker.CHECKS) - needed == {rules.lost_as_warned, rules.wrong_steps}


@given(RANDOMS)
def test_a_conditional_change_leads_to_the_next_version(random: Random) -> None:
    """Two checks find one that was applied twice; the answer alone is enough."""
    life = Life(random)
    step_too_long(life)
    verdict = judge(among_others(life, random))
    assert set(verdict.broken) == {Rule.TWICE}
    assert any("to change version" in found.sentence for found in verdict.findings)


@given(RANDOMS)
def test_what_was_lost_as_its_answer_warned_is_no_defect(random: Random) -> None:
    """It is counted by itself, also where its version was made again by another change."""
    life = Life(random)
    life.writes[life.last] = replace(life.writes[life.last], durable=False)
    life.rows = [Row(NAME, f"v{life.last - 1}", life.last - 1)]
    again = replace(operation(Kind.CHANGE, 50, version=life.last), value="again")
    for verdict in (
        judge(History(life.operations, life.rows)),
        judge(History([*life.operations, again], [Row(NAME, "again", life.last)])),
    ):
        assert verdict.ok
        assert [found.operations for found in verdict.of(Rule.LOST_AS_WARNED)] == [
            (life.writes[life.last],)
        ]


@given(RANDOMS, st.booleans())
def test_unknown_outcomes_are_resolved_as_it_was(random: Random, loss: bool) -> None:
    """What is said to be done was; what is said not to be done left nothing."""
    world = simulated(random, loss=loss)
    history = world.run()
    left = {value for past in world.states.values() for value in past}
    said = [each for one in checker.entities(history) for each in unknown.resolved(one)]
    for write, resolution in said:
        assert write.outcome is Outcome.UNKNOWN
        assert write.value is not None
        if resolution is Resolution.DONE:
            assert write.value in world.applied
        if resolution is Resolution.NOT_DONE:
            assert write.value not in left
    verdict = judge(history)
    assert sum(verdict.resolved.values()) == len(said)


@pytest.mark.parametrize(
    ("version", "seen", "resolution"),
    [
        (4, True, Resolution.DONE),
        (4, False, Resolution.DONE),
        (3, False, Resolution.NOT_DONE),
    ],
)
def test_a_change_without_answer_is_done_if_its_version_is_there(
    version: int, seen: bool, resolution: Resolution
) -> None:
    """Also where its value was overwritten, as nothing else can have made the version."""
    life = Life(Random(1))
    change = operation(Kind.CHANGE, 4, version=4)
    change = replace(change, outcome=Outcome.UNKNOWN, status=None, version=None)
    life.writes = {each: life.writes[each] for each in (1, 2, 3)} | {4: change}
    life.reads = {4: life.reads[4]} if seen else {}
    value = "v4" if version == 4 else "v3"
    verdict = judge(History(life.operations, [Row(NAME, value, version)]))
    assert verdict.ok
    assert verdict.resolved == {resolution: 1}


def test_a_verdict_counts_what_it_judged() -> None:
    """Operations by kind and outcome, and the acknowledged writes."""
    life = Life(Random(1))
    verdict = judge(History(life.operations, life.rows))
    assert verdict.acknowledged == life.last
    assert verdict.operations == {
        (Kind.CREATE, Outcome.OK): 1,
        (Kind.CHANGE, Outcome.OK): life.last - 1,
        (Kind.READ, Outcome.OK): life.last,
    }


def test_a_finding_says_what_happened_and_when() -> None:
    """Somebody who reads it needs no other file."""
    life = Life(Random(1))
    life.rows = []
    sentence = judge(History(life.operations, life.rows)).findings[0].sentence
    assert sentence == (
        "creation to 'v1' answered 200 as version 1 (sent at 10.000 s, over at 11.000 s), "
        "but in the end there was no row"
    )


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    """All of it, or an error: what is cut off is no shorter history."""
    path = tmp_path / "history.jsonl"
    for loss in (False, True):
        history = replace(simulated(Random(1), loss=loss).run(), began=1.5)
        save(history, path)
        assert load(path) == history
    lines = path.read_text().splitlines(keepends=True)
    for cut in (0, 1, 5, len(lines) - 1):
        path.write_text("".join(lines[:cut]))
        with pytest.raises(HistoryError):
            load(path)
    path.write_text(lines[0].replace('"format": 1', '"format": 2'))
    with pytest.raises(HistoryError, match="format 2"):
        load(path)
