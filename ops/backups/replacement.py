"""The stack's database as it was: one node is restored, and the others copy it.

Wherever it is interrupted, the same command goes on or begins again; nothing of before is removed.
Until it is decided the nodes can be started as they were. From then on `make up` goes on, too: the
restored node knows that it is to lead, and the others have been told to copy it.
"""

from __future__ import annotations

import subprocess
from collections import defaultdict
from typing import TYPE_CHECKING

from ops import cluster, names, operate
from ops.backups import archiving, histories, points, repository, restoring, scratch
from ops.console import StackError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ops.backups.points import Target
    from ops.snapshot import Snapshot

MEMBER = "replace"
"""The container that restores."""

STOP_LIMIT = 120.0
"""Seconds for a node to step out, to archive what it has, and to shut down."""

LED_LIMIT = 180.0
"""Seconds for a restored node to accept writes."""

COPIED_LIMIT = 3600.0
"""Seconds for the others to copy it."""

ROOM = 1.5
"""Times the size of the database that a restore takes, with the WAL that leads there."""

FORGET = "SELECT pgautofailover.remove_node(nodehost, nodeport, true) FROM pgautofailover.node"

COPY = """cd /var/lib/postgresql && rm -rf restored lead led &&
    echo 'given up' >copy-anew.new && mv copy-anew.new copy-anew"""
"""Has a node copy the primary when it starts next, and keep what it has (copies.sh)."""

DECIDE = "touch /var/lib/postgresql/restored/is-decided"

STATE = """cd /var/lib/postgresql
for file in lead led restored/is-complete; do
    ! [ -s $file ] || echo "$file $(cat $file)"
done
[ ! -e restored/is-decided ] || echo decided
[ ! -e data/PG_VERSION ] || [ -e data/standby.signal ] || echo primary"""
"""Says how far a restore is here, to which point in time, and whether the data are a primary's."""

CLEAR = "rm -rf /var/lib/postgresql/restored"
UNARCHIVED = "ls /var/lib/postgresql/data/pg_wal/archive_status/*.ready 2>/dev/null | wc -l"

FREE = "stat --file-system --format='%i %a %S' /var/lib/postgresql"
"""Says the file system, its free blocks, and the bytes of one."""


def words(to: str) -> str:
    """Say what it does, for who has to decide."""
    return (
        f"The stack's database becomes what it was: {to}. Every write after that is given up, and "
        "nothing answers meanwhile. What there is now stays beside it: "
        "/var/lib/postgresql/replaced-* of the node that is restored, given-up-* of the others."
    )


def replace(to: str, secrets: Path, say: Callable[[str], None]) -> str:
    """Restore the stack to a point in time; return the node that was restored. Raises StackError.

    `secrets`: the folder of them.
    """
    found = histories.usable()
    wanted = points.find(to, found)
    scratch.remove(MEMBER)  # of an attempt whose command was killed: it goes on writing
    there = cluster.nodes_there()
    states = {name: restoring.on_volume(name, STATE).splitlines() for name in there}
    node = next((name for name in there if is_restored(states[name], wanted)), None)
    _require_monitor()
    if node is None:
        node = cluster.find_primary() or _likely(states)
        others = [name for name in there if name != node]
        restoring.on_volume(node, CLEAR)  # of an attempt that was given up
        _require_room(node, others, max(each.size for each in found))
        _restore(node, others, secrets, wanted, say)
        states[node] = ["decided"]
    others = [name for name in there if name != node]
    if not _leads_already(states[node]):
        _decide(node, others)
        repository.want_full()
    _lead(node, others, say)
    _complete(say)
    return node


def is_restored(state: list[str], wanted: Target) -> bool:
    """Tell whether a node was restored to this point, and the rest of it was not done yet.

    A node that has led since has said so, until the full backup is taken that ends a restore.
    """
    said = " ".join(("restored", *wanted.words))
    if f"lead {said}" in state:
        return True
    if f"led {said}" in state:
        return repository.is_full_wanted()
    return "decided" in state and f"restored/is-complete {said}" in state


def _leads_already(state: list[str]) -> bool:
    return any(line.startswith("led ") for line in state)


def _likely(states: dict[str, list[str]]) -> str:
    """Return the node that was the primary, as its data say; where none does, the first."""
    return next((name for name, state in states.items() if "primary" in state), next(iter(states)))


