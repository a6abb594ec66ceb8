"""Points in the database's history: what a user says, and what pgBackRest is told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ops.console import StackError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.backups.repository import Backup

LATEST = "latest"
NAME = re.compile(r"[a-z][a-z0-9-]{0,49}")
"""Of a mark: no time, no LSN, and with its moment no more than PostgreSQL takes (63 bytes)."""

_LSN = re.compile(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}")


@dataclass(frozen=True)
class Target:
    """A point in the database's history, as pgBackRest is told of it."""

    kind: str  # its `--type`: default (all there is), time, lsn or name
    value: str = ""
    label: str = ""  # of the backup to begin with

    @property
    def words(self) -> tuple[str, ...]:
        """What the image's entry points take."""
        return (self.kind, self.value, self.label)


def find(text: str, found: list[Backup]) -> Target:
    """Return the target for `latest`, a mark, an LSN, or a time (ISO 8601).

    A time without an offset is UTC. `found`: the backups that may be begun with. Raises StackError
    where the target cannot be restored from these.
    """
    if not found:
        raise StackError(
            "There is no backup of the database's history as it is now. One takes itself within a "
            "minute or two; `./holdfast backup run --full` takes one at once."
        )
    for backup in found:
        for mark in backup.marks:
            if mark.name == text:
                return Target("name", mark.point, backup.label)
    kind, value, covers = _read(text)
    before = [each for each in found if covers(each)]
    if not before:
        oldest = min(found, key=lambda each: each.ended)
        ended = datetime.fromtimestamp(oldest.ended, UTC)
        raise StackError(f"The oldest backup is of {ended:%Y-%m-%d %H:%M:%S} UTC, {oldest.lsn}.")
    return Target(kind, value, max(before, key=lambda each: each.ended).label)


def _read(text: str) -> tuple[str, str, Callable[[Backup], bool]]:
    """Return pgBackRest's type and value, and what tells whether a backup is from before that."""
    if text == LATEST:
        return "default", "", lambda _: True
    if _LSN.fullmatch(text):
        return "lsn", text.upper(), lambda each: position(each.lsn) <= position(text)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise StackError(
            f"'{text}' is no point in time: say `latest`, a mark that `./holdfast backup list` "
            "has, an LSN such as 0/5000148, or a time such as 2026-11-28T09:30:00Z (without Z or "
            "an offset it is UTC)."
        ) from None
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    if when > datetime.now(UTC):
        raise StackError(f"{when:%Y-%m-%d %H:%M:%S} UTC is yet to come.")
    # pgBackRest has the moment of a backup's end in whole seconds.
    seconds = when.replace(microsecond=0).timestamp()
    return "time", f"{when:%Y-%m-%d %H:%M:%S.%f}+00", lambda each: each.ended < seconds


def position(lsn: str) -> int:
    """Return an LSN as the number of bytes that it is (PostgreSQL, pg_lsn)."""
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16)
