"""A node's volume on a small file system in memory, to be filled to the last byte.

The container's mounts are changed from outside while the node is in maintenance: its keeper lets
PostgreSQL be stopped, and what the monitor knows of it fits the volume's contents then and later.
The real volume stays beneath as it was; the node catches up when it has it back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops import names, operate, snapshot
from ops.console import StackError

if TYPE_CHECKING:
    from collections.abc import Callable

    Docker = Callable[..., str]

ROOM = 256
"""Megabytes that are free on a bounded volume before it is filled."""

MOST = 4096
"""Megabytes of data that are copied to memory at most: what a Docker command has time for. A node
that has been written to for an hour has 1 GB of WAL alone (max_wal_size)."""

HOME = "/var/lib/postgresql"
BALLAST = f"{HOME}/ballast"
BOUNDED = "/tmp/bounded"  # noqa: S108 - the container's own
IMAGE = "holdfast-postgres"

MAY_MOUNT = (
    *("--cap-add", "SYS_ADMIN", "--cap-add", "SYS_PTRACE"),
    *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
    *("--security-opt", "label=disable"),
)
"""Less than --privileged, which asks for capabilities that an engine in a container lacks."""

BOUND = f"""set -e
used=$(du --summarize --block-size=1M {HOME} | cut --fields=1)
[ "$used" -le {MOST} ] || {{ echo "its data is $used MB, more than {MOST}" >&2; exit 1; }}
free=$(awk '/MemAvailable/ {{ print int($2 / 1024) }}' /proc/meminfo)
[ $((used + {ROOM})) -le $((free / 2)) ] ||
    {{ echo "it takes $used MB of memory and {ROOM}, more than half of what is free" >&2; exit 1; }}
mkdir -p {BOUNDED}
mount -t tmpfs -o "size=$((used + {ROOM}))m" bounded {BOUNDED}
trap 'umount --lazy {BOUNDED}' EXIT
cp --archive {HOME}/. {BOUNDED}/
mount --bind {BOUNDED} {HOME}
trap - EXIT
"""

UNBOUND = f"""set -e
[ "$(stat --file-system --format=%T {HOME})" != tmpfs ] || umount --lazy {HOME}
umount --lazy {BOUNDED}
"""

FILL = f"dd if=/dev/zero of={BALLAST} bs=64k status=none || true"
"""Ends when there is no room: how much there is changes while it is asked for."""


def bound(node: str, docker: Docker) -> None:
    """Put a standby's volume into memory, with ROOM to spare; it is in sync again afterwards.

    Raises StackError where the engine does not let a container change another's mounts.
    """
    _in_maintenance(node, docker, BOUND)


def unbound(node: str, docker: Docker) -> None:
    """Return a node to its real volume; a primary hands over first."""
    mounts = docker("exec", names.container(node), "cat", "/proc/mounts")
    if f" {BOUNDED} " not in mounts:
        return
    again = f"docker restart {names.container(node)}"
    redundant = (
        f"a primary and a standby in sync, to give {node} its volume back (it is in memory, and "
        f"ends with its container: once {node} is a standby, `{again}`)"
    )
    operate.wait_for(redundant, operate.WHOLE_LIMIT, lambda now: now.redundant)
    if snapshot.take().primary == node:
        operate.switchover()
        operate.wait_for(redundant, operate.WHOLE_LIMIT, lambda now: now.redundant)
    _in_maintenance(node, docker, UNBOUND)


def inside(node: str, script: str, docker: Docker, folder: str = HOME) -> None:
    """Run a shell script in the volume, mounted at `folder`, of a container that is down."""
    docker(
        "run", "--rm", "--volumes-from", names.container(node), "--network", "none",
        "--workdir", folder, "--entrypoint", "sh", IMAGE, "-ec", script,
    )  # fmt: skip


def fill(node: str, docker: Docker) -> None:
    """Take all the room that is left on a bounded volume."""
    docker("exec", names.container(node), "sh", "-c", FILL)


def make_room(node: str, docker: Docker) -> None:
    """Give it back."""
    docker("exec", names.container(node), "rm", "-f", BALLAST)


def _in_maintenance(node: str, docker: Docker, script: str) -> None:
    container = names.container(node)
    helper = f"holdfast-volume-{container}"
    operate.maintenance_on(node)
    try:
        docker("exec", container, "pg_ctl", "stop", "--mode", "fast", "--wait")
        docker(
            "run", "--rm", "--name", helper, "--user", "0", "--network", "none", *MAY_MOUNT,
            "--pid", f"container:{container}", "--entrypoint", "nsenter", IMAGE,
            "--target", "1", "--mount", "--", "sh", "-c", script,
        )  # fmt: skip
    except StackError as error:
        raise StackError(f"the volume of {node} cannot be changed: {error}") from error
    finally:
        if docker("ps", "--quiet", "--filter", f"name=^{helper}$").strip():
            docker("rm", "--force", helper)
        operate.maintenance_off(node)
