"""`make dev` as a developer sees it: it starts, heals, reloads, ends, and explains itself."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from ops.dev import DEFAULT_PORTS
from ops.embedded import free_port, scratch_directory, wait_until
from ops.embedded.leftovers import Claim
from ops.embedded.processes import Process, Stat, children
from tests.integration.support import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_TIMEOUT = 60.0  # seconds; about 4 on an idle machine
STOP_TIMEOUT = 30.0  # seconds; about 1


class Dev:
    """One `make dev`, on a copy of the code that the test may change."""

    def __init__(self, code: Path, data: Path) -> None:
        self.code = code
        self.data = data
        self.ports = {name: free_port() for name in DEFAULT_PORTS}
        self.log = data.parent / "dev.log"
        self.process = Process("dev", self.log)

    @property
    def arguments(self) -> list[str]:
        """The command line after `make dev`."""
        chosen = [f"--{name}-port={port}" for name, port in self.ports.items()]
        return [f"--directory={self.data}", *chosen]

    def start(self) -> None:
        """Start it, and wait until it says so and the service answers through HAProxy."""
        starts = self.starts()
        self.process.start(
            [sys.executable, "-m", "ops.dev", *self.arguments], os.environ, self.code
        )
        self.process.wait_ready(
            lambda: self.starts() > starts and self.users() is not None, START_TIMEOUT, "serving"
        )

    def starts(self) -> int:
        """How often it has said that everything runs."""
        return self.log.read_text().count("Ctrl-C ends everything") if self.log.exists() else 0

    def stop(self, number: signal.Signals) -> int | None:
        """Send a signal, and return the exit code."""
        assert self.process.stop(number, STOP_TIMEOUT), self.log.read_text()
        return self.process.exit_code

    def users(self) -> set[str] | None:
        """Addresses of all users, by the write route's view; None while nobody serves."""
        try:
            response = httpx.get(f"http://127.0.0.1:{self.ports['http']}/api/users", timeout=20)
        except httpx.TransportError:
            return None
        if response.status_code != 200:
            return None
        return {user["email"] for user in response.json()["items"]}

    def create(self, name: str) -> httpx.Response:
        """Create NAME@example.com."""
        body = {"email": f"{name}@example.com", "name": name}
        return httpx.post(f"http://127.0.0.1:{self.ports['http']}/api/users", json=body, timeout=20)

    def descendants(self) -> list[int]:
        """Everything that it runs."""
        found = children(self.process.pid)
        return [*found, *(each for one in found for each in children(one))]

    def wait_log(self, pattern: str) -> None:
        """Wait until it has written something."""
        wait_until(
            lambda: re.search(pattern, self.log.read_text()) is not None,
            START_TIMEOUT,
            f"dev to write {pattern!r}",
            self.log,
        )


@pytest.fixture
def dev() -> Iterator[Dev]:
    """Prepare a `make dev` of the test's own, and end whatever is left of it."""
    with scratch_directory() as directory:
        code = directory / "code"
        code.mkdir()
        shutil.copy(ROOT / "alembic.ini", code)
        for folder in ("service", "ops", "alembic", "deploy"):
            shutil.copytree(ROOT / folder, code / folder)
        made = Dev(code, directory / "data")
        try:
            yield made
        finally:
            made.process.stop(signal.SIGTERM, STOP_TIMEOUT)
            if made.data.exists():
                Claim(made.data).release()  # ends orphans of a test that failed half-way


def test_starts_heals_reloads_and_stops(dev: Dev) -> None:
    """The three things that it tells a developer to try work as told; Ctrl-C ends all of it.

    Code that does not start is said, and mending it is enough.
    """
    dev.start()
    output = dev.log.read_text()
    # 1. Create a user.
    assert f"127.0.0.1:{dev.ports['http']}/api/users" in output
    assert dev.create("katherine").status_code == 201
    # 2. Kill the primary, by the command that is printed.
    command = re.search(r"kill -9 \$\(head -1 \S+\)", output)
    assert command is not None
    subprocess.run(["sh", "-c", command[0]], check=True, timeout=5)
    assert dev.create("after-the-kill").status_code == 201
    dev.wait_log("postgres1 was lost: postgres2 is primary, postgres1 is back")
    # 3. Change the code.
    app = dev.code / "service" / "app.py"
    good = app.read_text()
    assert 'title="Holdfast"' in good
    app.write_text("this is no python\n")
    dev.wait_log("the service ended")
    app.write_text(good.replace('title="Holdfast"', 'title="Changed"'))
    url = f"http://127.0.0.1:{dev.ports['http']}/openapi.json"

    def changed() -> bool:
        response = httpx.get(url, timeout=5)
        return response.status_code == 200 and response.json()["info"]["title"] == "Changed"

    wait_until(changed, START_TIMEOUT, "the changed service", dev.log)
    running = dev.descendants()
    assert len(running) > 10
    assert dev.stop(signal.SIGINT) == 0
    assert not [pid for pid in running if Stat.read(pid)]


def test_data_survives_sigkill(dev: Dev) -> None:
    """Killed without a word and started again, it ends what it left and finds its data."""
    dev.start()
    assert dev.create("kept").status_code == 201
    orphans = [pid for pid in dev.descendants() if Stat.read(pid)]
    os.kill(dev.process.pid, signal.SIGKILL)
    wait_until(lambda: not dev.process.running, 5, "dev to be gone")
    dev.start()
    assert not [pid for pid in orphans if Stat.read(pid)]
    assert "kept@example.com" in (dev.users() or set())
    assert dev.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize("name", ["http", "app1"])
def test_port_in_use_is_explained(dev: Dev, name: str) -> None:
    """A taken port is named, with its purpose and with what to do; nothing is left running."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", dev.ports[name]))
        taken.listen()
        done = subprocess.run(
            [sys.executable, "-m", "ops.dev", *dev.arguments],
            cwd=dev.code,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT,
            check=False,
        )
    assert done.returncode == 1
    assert f"port {dev.ports[name]} ({name})" in done.stderr
    assert "make dev ARGS=" in done.stderr
    assert "Traceback" not in done.stderr
