"""HAProxy as a plain process, with the deployed configuration.

The configuration is the stack's file; the environment variables it takes say what differs.
Tests pass a changed text to show that a check matters.
"""

from __future__ import annotations

import csv
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from ops.embedded.processes import Process, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ops.embedded.unprivileged import Account

CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy" / "haproxy" / "haproxy.cfg"

NODES = CONFIGURATION.with_name("nodes.lua")
"""What its checks ask; it loads it from where it is itself."""

SOCKET = "admin.sock"
"""Of its runtime API."""

START_TIMEOUT = 10.0  # seconds
STATUS_TIMEOUT = 10.0  # seconds for checks to see a change; they need about one
ANSWER_TIMEOUT = 5.0  # seconds for one command


class HAProxy:
    """One proxy. `variables` are those of haproxy.cfg."""

    def __init__(
        self, root: Path, binaries: Path, account: Account, variables: Mapping[str, str]
    ) -> None:
        self.log = root / "haproxy.log"
        self._root = account.make_directory(root / "haproxy")
        self._account = account
        self._binaries = binaries
        self._variables = dict(variables)
        self.process = Process("haproxy", self.log, account)

    def start(
        self,
        configuration: str | None = None,
        nodes: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Start with the deployed files, or other texts, and wait until it answers.

        `variables` are for this start alone, beside those that it has.
        """
        for deployed, text in ((CONFIGURATION, configuration), (NODES, nodes)):
            file = self._root / deployed.name
            file.write_text(deployed.read_text() if text is None else text)
            self._account.own(file)
        env = {
            **self._variables,
            **(variables or {}),
            "PG_CLEAR_TEXT": "yes",  # on loopback
            "STATS_SOCKET": f"unix@{SOCKET}",  # relative: a socket's path has 107 bytes at most
            "LD_LIBRARY_PATH": str(self._binaries / "lib"),
        }
        command = [str(self._binaries / "haproxy"), "-db", "-f", CONFIGURATION.name]
        self.process.start(command, env, self._root)
        self.process.wait_ready(self._answers, START_TIMEOUT, "answering commands")

    def command(self, text: str) -> str:
        """Run a command of HAProxy's runtime API. Works where all its connections are taken."""
        # By the folder's descriptor: a path may be longer than a socket's may be.
        folder = os.open(self._root, os.O_PATH)
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(ANSWER_TIMEOUT)
                client.connect(f"/proc/self/fd/{folder}/{SOCKET}")
                client.sendall(text.encode() + b"\n")
                with client.makefile() as answer:
                    return answer.read().rstrip("\n")
        finally:
            os.close(folder)

    def known(self, node: str) -> str:
        """Ask what its checks are told of a node."""
        return self.command(f"show node {node}")

    def stop(self) -> None:
        """End it at once, cutting its connections."""
        self.process.stop(signal.SIGTERM)

    def statistics(self, backend: str) -> dict[str, dict[str, str]]:
        """Each server of a backend with its statistics."""
        rows = csv.DictReader(self.command("show stat").removeprefix("# ").splitlines())
        return {
            row["svname"]: row
            for row in rows
            if row["pxname"] == backend and row["svname"] != "BACKEND"
        }

    def servers(self, backend: str) -> dict[str, str]:
        """Each server of a backend with its status, such as UP or DOWN."""
        return {name: row["status"] for name, row in self.statistics(backend).items()}

    def up(self, backend: str) -> set[str]:
        """Names of the servers that take connections; going down counts as up, as for HAProxy."""
        return {name for name, status in self.servers(backend).items() if status.startswith("UP")}

    def wait_up(self, backend: str, expected: set[str]) -> None:
        """Wait until exactly these servers of a backend are up."""
        wait_until(
            lambda: self.up(backend) == expected,
            STATUS_TIMEOUT,
            f"haproxy to see exactly {sorted(expected)} up in {backend}",
            self.log,
        )

    def _answers(self) -> bool:
        try:
            self.servers("apps")
        except OSError:
            return False
        return True
