"""A stack on a machine that has none, from a repository of backups and the secrets alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from ops import cluster, names, ownership, s3
from ops.backups import archiving, histories, points, replacement, repository, restoring
from ops.console import StackError, say

if TYPE_CHECKING:
    from ops.stack import Stack

VOLUME, S3 = "volume", "s3"
"""Words for a repository that is where the settings say already."""

FIRST = cluster.NODES[0]
"""The node that is restored; the others copy it."""

BEGIN = "touch /var/lib/postgresql/only-copies"
"""So that no node begins an empty cluster where a restore was interrupted (entrypoint-node)."""

BRING = "cp --archive /from/. /var/lib/pgbackrest/ && chown -R {0}:{0} /var/lib/pgbackrest"

BRING_LIMIT = 3600.0
"""Seconds to copy a repository."""

READY_LIMIT = 60.0
"""Seconds for the repository's container to answer."""


def require(source: str, stack: Stack) -> None:
    """Raise StackError where no stack can be made of this, before anything is made.

    `source`: a folder with a copy of the repository, VOLUME or S3.
    """
    if not stack.secrets.exist:
        raise StackError(
            "There are no secrets here, and nobody can read the repository without those of its "
            f"stack: `{names.command('./holdfast secrets import FILE')}` first."
        )
    if (source == S3) != s3.is_meant(stack.environment):
        where = "in a bucket" if source != S3 else "in a volume"
        raise StackError(
            f"'{source}' was said, and the settings have the repository {where} (BACKUP_S3_*, "
            "docs/backup.md): say the one, or change the others."
        )
    file = Path(source) / "backup" / repository.STANZA / "backup.info"
    if source not in {VOLUME, S3} and not file.is_file():
        raise StackError(f"{source} is no repository of a stack's: there is no {file}.")


def fill(to: str, source: str, stack: Stack) -> None:
    """Restore the first node of a stack that has no data yet, which leads when it starts.

    Raises StackError; the same again goes on.
    """
    begun = _require_nothing()
    stack.create(cluster.REPOSITORY, FIRST)
    restoring.on_volume(FIRST, BEGIN)
    if source not in {VOLUME, S3}:
        _bring(Path(source))
    stack.replace(cluster.REPOSITORY)
    wanted = points.find(to, _backups())
    if not replacement.is_restored(begun, wanted):
        replacement.restore(FIRST, stack.secrets.folder, wanted, say)
        replacement.swap(FIRST)
    repository.want_full()


def _require_nothing() -> list[str]:
    """Return how far an earlier attempt was. Raises StackError where a node has other data."""
    there = set(ownership.volumes())
    begun: list[str] = []
    for node in (each for each in cluster.NODES if names.volume(each) in there):
        state = restoring.on_volume(node, replacement.STATE).splitlines()
        if any(line.startswith("lead ") for line in state):
            begun = state
        elif restoring.on_volume(node, "ls /var/lib/postgresql/data/PG_VERSION 2>/dev/null || :"):
            up = names.command("make up")
            again = names.command("./holdfast restore --to latest --replace")
            raise StackError(
                f"{node} has data, and this is for a machine that has none. `{up}` starts what "
                f"there is; `{again}` restores it."
            )
    if names.volume(cluster.MONITOR) in there and not begun:
        _forget(cluster.MONITOR)  # it knows nodes that are not there any more
    return begun


def _forget(member: str) -> None:
    if any(each.name == member for each in cluster.containers()):
        cluster.docker("rm", "--force", names.container(member))
    cluster.docker("volume", "rm", names.volume(member))


def _bring(folder: Path) -> None:
    """Copy a repository from a folder into its volume."""
    say("copying the repository")
    cluster.docker(
        *("run", "--rm", "--network", "none", "--user", "0"),
        *("--volume", f"{folder.resolve()}:/from:ro"),
        *("--volume", f"{names.volume(cluster.REPOSITORY)}:/var/lib/pgbackrest"),
        *(restoring.IMAGE, "sh", "-c", BRING.format(restoring.USER)),
        limit=BRING_LIMIT,
    )


def _backups() -> list[repository.Backup]:
    """Return what can be begun with, from a repository that has just been started."""
    deadline = time.monotonic() + READY_LIMIT
    while True:
        try:
            return histories.usable()
        except StackError:
            if time.monotonic() > deadline:
                raise
            time.sleep(archiving.POLL)
