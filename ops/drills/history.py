"""Everything a drill leaves behind, so that it can be judged now and judged again later.

The file is JSON lines: a header, the operations, the rows of the end. The header counts what
follows, so a file that was cut off is not taken for a history in which less happened.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from itertools import islice
from typing import TYPE_CHECKING, Any

from ops.load.operation import Kind, Operation, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT = 1
"""Grows when a file of before can no longer be read as if it were of now."""

_FIELDS = [field.name for field in fields(Operation)]


class HistoryError(Exception):
    """A file that is not a whole history of this format."""


@dataclass(frozen=True, slots=True)
class Row:
    """One entity in the primary's database after the drill."""

    entity: str
    value: str
    version: int


@dataclass(frozen=True, slots=True)
class History:
    """All operations of a load's processes, in any order, and what was there in the end.

    Every write to the entities has to be among the operations, those that prepared the load and
    those that were in flight when it ended included: what is missing looks like a defect.
    """

    operations: list[Operation]
    final: list[Row]  # a list: a broken database may have an entity twice
    began: float = 0.0  # the load's start, in seconds of Unix time
    alone: bool = False  # the monitor does not rule out that the primary had no standby meanwhile


def save(history: History, path: Path) -> None:
    """Write a history to a file."""
    header = {
        "format": FORMAT,
        "began": history.began,
        "operations": len(history.operations),
        "rows": len(history.final),
        "alone": history.alone,
    }
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(header) + "\n")
        for each in history.operations:
            file.write(json.dumps({name: getattr(each, name) for name in _FIELDS}) + "\n")
        for row in history.final:
            file.write(json.dumps([row.entity, row.value, row.version]) + "\n")


def load(path: Path) -> History:
    """Read a history from a file. Raises HistoryError when it is not one, or not all of it."""
    with path.open(encoding="utf-8") as file:
        try:
            return _read(json.loads(line) for line in file)
        except (ValueError, KeyError, TypeError, StopIteration) as error:
            raise HistoryError(f"{path} is not a whole history: {error!r}") from error


def _read(lines: Iterator[Any]) -> History:
    header = next(lines)
    if header["format"] != FORMAT:
        raise HistoryError(f"format {header['format']} is not {FORMAT}")
    operations = [_operation(each) for each in islice(lines, header["operations"])]
    final = [Row(*each) for each in lines]
    if (len(operations), len(final)) != (header["operations"], header["rows"]):
        raise HistoryError("the file ends before its history does")
    # A file of before does not say. What nobody rules out is not a defect.
    return History(operations, final, header["began"], header.get("alone", True))


def _operation(line: dict[str, Any]) -> Operation:
    kind, outcome = Kind(line.pop("kind")), Outcome(line.pop("outcome"))
    return Operation(kind=kind, outcome=outcome, **line)
