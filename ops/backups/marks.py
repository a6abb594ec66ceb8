"""Names for points in the database's history: before a migration, before something that is risky.

A mark is a restore point in the WAL, and an annotation of the newest backup, with which it goes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ops import cluster, names
from ops.backups import archiving, histories, points, repository
from ops.backups.repository import Mark
from ops.console import StackError, result

if TYPE_CHECKING:
    from pathlib import Path

RESTORE_POINT = "SELECT pg_create_restore_point('{}')"
"""Writes the name into the WAL, and says where."""

BRIEF = 30.0
"""Seconds that `make up` waits for a backup to be done, to set its mark."""

SCHEMA = "SELECT version_num FROM alembic_version"


def before_migrating(migrations: Path) -> None:
    """Mark a running stack's database before it gets a later version; say so, or why not.

    `migrations`: the folder of them, whose names begin with their versions.
    """
    versions = (each.name.partition("_")[0] for each in migrations.glob("[0-9]*.py"))
    newest = max(versions, default="")
    primary = cluster.find_primary()
    now = cluster.query(primary, SCHEMA, "holdfast").strip() if primary else ""
    if not now or now == newest:
        return
    name = f"before-{newest}"
    try:
        result("Mark", f"{make(name, BRIEF).name}, to restore to")
    except StackError as error:
        result("Mark", f"no new {name}: {error}")


def make(name: str, limit: float = repository.TAKEN_LIMIT) -> Mark:
    """Give the point in the database's history that is now a name, and return it.

    It is kept with the newest backup, and goes with it. `limit`: seconds for a backup that is being
    taken to be done. Raises StackError.
    """
    if not points.NAME.fullmatch(name) or name == points.LATEST:
        raise StackError(
            f"'{name}' is no name for a mark: say a small letter first, then small letters, "
            "digits and dashes, 50 at most."
        )
    if any(each.name == name for backup in repository.backups() for each in backup.marks):
        raise StackError(f"There is a mark {name} already; choose another name.")
    found = histories.usable()
    if not found:
        raise StackError("There is no backup yet; `./holdfast backup run` takes one.")
    made = _point(name)
    newest = max(found, key=lambda each: each.ended).label
    said = f"--annotation={repository.MARK}{name}={made.lsn} {made.at}"
    annotate = (*repository.PGBACKREST, "annotate", f"--set={newest}", said)
    deadline = time.monotonic() + limit
    while True:  # not while a backup is being taken
        try:
            cluster.docker("exec", repository.container(), *annotate)
        except StackError as error:
            if "lock" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(archiving.POLL)
        else:
            return made


def _point(name: str) -> Mark:
    """Write a restore point into the WAL."""
    made = Mark(name, "", int(time.time()))
    primary = cluster.find_primary()
    write = RESTORE_POINT.format(made.point)
    lsn = cluster.query(primary, write).strip() if primary else ""
    if not lsn:
        raise StackError(f"No node accepts writes; `{names.command('./holdfast status')}`.")
    return Mark(name, lsn, made.at)
