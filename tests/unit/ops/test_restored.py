"""ops.drills.restored: what a restored database has to have, and what it must not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ops.drills import restored
from ops.drills.history import Row
from ops.load.operation import Kind, Operation, Outcome
from ops.load.plan import Plan
from ops.load.run import Result

if TYPE_CHECKING:
    from collections.abc import Sequence

MOMENT = 10.0
"""Seconds after the load's start."""


def create(entity: str, sent: float, completed: float, outcome: Outcome = Outcome.OK) -> Operation:
    """Return a creation, and what its client was told."""
    done = outcome is Outcome.OK
    return Operation(
        Kind.CREATE, entity, sent, sent, completed, outcome,
        value=f"{entity}-1", version=1 if done else None, tag="1-x" if done else None,
    )  # fmt: skip


BEFORE = create("before", 8.0, 9.0)
MIDWAY = create("midway", 9.9, 10.1)
REFUSED = create("refused", 9.9, 10.1, Outcome.FAILED)
AFTER = create("after", 10.2, 10.3)
READ = Operation(Kind.READ, "before", 9.9, 9.9, 10.1, Outcome.OK, value="before-1", version=1)


def test_what_a_client_knew_at_a_moment() -> None:
    """Answers until then; what was under way may have happened; what was refused has not."""
    known = restored.as_it_was([BEFORE, MIDWAY, REFUSED, AFTER, READ], MOMENT)
    assert known[0] is BEFORE
    assert (known[1].outcome, known[1].version, known[1].tag) == (Outcome.UNKNOWN, None, None)
    assert known[2] == replace(REFUSED, completed=MOMENT)
    assert [each.entity for each in known] == ["before", "midway", "refused"]


def found(there: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> restored.Found:
    """Judge a database that has these users."""
    rows = [Row(each, f"{each}-1", 1) for each in there]
    monkeypatch.setattr(restored, "rows", lambda _, __: rows)
    operations = [BEFORE, MIDWAY, REFUSED, AFTER]
    result = Result(Plan(), 1000.0, 20.0, operations, [], [], [])
    return restored.judge({"one": result}, "scratch", 1000.0 + MOMENT)


@pytest.mark.parametrize("there", [["before"], ["before", "midway"]])
def test_all_that_has_to_be_there(there: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was under way may be there."""
    one = found(there, monkeypatch)
    assert one.judged.ok
    assert one.lost_seconds == 0.0


@pytest.mark.parametrize("there", [["before", "after"], ["before", "refused"]])
def test_what_must_not_be_there(there: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent later, and what was refused."""
    assert not found(there, monkeypatch).judged.ok


def test_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Acknowledged before the moment, and not there."""
    assert found([], monkeypatch).judged.lost == 1


def test_seconds_that_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first creation that is missing to the last write that was acknowledged."""
    rows = [Row("before", "before-1", 1)]
    monkeypatch.setattr(restored, "rows", lambda _, __: rows)
    later = create("later", 12.0, 12.5)
    result = Result(Plan(), 1000.0, 20.0, [BEFORE, AFTER, later], [], [], [])
    one = restored.judge({"one": result}, "scratch")
    assert one.lost_seconds == pytest.approx(12.5 - 10.3, abs=0.05)
    assert one.judged.lost == 2
