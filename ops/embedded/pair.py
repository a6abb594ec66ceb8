"""Two nodes, one of them primary: replication between them, and what can happen to the roles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ops.embedded.pooler import POOLER_SQL
from ops.embedded.processes import EmbeddedError, wait_until

if TYPE_CHECKING:
    from ops.embedded.postgres import Node

ROLES = Path(__file__).resolve().parents[2] / "deploy" / "postgres" / "roles.sql"
DATABASE = "holdfast"
OWNER = "holdfast_owner"
APP = "holdfast_app"
READ = "holdfast_read"
# As deploy/postgres/database.sql: a function of the owner's looks how old the settings are.
STAT_FILE = f"GRANT EXECUTE ON FUNCTION pg_stat_file(text, boolean) TO {OWNER}"

# Any one standby, as pg_auto_failover writes it. A node never waits for itself, so the same
# value is right on whichever is primary.
SYNCHRONOUS = "ANY 1 (postgres1, postgres2)"

REPLICATION_TIMEOUT = 10.0  # seconds for a healthy standby to be taken for one, or to catch up


class Pair:
    """A primary and a standby, by whatever name.

    Commits wait for the standby: one stopped on purpose makes them wait for ever, unless
    `set_synchronous(on=False)` says, as pg_auto_failover does, that there is none.
    Methods raise EmbeddedError when something is not as it should be in time.
    """

    def __init__(self, directory: Path, first: Node, second: Node) -> None:
        """Make `first` the primary, unless an earlier run in `directory` left it otherwise."""
        self.directory = directory
        self.nodes = (first, second)
        self.primary, self.standby = self.nodes

    def start_pair(self, *, durable: bool) -> None:
        """Start both nodes, in the roles of an earlier run; create what is missing."""
        self._recall_primary()
        if not self.primary.exists:
            self.primary.initialise(durable=durable)
        self.primary.start()
        # An earlier run left it waiting for a standby that does not run yet.
        self.primary.sql("ALTER SYSTEM RESET synchronous_standby_names")
        self.primary.reload("synchronous_standby_names", "")
        self.primary.psql("--file", str(ROLES), "--file", str(POOLER_SQL))
        if DATABASE not in self.primary.sql("SELECT datname FROM pg_database").splitlines():
            self.primary.sql(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
            self.primary.sql(STAT_FILE, DATABASE)
        self.rejoin()

    def set_synchronous(self, *, on: bool) -> None:
        """Make commits wait for the standby, or stop it; waiting commits are let go then."""
        value = SYNCHRONOUS if on else ""
        self.primary.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{value}'")
        self.primary.reload("synchronous_standby_names", value)
        if on:
            query = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'"
            wait_until(
                lambda: self.primary.sql(query) == "1",
                REPLICATION_TIMEOUT,
                f"{self.primary.name} to take its standby for synchronous",
                self.primary.log,
            )

    def wait_replayed(self) -> None:
        """Wait until the standby shows everything that the primary has committed."""
        position = self.primary.sql("SELECT pg_current_wal_lsn()")
        wait_until(
            lambda: self.standby.sql(f"SELECT pg_last_wal_replay_lsn() >= '{position}'") == "t",
            REPLICATION_TIMEOUT,
            f"{self.standby.name} to replay up to {position}",
            self.standby.log,
        )

    def checkpoint(self) -> None:
        """Make recovery short: after a crash, and after pg_rewind, both nodes start from here."""
        self.primary.sql("CHECKPOINT")
        self.wait_replayed()
        self.standby.sql("CHECKPOINT")

    # ------------------------------------------------------------ what happens to it
    def failover(self, *, held: bool = False) -> Node:
        """Kill the primary and promote the standby, alone and unsynchronised; return it.

        With `held` it is promoted but not yet writable: `Node.release` ends that.
        """
        self.primary.kill()
        return self.promote_standby(held=held)

    def promote_standby(self, *, held: bool = False) -> Node:
        """Promote the standby, whatever the primary does meanwhile; the two swap names here."""
        self.standby.promote(held=held)
        self.primary, self.standby = self.standby, self.primary
        self._role_note.write_text(self.primary.name)
        return self.primary

    def rejoin(self, *, rewind: bool = True) -> Node:
        """Bring the other node back as a synchronous standby; return it.

        A standby that was lost goes on where it was, an old primary is rewound; a fresh base
        backup where that is not wanted or not possible.
        """
        node = self.standby
        if node.running:
            node.stop("immediate")
        if not (rewind and node.exists and (self._resumed(node) or self._rewound(node))):
            node.copy_from(self.primary)
            node.start()
            self.primary.wait_streaming(node)
        self.set_synchronous(on=True)
        return node

    def switchover(self) -> Node:
        """Swap roles in order, without losing or diverging anything; return the new primary."""
        old = self.primary
        old.stop("fast")
        self.promote_standby()
        old.follow(self.primary)
        old.start()
        self.primary.wait_streaming(old)
        self.set_synchronous(on=True)
        return self.primary

    def repair(self) -> str | None:
        """Do what pg_auto_failover would about a dead node; say what, or None if none is dead."""
        if not self.primary.running and self.standby.running:
            lost = self.primary
            self.promote_standby()
            self.rejoin()
            return f"{lost.name} was lost: {self.primary.name} is primary, {lost.name} is back"
        if self.primary.running and not self.standby.running:
            self.set_synchronous(on=False)
            self.rejoin()
            return f"{self.standby.name} was lost and is back as standby"
        if not self.primary.running:
            raise EmbeddedError("both nodes are dead")
        return None

    def restore(self) -> None:
        """Return from whatever state to a writable primary with a synchronous standby."""
        for node in self.nodes:
            if node.running:
                node.resume()
        if not self.primary.running and self.standby.running and self.standby.in_recovery:
            self.promote_standby()
        if not self.primary.running:
            self.primary.start()
        if self.primary.in_recovery:
            self.primary.promote()
        self.primary.sql("ALTER SYSTEM RESET ALL")
        self.primary.reload("default_transaction_read_only", "off")
        if not self.standby.running or not self.primary.streams_to(self.standby):
            self.rejoin()
        self.set_synchronous(on=True)

    # ------------------------------------------------------------ details
    def _resumed(self, standby: Node) -> bool:
        """Start a standby that an earlier run left; False when it is of no use any more."""
        if not standby.is_standby_directory:
            return False
        try:
            standby.follow(self.primary)  # which may have another port by now
            standby.start()
            self.primary.wait_streaming(standby)
        except EmbeddedError:  # half a copy, or too far behind: there are other ways
            standby.kill()
            return False
        return True

    @property
    def _role_note(self) -> Path:
        return self.directory / "primary"

    def _recall_primary(self) -> None:
        """Take the roles that an earlier run left; a killed primary's directory does not tell."""
        if self._role_note.exists() and self._role_note.read_text() == self.standby.name:
            self.primary, self.standby = self.standby, self.primary

    def _rewound(self, node: Node) -> bool:
        try:
            node.rewind_to(self.primary)
            node.start()
            self.primary.wait_streaming(node)
        except EmbeddedError:  # its history or its WAL is gone; a base backup needs neither
            node.kill()
            return False
        return True
