"""A shell that has the functions of a data node's entry point (deploy/postgres/bin)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "deploy"
TOGETHER = (
    "shell/loops.sh",
    "postgres/bin/common.sh",
    "postgres/bin/copies.sh",
    "postgres/bin/heal.sh",
    "postgres/bin/pgbackrest.sh",
    "postgres/bin/replication.sh",
)
"""What an image has in one folder (deploy/postgres/Dockerfile)."""

LIMIT = 20.0  # seconds, for a script of less than two
CONNINFO = (
    "primary_conninfo = 'application_name=pgautofailover_standby_2 host=postgres1 port=5432"
    " user=pgautofailover_replicator sslmode=verify-full sslrootcert=/var/lib/postgresql/tls/ca'"
)
STANDBY = "postgresql-auto-failover-standby.conf"

BEGIN = """
source "$HOME/bin/common.sh"
tls=$HOME/tls mounted=$HOME/mounted PGDATA=$HOME/data NODE_NAME=postgres2
stepped_out=$HOME/stepped-out notes=$HOME stopping=$HOME/stopping ready=$HOME/ready
source "$HOME/bin/copies.sh"
source "$HOME/bin/heal.sh"
source "$HOME/bin/replication.sh"
# Sets `known` to what the kernel knows of this shell's children: page faults of those that have
# ended (each had some), and the numbers of those that have not.
children() {
    read -ra known </proc/$BASHPID/stat
    known=${known[10]}
    local now=""
    read -r now </proc/$BASHPID/task/$BASHPID/children || true
    known+=" $now"
}
passed() { echo $(((${EPOCHREALTIME/./} - began) / 1000)); }
began=${EPOCHREALTIME/./}
"""


class Node:
    """A folder like a node's, and a shell in it that has the functions of one."""

    def __init__(self, home: Path) -> None:
        self.home = home
        for name in ("bin", "mounted", "data"):
            (home / name).mkdir()
        for source in TOGETHER:
            shutil.copy(DEPLOY / source, home / "bin")
        self.mount("tls.pem", "first\n")
        self.mount("ca.crt", "first CA\n")

    def mount(self, file: str, text: str) -> None:
        """Mount another certificate, or another CA's."""
        (self.home / "mounted" / file).write_text(text)

    def run(self, script: str) -> str:
        """Return what a script prints; it succeeds, and says nothing else."""
        done = subprocess.run(
            ["bash", "-c", BEGIN + script],
            env={"PATH": os.environ["PATH"], "HOME": str(self.home)},
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()

    def tells(self, condition: str) -> bool:
        """Return whether a function succeeds."""
        return self.run(f"if {condition}; then echo yes; else echo no; fi") == "yes"