def _require_room(node: str, others: list[str], size: int) -> None:
    """Raise StackError where the old data cannot be kept beside the new. `size`: bytes of it."""
    needed: dict[str, float] = defaultdict(float)
    free: dict[str, int] = {}
    for name in (node, *others):
        system, blocks, block = restoring.on_volume(name, FREE).split()
        needed[system] += ROOM * size
        free[system] = int(blocks) * int(block)
    for system, bytes_needed in needed.items():
        if free[system] < bytes_needed:
            raise StackError(
                f"What there is now is kept beside what is restored, and that takes "
                f"{bytes_needed / 1e9:.1f} GB; {free[system] / 1e9:.1f} GB are free. Nothing was "
                f"changed; where nodes are down, `{names.command('make up')}` starts them."
            )


def _require_monitor() -> None:
    """Raise StackError where the monitor could not begin a new history."""
    try:
        operate.tell_monitor("SELECT 1")
    except StackError as error:
        start = names.start(cluster.MONITOR)
        raise StackError(f"The monitor does not answer: `{start}`, then this.\n{error}") from error


def _restore(
    node: str, others: list[str], secrets: Path, wanted: Target, say: Callable[[str], None]
) -> None:
    """Restore one node, beside what it has; where that fails, all go on as they were."""
    served = cluster.accepts_writes(node)
    if served:
        say("archiving what has been written until now")
        archiving.archive_now()
    try:
        for name in (*others, node):  # a primary that has a standby would hand over
            say(f"stopping {names.container(name)}")
            cluster.docker("stop", names.container(name), limit=STOP_LIMIT)
        if served and wanted.kind == "default":
            _require_archived(node)
        restore(node, secrets, wanted, say)
    except BaseException:
        scratch.remove(MEMBER)
        say("the stack goes on as it was")
        cluster.docker("start", *(names.container(name) for name in (node, *others)))
        raise


def _require_archived(node: str) -> None:
    """Raise StackError where what was written last has not been archived as the node shut down."""
    if int(restoring.on_volume(node, UNARCHIVED)):
        raise StackError(
            f"{node} could not archive what it wrote last, so `latest` would lack it; "
            f"`{names.command('./holdfast backup check')}` says why, or restore to a time."
        )


def restore(node: str, secrets: Path, wanted: Target, say: Callable[[str], None]) -> None:
    """Restore on the volume of a node that does not run, beside what it has. Raises StackError."""
    say(f"restoring {names.container(node)}")
    volume = names.volume(node)
    run, *arguments = restoring.command(MEMBER, volume, secrets, "entrypoint-replace", wanted)
    if subprocess.run(["docker", run, "--rm", *arguments], check=False).returncode != 0:
        raise StackError("The restore failed, as said above.")


def swap(node: str) -> None:
    """Put what was restored in the place of what the node has; it leads when it starts next."""
    restoring.on_volume(node, f"entrypoint-replace swap {node}")


def _decide(node: str, others: list[str]) -> None:
    """From here on there is no way back: the restored node leads, and the others copy it."""
    for name in (node, *others):
        cluster.docker("stop", names.container(name), limit=STOP_LIMIT)
    if not restoring.on_volume(node, "cat /var/lib/postgresql/lead 2>/dev/null || :"):
        restoring.on_volume(node, DECIDE)
        for name in others:
            restoring.on_volume(name, COPY)
        operate.tell_monitor(FORGET)
        swap(node)


def _lead(node: str, others: list[str], say: Callable[[str], None]) -> None:
    """Start the restored node, and the others once it leads."""
    say(f"starting {names.container(node)}")
    cluster.docker("start", names.container(node))
    what = f"{node} to accept writes"
    operate.wait_for(what, LED_LIMIT, lambda now: _leads(now, node))
    say(f"{names.container(node)} accepts writes; the others copy it")
    cluster.docker("start", *(names.container(name) for name in others))


def _leads(now: Snapshot, node: str) -> bool:
    return now.primary == node and any(each.name == node and each.ready for each in now.containers)


def _complete(say: Callable[[str], None]) -> None:
    """Bring the schema to what the service wants, and wait until nothing is missing."""
    cluster.docker("start", "--attach", names.container(cluster.ONE_SHOT), limit=LED_LIMIT)
    operate.wait_for("a whole stack", COPIED_LIMIT, lambda now: now.whole, settled=True)
    say("taking a full backup, which the history from here on begins with")
    repository.await_full()
