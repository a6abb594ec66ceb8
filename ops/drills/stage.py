"""Where a fault is applied: the stack's roles before it, and the means to break and to mend.

Whatever is broken here is mended when the stage closes, however the drill ends: each mending is
registered before its breaking begins. Mending is safe to repeat.
"""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from ops import cluster, names
from ops.cluster import APPS, REPOSITORY
from ops.console import StackError
from ops.drills import volume
from ops.drills.deferred import deferred

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.snapshot import Snapshot

DOCKER_LIMIT = 60.0
"""Seconds for one Docker command."""

CUT_IMAGE = "holdfast-haproxy"  # it has nft
CUT_TABLE = "holdfast_drill"
CUT_MOST = 120
"""Seconds beyond its own after which a cut ends, should the drill's process die."""

CUT = """table netdev {table} {{
    chain received-{device} {{
        type filter hook ingress device {device} priority 0; {received} drop;
    }}
    chain sent-{device} {{
        type filter hook egress device {device} priority 0; {sent} drop;
    }}
}}"""
"""At each device: ARP and what keepalived sends past the IP stack are dropped as well."""

DAMAGE = "ls -t data/pg_wal/0* | head -n 3 | xargs rm -f"
"""Crash recovery begins in one of these."""

STALL = "kill -STOP -1; sleep {seconds}; kill -CONT -1"
"""To all that are seen from there but PID 1, which only waits, and the shell itself."""

SENDER = "SELECT pid FROM pg_stat_replication WHERE client_addr = '{}'"

LOOPBACK = "lo"

PGBACKREST_CONFIG = "/tmp/pgbackrest.conf"  # noqa: S108 - the container's own
REPOSITORY_FOLDER = "/var/lib/pgbackrest"
QUEUE = "archive-push-queue-max"

MEND = f"nft delete table netdev {CUT_TABLE}"


LONGEST_COMMAND = 120
"""Characters of a command that are quoted in an error."""


