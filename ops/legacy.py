"""What earlier versions left of the first stack on a host, brought to what there is now.

All of them had one stack a host: one with another name has nothing of theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops import cluster, names

if TYPE_CHECKING:
    from collections.abc import Callable

    TakeDown = Callable[[str], None]

OLD_NETWORK = "holdfast_holdfast"

DATA_IMAGE, DATA_USER = "holdfast-postgres", "471101"
"""What writes to the volumes, and as whom (deploy/postgres/Dockerfile)."""


def leave(take_down: TakeDown) -> None:
    """Do what has to be done; `take_down` stops the stack, under a title."""
    if names.is_default():
        _leave_old_network(take_down)
        _leave_old_users(take_down)


def _leave_old_network(take_down: TakeDown) -> None:
    """Versions before TLS had one network, with addresses that one of the two has now."""
    if OLD_NETWORK in cluster.docker("network", "ls", "--format", "{{.Name}}").split():
        take_down("Stopping the stack of a version that had one network")
        for container in cluster.docker(
            "ps", "--all", "--quiet", "--filter", f"network={OLD_NETWORK}"
        ).split():
            cluster.docker("rm", "--force", container)
        cluster.docker("network", "rm", OLD_NETWORK)


def _leave_old_users(take_down: TakeDown) -> None:
    """Give volumes of versions before the stack had users of its own to the one it has now."""
    ours = {names.volume(member) for member in (cluster.MONITOR, *cluster.NODES)}
    found = [name for name in cluster.docker("volume", "ls", "--quiet").split() if name in ours]
    if not found:
        return
    mounts = [word for name in found for word in ("--volume", f"{name}:/volumes/{name}")]
    there = ("run", "--rm", "--network", "none", "--user", "0", *mounts, "--entrypoint")
    shown = cluster.docker(*there, "sh", DATA_IMAGE, "-c", "stat --format %u /volumes/*")
    if set(shown.split()) <= {"0", DATA_USER}:  # 0: nothing was written there yet
        return
    take_down("Stopping the stack of a version that shared a user with the host")
    cluster.docker(
        *there, "chown", DATA_IMAGE, "--recursive", f"{DATA_USER}:{DATA_USER}",
        *(f"/volumes/{name}" for name in found),
    )  # fmt: skip
