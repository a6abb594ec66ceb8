"""PgBouncer as a plain process beside a node, with the deployed configuration.

What that includes says where it is: its port, its node's, and that loopback trusts everybody, as
the nodes do. The program is Debian's (deploy/bootstrap/install-pgbouncer.sh).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ops.embedded.processes import EmbeddedError, Process
from ops.embedded.unprivileged import reachable_copy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ops.embedded.unprivileged import Account

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = ROOT / "deploy" / "postgres" / "pgbouncer.ini"
POOLER_SQL = CONFIGURATION.with_name("pooler.sql")
UNPACKED = ROOT / "build" / "pgbouncer"
"""Where install-pgbouncer.sh puts it, on a host whose own is too old."""

LEAST = (1, 21)  # follows prepared statements in transaction mode
START_TIMEOUT = 10.0  # seconds
MISSING = (
    "pgbouncer 1.21 or newer is missing: "
    f"deploy/bootstrap/install-pgbouncer.sh {UNPACKED.relative_to(ROOT)}"
)

Options = dict[str, str]


def program() -> Path | None:
    """Return the pgbouncer that this host has, if one is new enough."""
    unpacked = UNPACKED / "pgbouncer"
    if os.access(unpacked, os.X_OK):
        return unpacked
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    return Path(found) if found and _version(found) >= LEAST else None


def _version(found: str) -> tuple[int, ...]:
    command = [found, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    words = done.stdout.split()  # "PgBouncer 1.24.1", and its libraries
    return tuple(int(part) for part in words[1].split(".")[:2]) if len(words) > 1 else ()


class PgBouncer:
    """One pooler, in front of the PostgreSQL on `server`'s port."""

    def __init__(self, name: str, port: int, server: int, root: Path, account: Account) -> None:
        self.name = name
        self.port = port
        self.log = root / f"{name}.log"
        self._server = server
        self._root = root
        self._account = account
        self.folder = root / name
        self.process = Process(name, self.log, account)
        self.options: Options = {}  # beside the deployed ones, from the next start or reload on
        self.databases: Mapping[str, str] = {"*": ""}  # and what is said beside where they are

    def start(self) -> None:
        """Start it, and wait until it listens. Raises EmbeddedError, also without the program."""
        found = program()
        if found is None:
            raise EmbeddedError(MISSING)
        self._account.make_directory(self.folder)
        self.write()
        if found.parent == UNPACKED:
            found = reachable_copy(UNPACKED, self._root, self._account) / found.name
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        self.process.start([str(found), CONFIGURATION.name], environment, self.folder)
        self.process.wait_ready(self._listens, START_TIMEOUT, f"listening on {self.port}")

    def reload(self) -> None:
        """Have it read its files again."""
        self.write()
        os.kill(self.process.pid, signal.SIGHUP)

    def stop(self) -> None:
        """End it at once, cutting its connections."""
        self.process.stop(signal.SIGQUIT)  # SIGTERM waits for its clients to leave

    def write(self) -> None:
        """Write the deployed configuration, and what it includes."""
        where = f"host=127.0.0.1 port={self._server}"
        options = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": str(self.folder),  # its console's
            "auth_type": "trust",
            **self.options,
        }
        databases = (f"{name} = {where} {more}\n" for name, more in self.databases.items())
        here = (f"{name} = {value}\n" for name, value in options.items())
        for name, text in (
            (CONFIGURATION.name, CONFIGURATION.read_text()),
            ("databases.ini", "".join(databases)),
            ("here.ini", "".join(here)),
        ):
            file = self.folder / name
            file.write_text(text)
            self._account.own(file)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
