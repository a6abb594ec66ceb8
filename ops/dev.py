"""`make dev`: the service on an embedded cluster, for working on it.

No Docker, and root is not needed. The cluster is the one of the integration tests, with fsync
and with its data kept. This process also does what pg_auto_failover does on the real stack:
it promotes the standby when the primary dies, and brings the dead node back.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ops.console import say
from ops.embedded.majors import DEFAULT, chosen
from ops.embedded.pair import OWNER
from ops.embedded.ports import Ports
from ops.embedded.processes import EmbeddedError, Process
from ops.embedded.stack import EmbeddedStack
from ops.names import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.embedded.majors import Major

SOURCES = ("service", "alembic/versions")  # what is watched for changes
WATCH_INTERVAL = 0.3  # seconds between two looks at sources and processes
SERVICE_STOP_TIMEOUT = 10.0  # seconds from SIGTERM to SIGKILL

# HAProxy's are those that the real stack publishes, so that every example works with both.
DEFAULT_PORTS = {
    "http": 8080,
    "stats": 8404,
    "write": 6432,
    "read": 6433,
    "app1": 8000,
    "app2": 8001,
    "postgres1": 6441,
    "postgres2": 6442,
}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make dev", description=__doc__)
    parser.add_argument(
        "--directory",
        type=Path,
        help="where data and logs are kept (default: .holdfast/dev; of another PG_MAJOR, dev-18)",
    )
    for name, port in DEFAULT_PORTS.items():
        text = f"default: {port}"
        parser.add_argument(f"--{name}-port", type=int, default=port, metavar="PORT", help=text)
    return parser.parse_args(arguments)


def kept_in(major: Major) -> Path:
    """Return where a major release's data are when nothing is said: each has its own."""
    name = "dev" if major.number == DEFAULT else f"dev-{major.number}"
    return ROOT / ".holdfast" / name


class Development:
    """The embedded stack with one service on it, which is restarted when its code changes."""

    def __init__(self, stack: EmbeddedStack) -> None:
        self._stack = stack
        self._service = Process("service")
        stack.attach(self._service)
        self._seen: dict[Path, float] = {}

    def migrate(self) -> None:
        """Run the migrations, through the write port like anybody else.

        Raises EmbeddedError when they fail; Alembic has said why.
        """
        command = [sys.executable, "-m", "alembic", "upgrade", "head"]
        env = {**os.environ, **self._stack.service_environment(OWNER)}
        if subprocess.run(command, env=env, cwd=ROOT, check=False).returncode:
            raise EmbeddedError("the migrations failed, see above")

    def start_service(self) -> None:
        """Start the service with this code."""
        self._seen = modification_times()
        env = {
            **os.environ,
            **self._stack.service_environment(),
            "APP_NAME": "dev",
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": str(self._stack.ports.app1),
            "DRAIN_DELAY": "0",  # a restart should be quick
            "WORKERS": os.environ.get("WORKERS", "1"),
        }
        self._service.start([sys.executable, "-m", "service"], env, ROOT)

    def watch(self) -> NoReturn:
        """Restart on a change, repair what dies, until a signal ends it."""
        alive = True
        while True:
            time.sleep(WATCH_INTERVAL)
            repaired = self._stack.repair()
            if repaired:
                say(f"==> {repaired}")
            if modification_times() != self._seen:
                say("==> the code changed: restarting the service")
                self._service.stop(timeout=SERVICE_STOP_TIMEOUT)
                self.start_service()
            elif alive and not self._service.running:
                say("==> the service ended; it starts again when the code changes")
            alive = self._service.running


def modification_times() -> dict[Path, float]:
    """When each source file was last changed."""
    files = (path for folder in SOURCES for path in (ROOT / folder).rglob("*.py"))
    return {path: path.stat().st_mtime for path in files if path.exists()}


def announce(stack: EmbeddedStack) -> None:
    """Say where everything is, and what to try."""
    http, write, read = stack.http_port, stack.write_port, stack.read_port
    pid_file = stack.primary.data / "postmaster.pid"
    say(
        f"""
  http://127.0.0.1:{http}/docs   the service, through HAProxy
  http://127.0.0.1:{stack.stats_port}/       HAProxy's statistics
  127.0.0.1:{write} writes, :{read} reads   PostgreSQL through HAProxy, user holdfast_app
  {stack.directory}   data and logs; {stack.primary.name} is primary

  1. Create a user:
       curl -i 127.0.0.1:{http}/api/users -H 'Content-Type: application/json' \\
         -d '{{"name": "Katherine Johnson", "email": "katherine@example.com"}}'
  2. Kill the primary; the next write waits a moment instead of failing:
       kill -9 $(head -1 {pid_file})
  3. Change a file in service/: the service starts again with it.

  Ctrl-C ends everything and keeps the data."""
    )


def run(options: argparse.Namespace) -> None:
    """Bring everything up and watch over it, until KeyboardInterrupt."""
    ports = Ports(**{name: getattr(options, f"{name}_port") for name in DEFAULT_PORTS})
    major = chosen()
    options.directory = options.directory or kept_in(major)
    say(f"==> starting postgres1, postgres2 (PostgreSQL {major.number}) and HAProxy")
    with EmbeddedStack(options.directory, ports=ports, durable=True, major=major) as stack:
        ports.require_free("app1")
        development = Development(stack)
        say("==> migrating the database")
        development.migrate()
        development.start_service()
        announce(stack)
        try:
            development.watch()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # every wait from here on is bounded
            say("\n==> stopping")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C or SIGTERM; return the exit code (0 ended so, 1 could not go on)."""
    options = parse(arguments)
    # SIGINT too: a shell that starts this in the background has it ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        run(options)
    except KeyboardInterrupt:
        return 0
    except EmbeddedError as error:
        sys.stderr.write(f"\n{error}\n")
        if "in use by another program" in str(error):
            sys.stderr.write(
                "Is the real stack up (`make down`)? Or choose another port, for example:\n"
                '  make dev ARGS="--http-port 18080"\n'
            )
        return 1
    except PermissionError as error:
        sys.stderr.write(
            f"\n{error}\nDoes {options.directory} belong to another user, or to root? "
            "Remove it, or choose another with --directory.\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
