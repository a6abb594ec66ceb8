"""The machine under the stack: a Docker engine, Compose and a base image.

What is missing is installed by the scripts in deploy/bootstrap, unless BOOTSTRAP=no. What was
started here is remembered in .holdfast/engine, so that `down` stops exactly that.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ops import names
from ops.console import Progress, StackError, result, run_step

if TYPE_CHECKING:
    from pathlib import Path

INSTALL_LIMIT = 600.0
"""Seconds for installing a package from a slow mirror."""

OWN_BASE = "holdfast-base:trixie"
"""The base image's name where it is made and not pulled (deploy/bootstrap/base-image.sh)."""

IMAGE_LABEL = "org.opencontainers.image.title=holdfast"
"""What every image of the stack is labelled with (deploy/*/Dockerfile)."""

IMAGE, IMAGE_UPDATED = "holdfast-postgres", '{{index .Config.Labels "holdfast.updated"}}'
"""One of the images, and the label of all that says when their packages are of."""

SBIN = "/usr/sbin:/sbin"
"""Where dockerd is, which is on no plain user's PATH."""

ENGINE_LIMIT = 90.0
"""Seconds for the engine to start; the script itself gives up after 60."""

ENGINE_STOP = 40.0
"""Seconds for the engine to stop."""


def moment() -> str:
    """Return this moment as images are labelled with it: ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Host:
    """The host as the stack needs it."""

    def __init__(self, root: Path) -> None:
        """`root` is the directory of the checkout."""
        self.root = root
        self.state = root / ".holdfast"
        self.logs = names.state(root) / "logs"
        self.scripts = root / "deploy" / "bootstrap"
        self.may_install = os.environ.get("BOOTSTRAP", "yes") != "no"

    def prepare(self) -> str:
        """Make engine, Compose and base image available; return the base image's name."""
        self.logs.mkdir(parents=True, exist_ok=True)
        self._engine()
        self._compose()
        return self._base_image()

    def engine_answers(self) -> bool:
        """Tell whether a Docker engine answers."""
        return self._succeeds("docker", "version")

    def stop_engine(self) -> None:
        """Stop the engine if `up` started it and nothing else runs on it."""
        record = self.state / "engine"
        if not record.exists():
            return
        how = record.read_text().split()
        progress = Progress("Docker engine")
        running = _output("docker", "ps", "--quiet").split()
        if running:
            progress.done(f"left running: {len(running)} other containers use it")
            return
        if how[0] == "systemd":
            subprocess.run(["systemctl", "stop", "docker.socket", "docker"], check=False)
        else:
            _end(int(how[1]), "dockerd", ENGINE_STOP)
            # The daemon leaves its bridge behind.
            subprocess.run(["ip", "link", "delete", "docker0"], capture_output=True, check=False)
        record.unlink()
        progress.done("stopped (`make up` had started it)")

    def remove_images(self) -> None:
        """Remove the base image that was made here, and the build cache."""
        self.remove_superseded_images()
        for command in (["image", "rm", "--force", OWN_BASE], ["builder", "prune", "--force"]):
            subprocess.run(["docker", *command], capture_output=True, check=False)

    def updated(self) -> str:
        """Return the moment that the images' packages are of; now, where there is none yet."""
        shown = ("docker", "image", "inspect", "--format", IMAGE_UPDATED, IMAGE)
        done = subprocess.run(shown, capture_output=True, text=True, check=False)
        return done.stdout.strip() or moment()

    def update_compose(self) -> None:
        """Take the newest Docker Compose of the archive that it came from, if from there."""
        if os.geteuid() == 0 and self.may_install:
            script = str(self.scripts / "install-compose.sh")
            log = self.logs / "compose.log"
            run_step("Docker Compose", [script, "update"], log, limit=INSTALL_LIMIT)

    def remove_superseded_images(self) -> None:
        """Remove earlier builds of the stack's images that no name points to any more."""
        command = ["docker", "image", "prune", "--force", "--filter", f"label={IMAGE_LABEL}"]
        subprocess.run(command, capture_output=True, check=False)

    def wake_engine(self) -> bool:
        """Start the engine if it is installed and does not answer; tell whether there is one.

        What is removed is asked of the engine, also when `down` has stopped it.
        """
        if self.engine_answers():
            return True
        if shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:{SBIN}") is None:
            return False
        self.logs.mkdir(parents=True, exist_ok=True)
        self._start_engine()
        return True

    def _start_engine(self) -> None:
        if os.geteuid() != 0:
            raise StackError(
                "Docker is installed but its engine does not answer this user. Start it "
                "(systemctl start docker), join the group docker, or run as root."
            )
        log = self.state / "dockerd.log"
        command = [str(self.scripts / "start-docker.sh"), str(log)]
        how = run_step(
            "Starting the Docker engine", command, self._log("engine"), limit=ENGINE_LIMIT
        )
        if how != "running":
            (self.state / "engine").write_text(f"{how}\n")

    def _engine(self) -> None:
        if not self.engine_answers():
            if shutil.which("dockerd") is None:
                self._install("Docker Engine", "install-docker.sh", "docker.io")
            self._start_engine()
        version = _output("docker", "version", "--format", "{{.Server.Version}}").strip()
        result("Docker engine", version)

    def _compose(self) -> None:
        if not self._succeeds("docker", "compose", "version"):
            self._install("Docker Compose", "install-compose.sh", "docker-compose")
        version = _output("docker", "compose", "version", "--short").strip()
        result("Docker Compose", version)

    def _base_image(self) -> str:
        command = [str(self.scripts / "base-image.sh"), "yes" if self.may_install else "no"]
        log = self._log("base-image")
        return run_step("Base image", command, log, limit=INSTALL_LIMIT)

    def _install(self, what: str, script: str, package: str) -> None:
        if not self.may_install:
            raise StackError(
                f"{what} is missing and BOOTSTRAP=no forbids to install it. "
                f"Install it (Debian: apt-get install {package}), then run this again."
            )
        if os.geteuid() != 0:
            raise StackError(
                f"{what} is missing, and installing it needs root: run `sudo make up`, "
                f"or install it yourself (Debian: apt-get install {package})."
            )
        if shutil.which("apt-get") is None:
            raise StackError(
                f"{what} is missing and this is no Debian: install {what}, then run this again."
            )
        run_step(
            f"Installing {what}",
            [str(self.scripts / script)],
            self._log(script),
            limit=INSTALL_LIMIT,
        )

    def _log(self, name: str) -> Path:
        path = self.logs / f"{name.removesuffix('.sh')}.log"
        path.unlink(missing_ok=True)
        return path

    def remove_state(self) -> None:
        """Remove what this stack's work left here; of the first stack, what all work did.

        Not that the engine was started here, as long as it runs.
        """
        if not names.is_default():
            shutil.rmtree(names.state(self.root), ignore_errors=True)
            return
        for path in self.state.glob("*"):
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "engine":
                path.unlink()
        if not (self.state / "engine").exists():
            shutil.rmtree(self.state, ignore_errors=True)

    @staticmethod
    def _succeeds(*command: str) -> bool:
        if shutil.which(command[0]) is None:
            return False
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=15)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def _end(pid: int, name: str, limit: float) -> None:
    """End a process by its id, if it still is the one that was started."""
    comm = f"/proc/{pid}/comm"

    def alive() -> bool:
        try:
            with open(comm) as file:  # noqa: PTH123 - a proc file, not a path of ours
                return file.read().strip() == name
        except OSError:
            return False

    if not alive():
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + limit
    while alive():
        if time.monotonic() > deadline:
            raise StackError(f"{name} (pid {pid}) did not stop within {limit:.0f} s")
        time.sleep(0.1)
