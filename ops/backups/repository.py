"""The repository of backups: what is in it, as pgBackRest says; what is done there, by pgBackRest.

Times are Unix times in seconds, sizes bytes.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from ops import cluster, names, removal, s3
from ops.backups import archiving
from ops.console import StackError

STANZA = "holdfast"
PGBACKREST = ("pgbackrest", "--config=/tmp/pgbackrest.conf", f"--stanza={STANZA}")
INFO = (*PGBACKREST, "info", "--output=json", "--io-timeout=2")
"""Where S3 refuses, pgBackRest tries for nine times as long (measured) before it says so."""

LOOK = ("timeout", "9", *INFO)
"""The same for those who look again and again, and wait for no more than that."""

UNREADABLE = 99
"""A stanza's status where the repository does not answer, or is encrypted with another key."""

FAILED = "/tmp/failed"  # noqa: S108 - the container's
"""Where the repository says what kind of backup failed last."""

GAP = "/tmp/gap"  # noqa: S108 - the container's
"""Where it says which segment of WAL is missing first since the newest full backup."""

WANTED = "/var/lib/pgbackrest/full-wanted"
"""Has the repository take a full backup at once; it removes it when that is done."""

IS_WANTED = ("sh", "-c", f"[ -e {WANTED} ] && echo yes || echo no")

VERIFIED = "/var/lib/pgbackrest/verified"
"""Where the repository keeps when a copy was found sound last, in Unix time."""

DIFF_HOURS = 24
"""Hours from one backup to the next where nothing is said (deploy/compose/compose.yaml)."""

MARK = "mark."
"""What the names of a backup's annotations that are marks begin with."""

TAKEN_LIMIT = 3600.0
"""Seconds for a backup."""

RETRIED = 90.0
"""Seconds after which a backup that was tried again and again counts as failed."""

SETTLED = 5.0
"""Seconds for segments that are sent at once, or again after a failover, to be there all."""


@dataclass(frozen=True)
class Mark:
    """A point in the database's history that somebody gave a name."""

    name: str
    lsn: str
    at: int

    @property
    def point(self) -> str:
        """The restore point's name: of one that was begun and not kept there may be another."""
        return f"{self.name}.{self.at}"


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
    timeline: int  # in which it ended
    marks: tuple[Mark, ...]  # that were set while it was the newest


@dataclass(frozen=True)
class Reach:
    """How far the repository reaches, and whether it keeps up."""

    first: float | None  # the oldest moment that can be restored; None: no backup yet
    newest: float | None  # when the newest backup was done
    archived: float | None  # when the primary archived last; None: nobody says
    archives: bool  # the primary's last attempt to archive did not fail
    failed: str  # the kind of backup that failed last, if none was taken since
    verified: float | None = None  # when a copy was restored and found sound last
    gap: str = ""  # the first segment that is missing since the newest full backup

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
    bucket = os.environ.get(s3.BUCKET)
    where = f"the bucket {bucket}" if bucket else names.volume(cluster.REPOSITORY)
    removal.leave(cluster.REPOSITORY, "Backups", where)


def backups() -> list[Backup]:
    """Return the backups that can be restored, the oldest first. Raises StackError."""
    stanzas = _stanzas(cluster.docker("exec", container(), *INFO))
    for repository in (each for stanza in stanzas for each in stanza.get("repo", [])):
        if repository["status"]["code"] == UNREADABLE:
            words = repository["status"]["message"].partition("\n")[0]
            raise StackError(f"The repository cannot be read: {words}")
    return _read(stanzas)


def reach(primary: str | None) -> Reach:
    """Return how far it reaches, as it and the primary say."""
    archiver = archiving.archiver(primary)  # first: what it has done, the repository says after
    said = _stanzas(cluster.ask(cluster.REPOSITORY, *LOOK) or "[]")
    found = _read(said)
    archived, failed = (
        archiving.moment(archiver, f"last_{what}_time") for what in ("archived", "failed")
    )
    last = archiver.get("last_archived_wal")
    dropped = last if said and last and not _has(said, last) else ""
    return Reach(
        first=min((each.ended for each in found), default=None),
        newest=max((each.ended for each in found), default=None),
        archived=archived,
        archives=failed is None or (archived is not None and archived >= failed),
        failed=cluster.ask(cluster.REPOSITORY, "cat", FAILED).strip(),
        verified=verified(),
        gap=cluster.ask(cluster.REPOSITORY, "cat", GAP).strip() or dropped,
    )


