"""A copy of the database as it was, beside the running stack: to look, and to copy from.

It is restored from the repository into a container that has no network.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from ops import cluster, names
from ops.backups import archiving, histories, points, repository, restoring
from ops.console import StackError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MEMBER = "scratch"
CHECKED = "verify"
"""Containers, and volumes, of copies: the one that is looked at, the one that is only checked."""

FOUND = 2
"""pg_amcheck's exit code where something is damaged (PostgreSQL 17)."""

AMCHECK = ("pg_amcheck", "--database=holdfast", "--install-missing", "--heapallindexed")
READY = ("psql", "--no-psqlrc", "-qAt", "-d", "holdfast", "-c", "SELECT NOT pg_is_in_recovery()")


def make(to: str, secrets: Path, say: Callable[[str], None], member: str = MEMBER) -> str:
    """Restore to a point in time; return the container. What there was before is removed.

    Raises StackError.
    """
    wanted = points.find(to, histories.usable())
    remove(member)
    say("archiving what has been written until now")
    archiving.archive_now()
    volume = names.volume(member)
    run, *others = restoring.command(member, volume, secrets, "entrypoint-scratch", wanted)
    cluster.docker(run, "--detach", *others)
    say("restoring")
    _await(member)
    return names.container(member)


def verify(secrets: Path, say: Callable[[str], None]) -> bool:
    """Restore all there is, read every page, and compare every index with its table.

    Say whether all of it is sound; pg_amcheck says what is not. Raises StackError when it cannot
    be restored.
    """
    began = time.time()
    try:
        copy = make(points.LATEST, secrets, say, CHECKED)
        say("checking every table and every index")
        code = subprocess.run(["docker", "exec", copy, *AMCHECK], check=False).returncode
    finally:
        remove(CHECKED)
    if code not in {0, FOUND}:
        raise StackError("The copy could not be checked, as said above.")
    if sound := code == 0:
        note = f"echo {began:.0f} >{repository.VERIFIED}"
        cluster.docker("exec", repository.container(), "sh", "-c", note)
    return sound


def remove(member: str = MEMBER) -> None:
    """Remove the copy, if there is one."""
    for kind, name in (("container", names.container(member)), ("volume", names.volume(member))):
        with suppress(StackError):  # there is none: Docker before 25 calls that an error
            cluster.docker(kind, "rm", "--force", name)


def _await(member: str) -> None:
    scratch = names.container(member)
    deadline = time.monotonic() + restoring.LIMIT
    while cluster.ask(member, *READY).strip() != "t":
        state = cluster.docker("inspect", "--format", "{{.State.Status}}", scratch).strip()
        if state != "running":
            words = "\n".join(f"    {line}" for line in cluster.last_words(member, 20))
            raise StackError(f"The restore failed. The end of its log:\n{words}")
        if time.monotonic() > deadline:
            raise StackError(f"The restore has taken an hour: `docker logs {scratch}`.")
        time.sleep(archiving.POLL)
