"""What a restored database has to have: a history as it was, and the rows that are there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ops.drills.history import History
from ops.drills.result import judge_all
from ops.drills.session import rows
from ops.load.operation import Kind, Operation, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ops.drills.result import Judged
    from ops.load.run import Result


@dataclass(frozen=True)
class Found:
    """The verdict on a database, and how much of what was acknowledged it lacks."""

    judged: Judged
    lost_seconds: float  # of acknowledged writes (RPO): from the first that is missing to the last


def as_it_was(operations: Iterable[Operation], at: float) -> list[Operation]:
    """Return what a client knew at a moment, in seconds after its load's start.

    What it had no answer to by then may have happened or not; what it sent later has not.
    """
    known = []
    for each in operations:
        if each.completed <= at:
            known.append(each)
        elif each.sent < at and each.kind is not Kind.READ:
            known.append(_unanswered(each, at))
    return known


def _unanswered(one: Operation, at: float) -> Operation:
    if one.outcome is Outcome.FAILED:  # nothing was changed, then or later
        return replace(one, completed=at)
    return replace(
        one,
        completed=at,
        outcome=Outcome.UNKNOWN,
        status=None,
        version=None,
        tag=None,
        found=None,
    )


def judge(results: Mapping[str, Result], where: str, at: float | None = None) -> Found:
    """Judge what a container's database has by what each client knew at `at`, in Unix time.

    None: by all of it. Raises StackError when it does not answer.
    """
    histories = []
    lost = 0.0
    for result in results.values():
        known = result.operations
        if at is not None:
            known = as_it_was(known, at - result.started)
        there = rows(result.plan.prefix, where)
        histories.append(History(known, there, result.started, alone=True))
        lost = max(lost, _lost_seconds(known, {row.entity for row in there}))
    return Found(judge_all(histories), round(lost, 1))


def _lost_seconds(known: Iterable[Operation], there: set[str]) -> float:
    """Return the seconds from the first acknowledged creation that is missing to the last write."""
    done = [each for each in known if each.outcome is Outcome.OK and each.kind is not Kind.READ]
    missing = [
        each.completed for each in done if each.kind is Kind.CREATE and each.entity not in there
    ]
    return max(each.completed for each in done) - min(missing) if missing else 0.0
