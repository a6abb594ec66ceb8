"""Negative controls of the backups: without what they rest on, a restore has to be found wanting.

Each restores a copy beside the stack, and leaves that as it was.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ops import cluster, names
from ops.backups import points, repository, scratch
from ops.console import StackError
from ops.drills.controls import Control, summary
from ops.drills.recoveries import LOAD, SUPERUSER, await_full, iso, loaded
from ops.drills.restored import judge
from ops.drills.session import Session
from ops.drills.stage import docker

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.load.plan import Plan

EARLY = 2.0
"""Seconds by which a moment is wrong."""

PRETEND = "ALTER SYSTEM SET archive_command = 'true'"
"""Says that a segment is archived, and does nothing."""

AS_BEFORE = "ALTER SYSTEM RESET archive_command"
RELOAD = "SELECT pg_reload_conf()"

NEWEST = """cd /var/lib/pgbackrest/backup/holdfast && cd "$(ls -d *F | tail -n 1)"/bundle
file=$(find . -type f -size +64k | sort | head -n 1)"""
DAMAGE = f"""{NEWEST}
dd if=$file of=/tmp/kept bs=1 skip=2000 count=6 status=none
printf damage | dd of=$file bs=1 seek=2000 conv=notrunc status=none"""
UNDO = f"""{NEWEST}
dd if=/tmp/kept of=$file bs=1 seek=2000 conv=notrunc status=none"""


def without_archiving(plan: Plan) -> Control:
    """Pretend to archive: what was acknowledged since the last backup is not in the copy."""
    primary = names.container(cluster.find_primary() or cluster.NODES[0])
    try:
        _sql(primary, PRETEND, RELOAD)
        with Session(plan) as session:
            time.sleep(LOAD)
            results = session.stop()
        shown = _missing(points.LATEST, lambda copy: judge(results, copy).judged.lost)
    finally:
        _sql(primary, AS_BEFORE, RELOAD)
        await_full(time.time())
    return Control("without-archiving", summary(without_archiving), shown, wanted=True)


def at_a_wrong_time(plan: Plan) -> Control:
    """Restore to a moment before the one that was meant: what came between is missing."""
    _, results, moment = loaded(plan)
    early = iso(moment - EARLY)
    shown = _missing(early, lambda copy: judge(results, copy, moment).judged.lost)
    return Control("at-a-wrong-time", summary(at_a_wrong_time), shown, wanted=True)


def of_a_damaged_backup(_: Plan) -> Control:
    """Six bytes of the newest full backup are wrong: its copy is refused, or found unsound."""
    there = repository.container()
    docker("exec", there, "sh", "-c", DAMAGE)
    try:
        shown = 0 if scratch.verify(names.secrets(names.ROOT), lambda _: None) else 1
    except StackError:
        shown = 1
    finally:
        docker("exec", there, "sh", "-c", UNDO)
    return Control("of-a-damaged-backup", summary(of_a_damaged_backup), shown, wanted=True)


def _missing(to: str, count: Callable[[str], int]) -> int:
    """Restore a copy, and count what it lacks."""
    try:
        return count(scratch.make(to, names.secrets(names.ROOT), lambda _: None))
    finally:
        scratch.remove()


def _sql(container: str, *statements: str) -> None:
    docker("exec", container, *SUPERUSER, *(word for each in statements for word in ("-c", each)))


CONTROLS: tuple[Callable[[Plan], Control], ...] = (
    without_archiving,
    at_a_wrong_time,
    of_a_damaged_backup,
)
"""All of them, in order."""
