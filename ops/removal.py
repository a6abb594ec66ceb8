"""What is removed: data, which is asked before, and containers of what is not wanted any more."""

from __future__ import annotations

from ops import cluster, names, ownership
from ops.console import StackError, agree, result
from ops.legacy import DATA_IMAGE

MEGABYTE = 1 << 20


def confirm() -> None:
    """Ask whether to remove the stack's data; raise StackError unless the answer is yes.

    Without volumes there is nothing to ask.
    """
    volumes = ownership.volumes()
    if not volumes:
        return
    size = _size(volumes)
    much = "1 volume" if len(volumes) == 1 else f"{len(volumes)} volumes"
    told = f"{much}, {size}" if size else much
    agree(
        f"This removes the data of the stack {names.stack()} for good: {told}, and its secrets.",
        f"Say so with YES=1; `{names.command('make down')}` stops it and keeps its data.",
    )


def _size(volumes: list[str]) -> str:
    """Return how much is on them; nothing when that cannot be told at once."""
    mounts = [word for name in volumes for word in ("--volume", f"{name}:/volumes/{name}:ro")]
    counted = "du --summarize --block-size=1 /volumes || true"  # files go while it counts
    try:
        shown = cluster.docker(
            "run", "--rm", "--pull", "never", "--network", "none", "--user", "0", *mounts,
            "--entrypoint", "sh", DATA_IMAGE, "-c", counted,
        )  # fmt: skip
        return f"{int(shown.split()[0]) / MEGABYTE:.0f} MB"
    except (StackError, ValueError, IndexError):
        return ""


def leave(member: str, title: str, where: str) -> None:
    """Remove the container of what is not wanted any more, if there is one; its data stay."""
    if any(each.name == member for each in cluster.containers()):
        cluster.docker("rm", "--force", names.container(member))
        result(title, f"none any more; what there is stays in {where}")
