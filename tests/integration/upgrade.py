"""docs/upgrade.md as a program: its statements, and the two pairs that they lead from and to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from ops.embedded import Node, free_port, wait_until
from ops.embedded.majors import MAJORS
from ops.embedded.pair import DATABASE
from ops.embedded.unprivileged import reachable_copy
from tests.integration.support import ROOT

if TYPE_CHECKING:
    from ops.embedded import EmbeddedStack
    from ops.embedded.pair import Pair

GUIDE = ROOT / "docs" / "upgrade.md"
SOURCE = "host=OLD-PRIMARY port=5432"  # as the guide has it
STEP_TIMEOUT = 30.0  # seconds for what a statement asks for; about 1
_BLOCK = re.compile(r"^```sql\n-- (old|new|both): (.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def statements() -> dict[str, tuple[str, str]]:
    """Return the guide's statements by their titles, in order, each with where it belongs."""
    blocks = _BLOCK.findall(GUIDE.read_text())
    return {title: (place, text) for place, title, text in blocks}


class Upgrade:
    """The way from one pair to a pair of another major release, a step a method."""

    def __init__(self, old: EmbeddedStack, new: Pair) -> None:
        self.old = old
        self.new = new
        self.done: list[str] = []  # titles of what was followed
        self._file = old.directory / "step.sql"  # where psql may read it

    def follow(self, title: str, **filled_in: str) -> str:
        """Do what the guide says under a title; return what is printed."""
        place, text = statements()[title]
        for name, value in filled_in.items():
            text = text.replace({"source": SOURCE}[name], value)
        node = self.old.primary if place == "old" else self.new.primary
        self.done.append(title)
        return self._run(node, text)

    def wait(self, title: str) -> None:
        """Ask what the guide asks until the answer is yes."""
        node = self.old.primary
        wait_until(lambda: self.follow(title) == "t", STEP_TIMEOUT, f"{title} yes", node.log)

    def counted(self) -> tuple[str, str]:
        """Return what the guide counts, in the old pair and in the new one."""
        title = "how many"
        self.done.append(title)
        text = statements()[title][1]
        return self._run(self.old.primary, text), self._run(self.new.primary, text)

    def log_logically(self) -> None:
        """Give the old pair another wal_level, a node after the other."""
        for node in self.old.nodes:
            with (node.data / "postgresql.conf").open("a") as configuration:
                configuration.write("wal_level = logical\n")
        standby = self.old.standby
        self.old.set_synchronous(on=False)
        standby.stop("fast")
        standby.start()
        self.old.primary.wait_streaming(standby)
        self.old.set_synchronous(on=True)
        self.old.switchover()

    def copy_schema(self) -> None:
        """Make all but the rows: tables, partitions, functions and rights."""
        old, new = self.old.primary, self.new.primary
        source = f"postgresql://postgres@127.0.0.1:{old.port}/{DATABASE}"
        options = ("--schema-only", "--no-publications", "--no-subscriptions")
        self._run(new, new._tool("pg_dump", source, *options))

    def copy_sequences(self) -> None:
        """Set what the statements of the old pair say in the new one."""
        self._run(self.new.primary, self.follow("sequences"))

    def take_the_place(self) -> None:
        """Stop the old pair; give the new one its ports, where HAProxy finds it."""
        self.new.primary.wait_streaming(self.new.standby)
        self.new.wait_replayed()
        ports = sorted(node.port for node in self.old.nodes)
        for node in (self.old.standby, self.old.primary):
            node.stop("immediate")
        for node in (self.new.primary, self.new.standby):
            node.stop("fast")
            node.port = ports.pop(0)
        self.new.standby.follow(self.new.primary)
        for node in (self.new.primary, self.new.standby):
            node.start()
        self.new.primary.wait_streaming(self.new.standby)

    def _run(self, node: Node, text: str) -> str:
        """Each statement in a transaction of its own, up to the first error."""
        self._file.write_text(text)
        self._file.chmod(0o644)
        return node.psql("--file", str(self._file), database=DATABASE)


def migrations_at(port: int) -> subprocess.CompletedProcess[str]:
    """Ask Alembic whether a database has what the code has; exit code 0 if so."""
    return subprocess.run(
        [sys.executable, "-m", "alembic", "current", "--check-heads"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"DB_WRITE_HOST": "127.0.0.1", "DB_WRITE_PORT": str(port), "DB_NAME": DATABASE,
             "DB_USER": "holdfast_owner", "DB_PASSWORD": "none", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


def upgraded(stack: EmbeddedStack) -> Node:
    """Run pg_upgrade on the stopped primary, to a server of 18 beside it, which is not started."""
    old, account = stack.primary, stack._account
    programs = reachable_copy(MAJORS[18].programs.parent, stack.directory, account) / "bin"
    new = Node("upgraded", free_port(), stack.directory, programs, account)
    new.initialise(durable=False)
    done = subprocess.run(
        [
            *(programs / "pg_upgrade", "--link", "--no-sync", "--username=postgres"),
            *(f"--old-bindir={old._binaries}", f"--new-bindir={programs}"),
            *(f"--old-datadir={old.data}", f"--new-datadir={new.data}"),
            *(f"--old-port={free_port()}", f"--new-port={free_port()}"),
        ],
        cwd=account.make_directory(stack.directory / "upgrade"),  # sockets are here
        env=old._environment() | {"PATH": os.defpath},  # it runs cp
        capture_output=True,
        text=True,
        timeout=STEP_TIMEOUT,
        check=False,
        **account.popen_arguments(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return new
