"""The loopback ports of an embedded stack: chosen, checked, and handed to haproxy.cfg."""

from __future__ import annotations

import random
import socket
from dataclasses import dataclass, field, fields

from ops.embedded.processes import EmbeddedError

# Below Linux' ephemeral range (32768 up): an outgoing connection must not take the port of a
# node that is down for a moment.
PORTS = range(20_000, 32_000)

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
    """Choose a loopback port nobody listens on, outside the range of outgoing connections."""
    for _ in range(200):
        port = random.choice(PORTS)  # noqa: S311 - spread, not a secret
        if port_is_free(port):
            return port
    raise EmbeddedError(f"found no free port in {PORTS.start}..{PORTS.stop - 1}")


@dataclass(frozen=True)
class Ports:
    """Loopback ports: four of HAProxy, two of the services behind it, two of the nodes."""

    http: int = field(default_factory=free_port)
    write: int = field(default_factory=free_port)
    read: int = field(default_factory=free_port)
    stats: int = field(default_factory=free_port)
    app1: int = field(default_factory=free_port)
    app2: int = field(default_factory=free_port)
    postgres1: int = field(default_factory=free_port)
    postgres2: int = field(default_factory=free_port)

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
            "DNS_SERVER": NOBODY_LISTENS,
        }

    def require_free(self, *names: str) -> None:
        """Raise EmbeddedError listing those of the named ports that are in use."""
        wanted = {name: port for name, port in self.by_name().items() if name in names}
        taken = [f"{port} ({name})" for name, port in wanted.items() if not port_is_free(port)]
        if taken:
            raise EmbeddedError(f"in use by another program: port {', '.join(taken)}")
