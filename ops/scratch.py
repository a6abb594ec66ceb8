"""A copy of the database as it was, beside the running stack: to look, and to copy from.

It is restored from the repository into a container that has no network.
"""

from __future__ import annotations

import re
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ops import backups, cluster, names
from ops.console import StackError
from ops.secret_files import CIPHER, READERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MEMBER = "scratch"
CHECKED = "verify"
"""Containers, and volumes, of copies: the one that is looked at, the one that is only checked."""

USER = "471101"
IMAGE = "holdfast-postgres"

FOUND = 2
"""pg_amcheck's exit code where something is damaged (PostgreSQL 17)."""

RESTORE_LIMIT = 3600.0
"""Seconds for a restore: as long as somebody looks on, who is told how it goes."""

LATEST = "latest"
_LSN = re.compile(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}")

AMCHECK = ("pg_amcheck", "--database=holdfast", "--install-missing", "--heapallindexed")
READY = ("psql", "--no-psqlrc", "-qAt", "-d", "holdfast", "-c", "SELECT NOT pg_is_in_recovery()")


@dataclass(frozen=True)
class Target:
    """A point in the database's history, as pgBackRest is told of it."""

    kind: str  # its `--type`: default (all there is), time or lsn
    value: str = ""


def target(text: str) -> Target:
    """Return the target for `latest`, an LSN, or a time (ISO 8601).

    A time without an offset is UTC. Raises StackError.
    """
    if text == LATEST:
        return Target("default")
    if _LSN.fullmatch(text):
        return Target("lsn", text.upper())
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise StackError(
            f"'{text}' is no point in time: say `latest`, an LSN such as 0/5000148, or a time such "
            "as 2026-11-28T09:30:00Z (without Z or an offset it is UTC)."
        ) from None
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    if when > datetime.now(UTC):
        raise StackError(f"{when:%Y-%m-%d %H:%M:%S} UTC is yet to come.")
    return Target("time", f"{when:%Y-%m-%d %H:%M:%S.%f}+00")


def make(to: str, secrets: Path, say: Callable[[str], None], member: str = MEMBER) -> str:
    """Restore to a point in time; return the container. What there was before is removed.

    Raises StackError.
    """
    wanted = target(to)
    require_covered(wanted, backups.backups())
    remove(member)
    say("archiving what has been written until now")
    backups.archive_now()
    scratch = names.container(member)
    cluster.docker(
        *("run", "--detach", "--name", scratch, "--network", "none", "--read-only"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"),
        *("--user", USER, "--group-add", str(READERS), "--memory", "2g", "--shm-size", "256m"),
        *("--tmpfs", "/tmp", "--tmpfs", f"/run/postgresql:uid={USER},gid={USER},mode=2775"),  # noqa: S108 - the container's
        *("--init", "--volume", f"{names.volume(cluster.REPOSITORY)}:/var/lib/pgbackrest:ro"),
        *("--volume", f"{names.volume(member)}:/var/lib/postgresql"),
        *("--volume", f"{secrets / CIPHER}:/run/secrets/{CIPHER}:ro"),
        *(IMAGE, "entrypoint-scratch", *filter(None, (wanted.kind, wanted.value))),
    )  # fmt: skip
    say("restoring")
    _await(member)
    return scratch


def verify(secrets: Path, say: Callable[[str], None]) -> bool:
    """Restore all there is, read every page, and compare every index with its table.

    Say whether all of it is sound; pg_amcheck says what is not. Raises StackError when it cannot
    be restored.
    """
    began = time.time()
    try:
        copy = make(LATEST, secrets, say, CHECKED)
        say("checking every table and every index")
        code = subprocess.run(["docker", "exec", copy, *AMCHECK], check=False).returncode
    finally:
        remove(CHECKED)
    if code not in {0, FOUND}:
        raise StackError("The copy could not be checked, as said above.")
    if sound := code == 0:
        cluster.docker(
            "exec", backups.container(), "sh", "-c", f"echo {began:.0f} >{backups.VERIFIED}"
        )
    return sound


def remove(member: str = MEMBER) -> None:
    """Remove the copy, if there is one."""
    for kind, name in (("container", names.container(member)), ("volume", names.volume(member))):
        with suppress(StackError):  # there is none: Docker before 25 calls that an error
            cluster.docker(kind, "rm", "--force", name)


def require_covered(wanted: Target, found: list[backups.Backup]) -> None:
    """Raise StackError when no backup is from before the point in time."""
    if not found:
        raise StackError("There is no backup yet; `./holdfast backup run` takes one.")
    oldest = min(found, key=lambda each: each.ended)
    ended = datetime.fromtimestamp(oldest.ended, UTC)
    if wanted.kind == "time":  # which pgBackRest compares in whole seconds
        early = datetime.fromisoformat(wanted.value).replace(microsecond=0) <= ended
    else:
        early = wanted.kind == "lsn" and position(wanted.value) < position(oldest.lsn)
    if early:
        raise StackError(f"The oldest backup is of {ended:%Y-%m-%d %H:%M:%S} UTC, {oldest.lsn}.")


def position(lsn: str) -> int:
    """Return an LSN as the number of bytes that it is."""
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def _await(member: str) -> None:
    scratch = names.container(member)
    deadline = time.monotonic() + RESTORE_LIMIT
    while cluster.ask(member, *READY).strip() != "t":
        state = cluster.docker("inspect", "--format", "{{.State.Status}}", scratch).strip()
        if state != "running":
            words = "\n".join(f"    {line}" for line in cluster.last_words(member, 20))
            raise StackError(f"The restore failed. The end of its log:\n{words}")
        if time.monotonic() > deadline:
            raise StackError(f"The restore has taken an hour: `docker logs {scratch}`.")
        time.sleep(backups.POLL)
