"""One PostgreSQL node: what a node can do, and what a drill can do to it.

A node's role is not kept here: PostgreSQL knows it, and it moves. Settings that belong to one
node (port, directory) are on its command line, so that a base backup never copies them; what
changes with the role (upstream, synchronous replication) is in postgresql.auto.conf, which is
written anew whenever the node becomes a standby.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from typing import TYPE_CHECKING, Literal

from ops.embedded.processes import EmbeddedError, Process, Stat, tail, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from ops.embedded.pooler import PgBouncer
    from ops.embedded.unprivileged import Account

START_TIMEOUT = 30.0  # seconds; crash recovery included
COMMAND_TIMEOUT = 60.0  # seconds for initdb, pg_basebackup, pg_rewind, each about 1 s
SQL_TIMEOUT = 15.0  # seconds for one statement of this module
STREAMING_TIMEOUT = 20.0  # seconds until a started standby streams

StopMode = Literal["fast", "immediate"]
_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}

# PostgreSQL's own builtin locale: the same order on every machine. Checksums as the real stack has
# them; 18 has them anyhow, 17 not.
INITDB = [
    *("--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync", "--no-instructions"),
    "--data-checksums",
    *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
]

SETTINGS = """
# Written by ops/embedded/postgres.py
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
shared_buffers = 32MB
wal_level = replica
wal_log_hints = on              # pg_rewind needs it
wal_keep_size = 64MB           # a rejoining standby finds what it missed
max_wal_size = 256MB
max_wal_senders = 10
hot_standby = on
wal_receiver_status_interval = 1s
wal_retrieve_retry_interval = 200ms     # a standby notices a returned primary quickly
wal_receiver_timeout = 5s
wal_sender_timeout = 5s
jit = off
log_line_prefix = '%m [%p] %q%a '
"""


class Node:
    """A PostgreSQL server in a directory of its own.

    Every method raises EmbeddedError, with the end of the node's log, when the server does not
    do it in time.
    """

    def __init__(self, name: str, port: int, root: Path, binaries: Path, account: Account) -> None:
        self.name = name
        self.port = port
        self.data = root / name
        self.log = root / f"{name}.log"
        self._binaries = binaries
        self._account = account
        self.process = Process(name, self.log, account)
        self.pooler: PgBouncer | None = None  # of this machine, if it has one

    def another(self, name: str, port: int) -> Node:
        """Return a server beside this one, with the same programs."""
        return Node(name, port, self.data.parent, self._binaries, self._account)

    @property
    def serving_port(self) -> int:
        """Where clients come to: the pooler's port, where there is one."""
        return self.port if self.pooler is None else self.pooler.port

    @property
    def address(self) -> str:
        """host:port, as HAProxy wants it."""
        return f"127.0.0.1:{self.port}"

    @property
    def exists(self) -> bool:
        """Whether there is a complete data directory, not one half made by a killed run."""
        configuration = self.data / "postgresql.conf"
        return configuration.exists() and SETTINGS in configuration.read_text()

    @property
    def is_standby_directory(self) -> bool:
        """Whether the data directory is a standby's; it ceases to be at its promotion."""
        return self.exists and (self.data / "standby.signal").exists()

    @property
    def running(self) -> bool:
        """Whether the server process lives; a frozen one does."""
        return self.process.running

    # ------------------------------------------------------------ making a data directory
    def initialise(self, *, durable: bool) -> None:
        """Create an empty cluster. Without `durable` a machine crash may lose it: for tests."""
        self._fresh_directory()
        self._tool("initdb", "--pgdata", str(self.data), *INITDB)
        with (self.data / "postgresql.conf").open("a") as configuration:
            configuration.write(f"fsync = {'on' if durable else 'off'}\n" + SETTINGS)

    def copy_from(self, upstream: Node) -> None:
        """Become a standby of `upstream` by a fresh base backup; the node must be stopped."""
        self._fresh_directory()
        self._tool(
            "pg_basebackup",
            *("--pgdata", str(self.data), "--dbname", upstream.conninfo(self.name)),
            *("--checkpoint=fast", "--wal-method=stream", "--no-sync"),
        )
        self._configure_standby(upstream)

    def rewind_to(self, upstream: Node) -> None:
        """Become a standby of `upstream` by pg_rewind; the node must be stopped.

        Raises EmbeddedError when the histories cannot be joined; `copy_from` always can.
        """
        self._tool(
            "pg_rewind",
            *("--target-pgdata", str(self.data), "--source-server", upstream.conninfo(self.name)),
            "--no-sync",
        )
        self._configure_standby(upstream)

    def follow(self, upstream: Node) -> None:
        """Become a standby without copying anything, after a clean handover to `upstream`."""
        self._configure_standby(upstream)

    def conninfo(self, application: str) -> str:
        """How a superuser reaches this node; `application` is the name a standby goes by."""
        return (
            f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres "
            f"application_name={application} connect_timeout=3"
        )

    # ------------------------------------------------------------ process
    def start(self) -> None:
        """Start the server and wait until it answers queries."""
        self._forget_dead_server()
        command = [str(self._binaries / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        self.process.start(command, self._environment(), self.data)
        self.process.wait_ready(self._accepts_connections, START_TIMEOUT, "accepting connections")
        if self.pooler is not None and not self.pooler.process.running:
            self.pooler.start()

    def stop(self, mode: StopMode = "fast") -> None:
        """Shut down: `fast` in order (a primary hands its last WAL over), `immediate` at once."""
        if not self.process.stop(_SIGNALS[mode]):
            raise EmbeddedError(f"{self.name} had to be killed in its {mode} stop{tail(self.log)}")

    def kill(self) -> None:
        """SIGKILL all of its processes, as a lost machine would."""
        self.process.kill()
        if self.pooler is not None:
            self.pooler.process.kill()

    def pause(self) -> None:
        """Freeze all of its processes: connections stay open and nothing answers."""
        self.process.pause()
        if self.pooler is not None:
            self.pooler.process.pause()

    def resume(self) -> None:
        """Undo `pause`."""
        self.process.resume()
        if self.pooler is not None and self.pooler.process.running:
            self.pooler.process.resume()

    # ------------------------------------------------------------ role
    @property
    def in_recovery(self) -> bool:
        """Whether it is a standby."""
        return self.sql("SELECT pg_is_in_recovery()") == "t"

    @property
    def writable(self) -> bool:
        """Whether a client could write: neither a standby nor held back."""
        return self.running and self.sql("SHOW transaction_read_only") == "off"

    def promote(self, *, held: bool = False) -> None:
        """Make a standby the primary.

        With `held` it stays read-only (default_transaction_read_only), as pg_auto_failover
        keeps a promoted node until the old primary must have fenced itself; see `release`.
        """
        if held:
            self.sql("ALTER SYSTEM SET default_transaction_read_only = on")
            self.reload("default_transaction_read_only", "on")
        if self.sql(f"SELECT pg_promote(true, {int(SQL_TIMEOUT)})") != "t":
            raise EmbeddedError(f"{self.name} was not promoted{tail(self.log)}")

    def release(self) -> None:
        """Let clients write to a node that was promoted with `held`."""
        self.sql("ALTER SYSTEM RESET default_transaction_read_only")
        self.reload("default_transaction_read_only", "off")

    def reload(self, setting: str, expected: str) -> None:
        """Have the server read its files again, and wait until `setting` is as expected."""
        self.sql("SELECT pg_reload_conf()")
        wait_until(
            lambda: self.sql(f"SHOW {setting}") == expected,
            SQL_TIMEOUT,
            f"{self.name} to have {setting} = {expected!r}",
            self.log,
        )

    def streams_to(self, standby: Node) -> bool:
        """Whether `standby` has caught up with this node and streams."""
        query = "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'"
        return standby.name in self.sql(query).splitlines()

    def wait_streaming(self, standby: Node) -> None:
        """Wait until `standby` streams."""
        wait_until(
            lambda: self.streams_to(standby),
            STREAMING_TIMEOUT,
            f"{standby.name} to stream from {self.name}",
            standby.log,
        )

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run statements as superuser; rows come back as lines, columns parted by `|`."""
        return self.psql("--command", statement, database=database)

    def psql(self, *arguments: str, database: str = "postgres") -> str:
        """Run psql as superuser on this node, stopping at the first error."""
        url = f"postgresql://postgres@127.0.0.1:{self.port}/{database}?connect_timeout=3"
        options = ("-X", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1")
        return self._tool("psql", url, *options, *arguments, timeout=SQL_TIMEOUT)

    def console(self, command: str) -> str:
        """Run a command on the console of its pooler, as whoever runs that may; rows as CSV."""
        if self.pooler is None:
            raise EmbeddedError(f"{self.name} has no pooler")
        where = f"host={self.pooler.folder} port={self.pooler.port} user=pgbouncer dbname=pgbouncer"
        return self._tool("psql", where, "-X", "--csv", "--command", command, timeout=SQL_TIMEOUT)

    # ------------------------------------------------------------ details
    def _fresh_directory(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)
        self._account.make_directory(self.data)

    def _configure_standby(self, upstream: Node) -> None:
        """Replace what ALTER SYSTEM left, the former role's settings, and mark it a standby."""
        conninfo = upstream.conninfo(self.name).replace("dbname=postgres ", "")
        (self.data / "postgresql.auto.conf").write_text(f"primary_conninfo = '{conninfo}'\n")
        (self.data / "standby.signal").touch()
        self._account.own(self.data / "standby.signal")

    def _forget_dead_server(self) -> None:
        """Remove the lock file of a killed server.

        PostgreSQL would, but takes a zombie that nobody has reaped yet for a living server.
        """
        file = self.data / "postmaster.pid"
        if file.exists() and Stat.read(int(file.read_text().split(maxsplit=1)[0])) is None:
            file.unlink()

    def _accepts_connections(self) -> bool:
        """Whether the server wrote that it is ready, as pg_ctl finds out."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return lines[0:1] == [str(self.process.pid)] and lines[7:8] == ["ready   "]

    def _environment(self) -> dict[str, str]:
        return {"PATH": str(self._binaries), "HOME": str(self.data.parent), "LC_ALL": "C.UTF-8"}

    def _tool(self, name: str, *arguments: str, timeout: float = COMMAND_TIMEOUT) -> str:
        command = [str(self._binaries / name), *arguments]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
                stdin=subprocess.DEVNULL,
                cwd=self.data.parent,
                env=self._environment(),
                **self._account.popen_arguments(),
            )
        except subprocess.TimeoutExpired as error:
            raise EmbeddedError(
                f"{self.name}: {name} {' '.join(arguments)} took over {timeout:g} s{tail(self.log)}"
            ) from error
        if done.returncode:
            raise EmbeddedError(f"{self.name}: {name}: {done.stderr.strip()}{tail(self.log)}")
        return done.stdout.strip()