def docker(*arguments: str, text: str | None = None) -> str:
    """Run a Docker command and return its output; raise StackError with Docker's words."""
    try:
        done = subprocess.run(
            ["docker", *arguments],
            input=text, capture_output=True, errors="replace", check=False, timeout=DOCKER_LIMIT,
            start_new_session=True,  # Ctrl-C is for this process, which may be mending
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise StackError(f"docker {arguments[0]} took longer than {DOCKER_LIMIT:.0f} s") from None
    if done.returncode != 0:
        what = " ".join(arguments).partition("\n")[0][:LONGEST_COMMAND]  # some carry a script
        raise StackError(f"docker {what}: {done.stderr.strip()}")
    return done.stdout


@dataclass
class Stage:
    """A stack that is about to be broken. Use it as a context manager."""

    before: Snapshot
    mark: Callable[[str, str], object]
    """Notes a moment for the timeline: what happens, in words, and its kind (fault, undone)."""

    measure: Callable[[], object]
    """Says that pauses count from now on, not from the stage's beginning."""

    hold: float = 0.0
    """Seconds that the fault is going to last."""

    _undos: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Mend everything, the last fault first, also when one mending fails or on Ctrl-C."""
        self.mend()

    def note(self, what: str) -> None:
        """Note something for the timeline that is neither fault nor mending."""
        self.mark(what, "event")

    def mend(self) -> None:
        """Mend everything now. Who wants to end it meanwhile, waits for that."""
        with deferred():
            self._undos.close()

    @property
    def primary(self) -> str:
        """The node that accepted writes before."""
        if self.before.primary is None:
            raise StackError("there is no primary to begin with")
        return self.before.primary

    @property
    def standby(self) -> str:
        """A node that did not."""
        others = [node.name for node in self.before.nodes if node.name != self.primary]
        if not others:
            raise StackError("there is no standby to begin with")
        return others[0]

    @property
    def proxy(self) -> str:
        """The proxy that held the virtual IP before."""
        if self.before.vip_holder is None:
            raise StackError("nobody holds the virtual IP to begin with")
        return self.before.vip_holder

    @property
    def app(self) -> str:
        """One of the two instances."""
        return APPS[0]

    def kill(self, *members: str) -> None:
        """SIGKILL containers, as machines that lose their power; mended by starting them."""
        containers = [names.container(each) for each in members]
        self._undo(f"{', '.join(members)} started", lambda: docker("start", *containers))
        self.mark(f"{', '.join(members)} killed", "fault")
        with deferred():  # given up half-way, the engine would break it after it was mended
            docker("kill", *containers)

    def freeze(self, member: str) -> None:
        """Stop all of a container's processes where they are; mended by letting them go on."""
        container = names.container(member)
        self._undo(f"{member} thawed", lambda: _thaw(container))
        self.mark(f"{member} frozen", "fault")
        with deferred():  # as in kill
            docker("pause", container)

    def stall(self, member: str) -> None:
        """Stop a container's processes for `hold` seconds, from beside them: no command is late."""
        self.mark(f"{member} stands still", "fault")
        docker(
            *("run", "--rm", "--network", "none", "--pid", f"container:{names.container(member)}"),
            *("--user", "0", "--entrypoint", "sh", CUT_IMAGE),
            *("-c", STALL.format(seconds=self.hold)),
        )
        self.mark(f"{member} goes on", "undone")

    def kill_process(self, member: str, what: str, pids: str) -> None:
        """SIGKILL processes inside a container; `pids` is a shell command that prints them."""
        container = names.container(member)
        self._undo(f"{member} runs", lambda: docker("start", container))
        self.mark(f"{what} in {member} killed", "fault")
        with deferred():  # as in kill
            docker("exec", container, "sh", "-c", f"kill -9 $({pids})")

    def cut(self, member: str, other: str | None = None) -> None:
        """Drop all packets between a container and the others, or one other, without a word."""
        address = _address(names.container(other)) if other else None
        received, sent = (f"ip {way} {address}" if address else "" for way in ("saddr", "daddr"))
        whom = f" from {other}" if other else ""
        self._drop(member, received, sent, f"cut off{whom}")

    def lose(self, member: str, percent: int) -> None:
        """Drop so many of a hundred packets, drawn at random, on a container's way in and out."""
        drawn = f"numgen random mod 100 < {percent}"
        self._drop(member, drawn, drawn, f"loses {percent} % of its packets")

    def _drop(self, member: str, received: str, sent: str, what: str) -> None:
        """Drop what matches; the rule ends by itself should this process die."""
        container = names.container(member)
        helper = f"holdfast-cut-{container}"
        limited = f"sleep {CUT_MOST + self.hold:.0f}; {MEND}"
        self._undo(f"{member} connected again", lambda: _reconnect(helper))
        docker(
            "run", "--detach", "--rm", "--name", helper, "--network", f"container:{container}",
            "--user", "0", "--cap-add", "NET_ADMIN", "--entrypoint", "sh", CUT_IMAGE, "-c", limited,
        )  # fmt: skip
        self.mark(f"{member} {what}", "fault")
        devices = docker("exec", helper, "ls", "/sys/class/net").split()
        rules = "\n".join(
            CUT.format(
                table=CUT_TABLE,
                device=device,
                received=received,
                sent=sent,
            )
            for device in devices
            if device != LOOPBACK
        )
        docker("exec", "--interactive", helper, "nft", "-f", "-", text=rules)

    def empty(self, member: str) -> None:
        """Kill a container and start it on nothing: its volume's contents are removed."""
        container = names.container(member)
        self._undo(f"{member} started", lambda: docker("start", container))
        self.mark(f"{member} killed, its data removed", "fault")
        docker("kill", container)
        folder = REPOSITORY_FOLDER if member == REPOSITORY else volume.HOME
        volume.inside(member, "find . -mindepth 1 -delete", docker, folder)
        docker("start", container)

    def withhold(self, standby: str) -> None:
        """Have the primary send a standby nothing more, and neither of them know."""
        address = _address(names.container(standby))
        sender = cluster.query(self.primary, SENDER.format(address)).strip()
        if not sender:
            raise StackError(f"{self.primary} sends nothing to {standby} to begin with")
        signalled = ("exec", names.container(self.primary), "sh", "-c")
        resume = f"kill -CONT {sender} || true"  # it may have been killed meanwhile
        self._undo(f"{standby} is sent to again", lambda: docker(*signalled, resume))
        self.mark(f"{standby} is sent nothing", "event")
        with deferred():  # as in kill
            docker(*signalled, f"kill -STOP {sender}")

    def damage(self, node: str) -> None:
        """Remove the newest segments of WAL of a node that is down: it cannot recover."""
        self.mark(f"WAL of {node} removed", "event")
        volume.inside(node, DAMAGE, docker)

    def bound(self, node: str) -> None:
        """Put a standby on a small volume; mended by giving it its own back."""
        self._undo(f"{node} on its own volume", lambda: volume.unbound(node, docker))
        self.mark(f"{node} on a small volume", "event")
        volume.bound(node, docker)

    def bound_archiving(self, node: str) -> None:
        """Have a node drop what it cannot archive soon; mended by its own bound, or its restart."""
        container = names.container(node)
        bound = docker("exec", container, "sed", "-n", f"s/^{QUEUE}=//p", PGBACKREST_CONFIG).strip()
        self._undo(f"{node} keeps what it cannot archive", lambda: _bound(container, bound))
        self.mark(f"{node} drops what it cannot archive", "event")
        _bound(container, "48MB")

    def fill(self, node: str) -> None:
        """Fill a small volume to the last byte; mended by making room."""
        self._undo(f"room on the volume of {node}", lambda: volume.make_room(node, docker))
        self.mark(f"no room on the volume of {node}", "fault")
        volume.fill(node, docker)

    def _undo(self, what: str, mending: Callable[[], object]) -> None:
        def mend() -> None:
            self.mark(what, "undone")
            mending()

        self._undos.callback(mend)


def _bound(container: str, most: str) -> None:
    line = f"s/^{QUEUE}=.*/{QUEUE}={most}/"
    docker("exec", container, "sed", "--in-place", line, PGBACKREST_CONFIG)


def _thaw(container: str) -> None:
    state = docker("inspect", "--format", "{{.State.Status}}", container).strip()
    if state == "paused":
        docker("unpause", container)
    elif state != "running":
        docker("start", container)


def _reconnect(helper: str) -> None:
    if not docker("ps", "--quiet", "--filter", f"name=^{helper}$").strip():
        return
    try:
        docker("exec", helper, "sh", "-c", MEND)
    finally:
        docker("rm", "--force", helper)


def _address(container: str) -> str:
    shown = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return docker("inspect", "--format", shown, container).strip()
