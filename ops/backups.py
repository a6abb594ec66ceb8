"""The repository of backups: what is in it, as pgBackRest says; what is done there, by pgBackRest.

Times are Unix times in seconds, sizes bytes.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops import cluster, names
from ops.console import StackError, result

STANZA = "holdfast"
PGBACKREST = ("pgbackrest", "--config=/tmp/pgbackrest.conf", f"--stanza={STANZA}")
INFO = (*PGBACKREST, "info", "--output=json")
FAILED = "/tmp/failed"  # noqa: S108 - the container's
"""Where the repository says what kind of backup failed last."""

VERIFIED = "/var/lib/pgbackrest/verified"
"""Where the repository keeps when a copy was found sound last, in Unix time."""

DIFF_HOURS = 24
"""Hours from one backup to the next where nothing is said (deploy/compose/compose.yaml)."""

ARCHIVED_LIMIT = 60.0
"""Seconds for all of the WAL that there is to be archived."""

NUDGE = 3
"""Seconds between two words to the archiver."""

ARCHIVER_PROCESS = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'archiver'"

POLL = 0.5

ARCHIVER = "SELECT to_json(archiver) FROM pg_stat_archiver AS archiver"
END_SEGMENT = ("SELECT pg_current_xact_id()", "SELECT pg_walfile_name(pg_switch_wal() - 1)")
"""Ends the segment that is being written, and says its name. Not before a commit of now is in it: a
recovery to a moment needs one that is later, to know that it has come far enough."""

PSQL = ("psql", "--no-psqlrc", "-qAt", "-d", "postgres", "-c")


@dataclass(frozen=True)
class Backup:
    """One backup."""

    label: str  # pgBackRest's name of it
    kind: str  # full, diff or incr
    began: float
    ended: float  # it can be restored to any later second, and position
    lsn: str  # of its end
    size: int  # of the database
    stored: int  # what it takes in the repository, without what it shares with others
    sound: bool  # no page with a wrong checksum was found


@dataclass(frozen=True)
class Reach:
    """How far the repository reaches, and whether it keeps up."""

    first: float | None  # the oldest moment that can be restored; None: no backup yet
    newest: float | None  # when the newest backup was done
    archived: float | None  # when the primary archived last; None: nobody says
    archives: bool  # the primary's last attempt to archive did not fail
    failed: str  # the kind of backup that failed last, if none was taken since
    verified: float | None = None  # when a copy was restored and found sound last

    @property
    def late(self) -> bool:
        """Whether a backup that was due has not come: in as long again."""
        hours = int(os.environ.get("BACKUP_DIFF_HOURS") or DIFF_HOURS)
        return self.newest is not None and time.time() - self.newest > 2 * 3600 * hours


def container() -> str:
    """Return the repository's container. Raises StackError where the stack has none."""
    there_are = {each.name: each.state for each in cluster.containers()}
    state = there_are.get(cluster.REPOSITORY)
    if state is None:
        up = names.command("BACKUP=yes make up")
        raise StackError(f"The stack has no repository of backups; `{up}` makes one.")
    if state != "running":
        start = names.start(cluster.REPOSITORY)
        raise StackError(f"The repository of backups does not run; `{start}`.")
    return names.container(cluster.REPOSITORY)


def leave() -> None:
    """Remove the repository's container, if there is one; the backups stay in their volume."""
    if any(each.name == cluster.REPOSITORY for each in cluster.containers()):
        cluster.docker("rm", "--force", names.container(cluster.REPOSITORY))
        volume = names.volume(cluster.REPOSITORY)
        result("Backups", f"none any more; what there is stays in {volume}")


def backups() -> list[Backup]:
    """Return the backups that can be restored, the oldest first. Raises StackError."""
    return _read(cluster.docker("exec", container(), *INFO))


def reach(primary: str | None) -> Reach:
    """Return how far it reaches, as it and the primary say."""
    found = _read(cluster.ask(cluster.REPOSITORY, *INFO) or "[]")
    archiver = _archiver(primary)
    archived, failed = (_moment(archiver, f"last_{what}_time") for what in ("archived", "failed"))
    return Reach(
        first=min((each.ended for each in found), default=None),
        newest=max((each.ended for each in found), default=None),
        archived=archived,
        archives=failed is None or (archived is not None and archived >= failed),
        failed=cluster.ask(cluster.REPOSITORY, "cat", FAILED).strip(),
        verified=_number(cluster.ask(cluster.REPOSITORY, "cat", VERIFIED)),
    )


