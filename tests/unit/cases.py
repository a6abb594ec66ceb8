"""Short histories of one user, written out: what is legal by a hair, and what is not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ops.drills.checker import judge
from ops.drills.history import History, Row
from ops.load.operation import Kind, Operation, Outcome
from tests.unit.histories import CHANGED, HELD, LEFT

if TYPE_CHECKING:
    from ops.drills.verdict import Finding, Verdict

USER = "u"
AGES = 10**6  # a time when everything else is over


def create(value: str = "a", at: float = 0, **more: object) -> Operation:
    """A creation that took a second."""
    return _one(Kind.CREATE, value, at, {"version": 1, "status": 201} | more)


def change(value: str, at: float, version: int | None = None, **more: object) -> Operation:
    """A change that took a second."""
    return _one(Kind.CHANGE, value, at, {"version": version, "status": 200} | more)


def read(value: str | None, at: float, version: int | None, **more: object) -> Operation:
    """A read that took a second."""
    return _one(Kind.READ, value, at, {"version": version, "status": 200} | more)


def _one(kind: Kind, value: str | None, at: float, more: dict[str, object]) -> Operation:
    plain = Operation(kind, USER, at, at, at + 1, Outcome.OK, value=value)
    return replace(plain, **more)  # type: ignore[arg-type]


def unknown(write: Operation) -> Operation:
    """Let a write have no answer."""
    return ended(write, LEFT)


def held(write: Operation) -> Operation:
    """Let a write fail without effect, as its answer says."""
    return ended(write, HELD)


def changed(write: Operation) -> Operation:
    """Let a conditional write be refused."""
    return ended(write, CHANGED)


def ended(write: Operation, result: tuple[Outcome, int | None, str]) -> Operation:
    """Let a write have another answer, or none."""
    outcome, status, error = result
    return replace(write, outcome=outcome, status=status, error=error, version=None)


def local(write: Operation) -> Operation:
    """Let a write's answer say `Durability: local`."""
    return replace(write, durable=False)


def while_alone() -> Operation:
    """A write of another user, made while the primary was without a standby."""
    return replace(local(create()), entity="another")


ANOTHER = Row("another", "a", 1)


def verdict(operations: list[Operation], *rows: tuple[str, int], alone: bool = False) -> Verdict:
    """Judge it: the rows that there are in the end are values and versions."""
    others = [ANOTHER] if any(each.entity == ANOTHER.entity for each in operations) else []
    final = [*others, *(Row(USER, *row) for row in rows)]
    return judge(History(operations, final, alone=alone))


def found(
    operations: list[Operation], *rows: tuple[str, int], alone: bool = False
) -> list[Finding]:
    """Return the defects."""
    return list(verdict(operations, *rows, alone=alone).findings)


def broken(operations: list[Operation], *rows: tuple[str, int], alone: bool = False) -> list[str]:
    """Return the rules that are broken, each as often as it is."""
    return [finding.rule.value for finding in found(operations, *rows, alone=alone)]
