"""The loopback ports of an embedded stack: chosen, checked, and handed to haproxy.cfg."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from dataclasses import dataclass, field, fields
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from ops.embedded.processes import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Below Linux' ephemeral range (32768 up): an outgoing connection must not take the port of a
# node that is down for a moment.
PORTS = range(20_000, 32_000)

GUESTS = "127.0.0.2"
"""Who connects from here is to HAProxy what comes by the edge is on the real stack."""

BLOCK = 400
"""Ports that one process has for itself."""

_of_stacks: set[int] = set()

LOCKS = Path(tempfile.gettempdir()) / "holdfast-ports"
"""A file for each block, locked by the process that has it."""

NOBODY_LISTENS = "127.0.0.1:1"  # where haproxy.cfg names a server that this stack has not


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """Choose a loopback port nobody listens on, outside the range of outgoing connections.

    Nor is anybody about to: a server of another run that is down for a moment finds its port as it
    left it, and so does this process's stack.
    """
    own = _own_ports()
    for _ in range(BLOCK):
        port = next(own)
        if port not in _of_stacks and port_is_free(port):
            return port
    raise EmbeddedError(f"found no free port in {PORTS.start}..{PORTS.stop - 1}")


def stack_port() -> int:
    """Choose a port that this process never chooses again."""
    port = free_port()
    _of_stacks.add(port)
    return port


@cache
def _own_ports() -> Iterator[int]:
    """Return the ports of a block that is this process's own until it ends, in turn."""
    LOCKS.mkdir(mode=0o777, exist_ok=True)
    blocks = [PORTS[first : first + BLOCK] for first in range(0, len(PORTS), BLOCK)]
    random.shuffle(blocks)  # those of others are seldom met, and leftovers of the killed
    for block in blocks:
        try:
            descriptor = os.open(LOCKS / str(block.start), os.O_RDONLY | os.O_CREAT, 0o666)
        except OSError:  # another user's
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        return cycle(block)  # the lock ends with the process
    raise EmbeddedError(f"others have all ports of {PORTS.start}..{PORTS.stop - 1}; see {LOCKS}")


@dataclass(frozen=True)
class Ports:
    """Loopback ports: four of HAProxy, two of the services behind it, two of the nodes."""

    http: int = field(default_factory=stack_port)
    write: int = field(default_factory=stack_port)
    read: int = field(default_factory=stack_port)
    stats: int = field(default_factory=stack_port)
    app1: int = field(default_factory=stack_port)
    app2: int = field(default_factory=stack_port)
    postgres1: int = field(default_factory=stack_port)
    postgres2: int = field(default_factory=stack_port)

    def by_name(self) -> dict[str, int]:
        """Each port under its name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def haproxy_variables(self) -> dict[str, str]:
        """Make the environment that haproxy.cfg takes."""
        here = {name: f"127.0.0.1:{port}" for name, port in self.by_name().items()}
        return {
            "BIND_HTTP": here["http"],
            "BIND_WRITE": here["write"],
            "BIND_READ": here["read"],
            "BIND_STATS": here["stats"],
            "APP1_ADDRESS": here["app1"],
            "APP2_ADDRESS": here["app2"],
            "POSTGRES1_ADDRESS": here["postgres1"],
            "POSTGRES2_ADDRESS": here["postgres2"],
            "POSTGRES3_ADDRESS": NOBODY_LISTENS,
            "EDGE_ADDRESS": GUESTS,
            "DNS_SERVER": NOBODY_LISTENS,
        }

    def pooled_variables(self, first: int, second: int) -> dict[str, str]:
        """Make what is another where poolers are on the nodes, at these ports."""
        return {
            "POSTGRES1_ADDRESS": f"127.0.0.1:{first}",
            "POSTGRES2_ADDRESS": f"127.0.0.1:{second}",
            "POSTGRES1_CHECK_PORT": str(self.postgres1),
            "POSTGRES2_CHECK_PORT": str(self.postgres2),
        }

    def require_free(self, *names: str) -> None:
        """Raise EmbeddedError listing those of the named ports that are in use."""
        wanted = {name: port for name, port in self.by_name().items() if name in names}
        taken = [f"{port} ({name})" for name, port in wanted.items() if not port_is_free(port)]
        if taken:
            raise EmbeddedError(f"in use by another program: port {', '.join(taken)}")
