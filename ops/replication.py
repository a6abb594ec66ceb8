"""What a commit waits for: REPLICATION, on all data nodes alike, and on a running stack.

Every node's container sees a file, and follows it by itself (deploy/postgres/bin/replication.sh):
also one that was away, or is copied or restored. Containers whose environment changes would be made
anew.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ops import cluster, names, settings
from ops.console import StackError

if TYPE_CHECKING:
    from pathlib import Path

SYNC, ASYNC, REMOTE_APPLY = "sync", "async", "remote_apply"

COMMITS = {SYNC: "on", ASYNC: "local", REMOTE_APPLY: "remote_apply"}
"""PostgreSQL's synchronous_commit for each."""

NAMES = {value: name for name, value in COMMITS.items()}

WAITS = {
    SYNC: "a commit waits until a standby has it on disk",
    ASYNC: "a commit waits for no standby: a failover may lose the last ones",
    REMOTE_APPLY: "a commit waits until a standby shows it to readers",
}
"""Each in words."""

FOLLOWED_LIMIT = 15.0
"""Seconds for a node to follow; it looks once a second."""

POLL = 0.2
"""Seconds between two looks."""


def file(root: Path) -> Path:
    """Return what the nodes follow."""
    return names.home(root) / "replication"


def tell(root: Path, mode: str) -> None:
    """Write it, in place: Docker mounts the file, not its name."""
    path = file(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{mode}\n", encoding="utf-8")
    path.chmod(0o644)  # the nodes' user is nobody here


def change(root: Path, mode: str) -> None:
    """Have the running nodes follow it from now on; raise StackError that names who does not.

    It stays for the next `make up`. A node that is away follows when it is back.
    """
    if mode not in COMMITS:
        raise StackError(f"there is no replication '{mode}'; it must be {' or '.join(COMMITS)}")
    kept = settings.read(root)
    if kept.get("REPLICATION", SYNC) != mode:
        settings.keep(root, kept | {"REPLICATION": mode})
    tell(root, mode)
    await_followed(mode)


def await_followed(mode: str) -> None:
    """Wait until all running nodes do; raise StackError that names those that do not."""
    deadline = time.monotonic() + FOLLOWED_LIMIT
    there = [each for each in cluster.containers() if each.state == "running"]
    left = [each.name for each in there if each.name in cluster.NODES]
    while left := [each for each in left if now(each) != mode]:
        if time.monotonic() > deadline:
            raise StackError(
                f"not within {FOLLOWED_LIMIT:.0f} s: REPLICATION={mode} on {', '.join(left)}; it "
                "follows as soon as its PostgreSQL answers"
            )
        time.sleep(POLL)


def now(node: str) -> str | None:
    """Return what a node's commits wait for; None where it does not say."""
    return NAMES.get(cluster.query(node, "SHOW synchronous_commit").strip())