def _number(said: str) -> float | None:
    return float(said) if said.strip().isdigit() else None


def _read(said: str) -> list[Backup]:
    return [_backup(row) for stanza in json.loads(said) for row in stanza.get("backup", [])]


def _backup(row: dict[str, Any]) -> Backup:
    info = row["info"]
    stored = info["repository"]
    return Backup(
        label=row["label"],
        kind=row["type"],
        began=row["timestamp"]["start"],
        ended=row["timestamp"]["stop"],
        lsn=row["lsn"]["stop"],
        size=info["size"],
        stored=stored.get("delta", stored.get("size", 0)),
        sound=not row.get("error", False),
    )


def run(kind: str) -> int:
    """Take a backup now, `full` or `diff`, showing what pgBackRest says; return its exit code."""
    command = ["docker", "exec", container(), "take-backup", kind, "--start-fast"]
    return subprocess.run(command, check=False).returncode


def check() -> str:
    """Have a segment archived; return its name when it is in the repository. Raises StackError.

    Not by pgBackRest's own command: that wants all nodes, also the one that is down.
    """
    repository, segment = container(), archive_now()
    if segment is None:
        raise StackError(f"No node accepts writes; `{names.command('./holdfast status')}`.")
    said = json.loads(cluster.docker("exec", repository, *INFO))
    if not any(_reaches(archive["max"], segment) for each in said for archive in each["archive"]):
        full = names.command("./holdfast backup run --full")
        primary = names.container(cluster.find_primary() or cluster.NODES[0])
        raise StackError(
            f"{segment} is not in the repository: too much was waiting, and it was dropped (see "
            f"`docker logs {primary}`). What came after it cannot be restored until there is "
            f"another backup: `{full}`."
        )
    return segment


def archived_until() -> float | None:
    """Return when the primary archived a segment last; None where nobody says."""
    return _moment(_archiver(cluster.find_primary()), "last_archived_time")


def _archiver(primary: str | None) -> dict[str, Any]:
    """Return pg_stat_archiver's row; nothing where nobody says."""
    said = cluster.ask(primary, *PSQL, ARCHIVER) if primary else ""
    row: dict[str, Any] = json.loads(said) if said else {}
    return row


def _moment(row: dict[str, Any], name: str) -> float | None:
    when = row.get(name)
    return None if when is None else datetime.fromisoformat(when).timestamp()


def archive_now() -> str | None:
    """Have all that is acknowledged archived; return the last segment of it.

    None: no node accepts writes, so nothing is being written. Raises StackError when it takes too
    long.
    """
    primary = cluster.find_primary()
    if primary is None:
        return None
    words = [word for statement in END_SEGMENT for word in ("-c", statement)]
    answer = cluster.ask(primary, *PSQL[:-1], *words).split()
    if not answer:
        raise StackError(f"{primary} does not answer; `{names.command('./holdfast status')}`.")
    segment = answer[-1]
    began = time.monotonic()
    nudges = iter(range(NUDGE, int(ARCHIVED_LIMIT) + NUDGE, NUDGE))
    nudge_at = next(nudges)
    while not _reaches(_archiver(primary).get("last_archived_wal"), segment):
        passed = time.monotonic() - began
        if passed > ARCHIVED_LIMIT:
            logs = f"docker logs --tail 20 {names.container(primary)}"
            raise StackError(f"{primary} does not archive: `{logs}` says why.")
        if passed > nudge_at:
            nudge_at = next(nudges)
            _nudge(primary)
        time.sleep(POLL)
    return segment


def _nudge(primary: str) -> None:
    """Have the archiver try again at once: after three failures it waits for a minute."""
    archiver = cluster.ask(primary, *PSQL, ARCHIVER_PROCESS).strip()
    if archiver:
        cluster.ask(primary, "kill", "-HUP", archiver)


def _reaches(last: str | None, segment: str) -> bool:
    """Tell whether what was archived last is the segment, or a later one.

    Of one timeline the names are in order; one of a later timeline is later. A timeline's history,
    whose name is shorter, is archived before all segments.
    """
    return last is not None and len(last) >= len(segment) and last[: len(segment)] >= segment