def _has(said: list[dict[str, Any]], segment: str) -> bool:
    """Tell whether the repository, as it says, has a segment or a later one.

    It says nothing of histories, nor of the half segments that a failover leaves.
    """
    archives = (archive for each in said for archive in each.get("archive", []))
    return segment.endswith((".history", ".partial")) or any(
        archiving.reaches(each["max"], segment[: archiving.SEGMENT]) for each in archives
    )


def verified() -> float | None:
    """Return when a copy was restored and found sound last; None: never, or nobody says."""
    said = cluster.ask(cluster.REPOSITORY, "cat", VERIFIED).strip()
    return float(said) if said.isdigit() else None


def _stanzas(said: str) -> list[dict[str, Any]]:
    # Not strict: of what it could not decrypt, it says the first line.
    stanzas: list[dict[str, Any]] = json.loads(said, strict=False)
    return stanzas


def _read(stanzas: list[dict[str, Any]]) -> list[Backup]:
    return [_backup(row) for stanza in stanzas for row in stanza.get("backup", [])]


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
        timeline=int(row["archive"]["stop"][:8], 16),
        marks=tuple(
            _mark(name.removeprefix(MARK), said)
            for name, said in (row.get("annotation") or {}).items()
            if name.startswith(MARK)
        ),
    )


def _mark(name: str, said: str) -> Mark:
    lsn, at = said.split()
    return Mark(name, lsn, int(at))


def run(kind: str) -> int:
    """Take a backup now, `full` or `diff`, showing what pgBackRest says; return its exit code."""
    command = ["docker", "exec", container(), "take-backup", kind, "--start-fast"]
    return subprocess.run(command, check=False).returncode


def is_taking() -> bool:
    """Tell whether a backup is being taken."""
    said = _stanzas(cluster.ask(cluster.REPOSITORY, *INFO) or "[]")
    return any(each["status"]["lock"]["backup"]["held"] for each in said)


def want_full() -> None:
    """Have the repository take a full backup, as soon as there is a primary."""
    cluster.docker("exec", container(), "touch", WANTED)


def is_full_wanted() -> bool:
    """Tell whether one is still to be taken."""
    return cluster.docker("exec", container(), *IS_WANTED).strip() == "yes"


def await_full() -> None:
    """Wait until it is taken. Raises StackError."""
    began = time.monotonic()
    while is_full_wanted():
        passed = time.monotonic() - began
        fails = passed > RETRIED and cluster.ask(cluster.REPOSITORY, "cat", FAILED)
        if fails or passed > TAKEN_LIMIT:
            logs = f"docker logs --tail 20 {names.container(cluster.REPOSITORY)}"
            raise StackError(
                f"There is no full backup yet: `{logs}` says why. It is tried again by itself."
            )
        time.sleep(archiving.POLL)


def check() -> str:
    """Have a segment archived; return its name when it is in the repository. Raises StackError.

    Not by pgBackRest's own command: that wants all nodes, also the one that is down.
    """
    repository, segment = container(), archiving.archive_now()
    if segment is None:
        raise StackError(f"No node accepts writes; `{names.command('./holdfast status')}`.")
    missing = "" if _has(_stanzas(cluster.docker("exec", repository, *INFO)), segment) else segment
    if missing := missing or _gap(repository):
        full = names.command("./holdfast backup run --full")
        primary = names.container(cluster.find_primary() or cluster.NODES[0])
        raise StackError(
            f"{missing} is not in the repository: too much was waiting, and it was dropped (see "
            f"`docker logs {primary}`). What came after it cannot be restored until there is "
            f"another backup: `{full}`."
        )
    return segment


def _gap(repository: str) -> str:
    """Return the first segment that is missing and stays so; nothing where all are there."""
    deadline = time.monotonic() + SETTLED
    while gap := cluster.docker("exec", repository, "find-gap").strip():
        if time.monotonic() > deadline:
            return gap
        time.sleep(archiving.POLL)
    return ""
