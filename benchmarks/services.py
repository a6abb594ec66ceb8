"""The database of a run, and the services on it, each a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from benchmarks.controls import TABLE
from benchmarks.generator import MeasureError
from ops.embedded import free_port, wait_until
from ops.embedded.pair import APP, DATABASE, OWNER
from ops.embedded.processes import Process, tail
from ops.names import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.embedded import EmbeddedStack

SEEDED = 10_000
"""Users that the workloads read."""

BATCH = 250_000
"""Users of one transaction. Its COMMIT waits for the standby, which so never falls far behind."""

START_TIMEOUT = 60.0  # seconds from a process's start to its first answer
ANSWER_TIMEOUT = 10.0  # seconds for one answer
REPLAY_TIMEOUT = 600.0  # seconds for the standby to have what was loaded
QUIET, LOOK, SETTLE_TIMEOUT = 0.2, 0.1, 10.0
"""A service has settled when it used less than this part of a core in a look of so many seconds."""

TICKS = os.sysconf("SC_CLK_TCK")

FILL = """
    INSERT INTO users (email, name)
    SELECT 'user-' || to_char(n, 'FM000000000') || '@example.org', 'User ' || n
      FROM generate_series($1::bigint, $2) AS n
"""


def cpu_seconds(pid: int, proc: Path = Path("/proc")) -> float:
    """Return the processor time that a process has used, by all of its threads."""
    fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def migrate(stack: EmbeddedStack) -> None:
    """Run the migrations through the write port."""
    env = {**os.environ, **stack.service_environment(OWNER)}
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    done = subprocess.run(command, env=env, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        raise MeasureError(f"the migrations failed: {done.stderr.strip()}")


def copy_database(stack: EmbeddedStack, name: str) -> None:
    """Copy the migrated database, which nobody may be connected to."""
    stack.primary.sql(f"CREATE DATABASE {name} TEMPLATE {DATABASE} OWNER {OWNER}")


def make_table(stack: EmbeddedStack) -> None:
    """Make what the controls write to."""
    stack.primary.sql(
        f"CREATE TABLE {TABLE} (LIKE users INCLUDING ALL);"
        f"ALTER TABLE {TABLE} OWNER TO {OWNER};"
        f"GRANT SELECT, INSERT ON {TABLE} TO {APP}",
        DATABASE,
    )


async def fill(stack: EmbeddedStack, database: str, rows: int) -> None:
    """Make users 1 to `rows` the only ones of a database, on both nodes.

    They are no changes that somebody made, so the audit does not have them.
    """
    connection = await asyncpg.connect(
        host="127.0.0.1", port=stack.primary.port, user="postgres", database=database, ssl=False
    )
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("TRUNCATE users RESTART IDENTITY")
        for begin in range(1, rows + 1, BATCH):
            await connection.execute(FILL, begin, min(begin + BATCH - 1, rows))
        await connection.execute("VACUUM (ANALYZE) users")
        position = await connection.fetchval("SELECT pg_current_wal_lsn()::text")
    finally:
        await connection.close(timeout=ANSWER_TIMEOUT)
    question = f"SELECT pg_last_wal_replay_lsn() >= '{position}'"
    wait_until(
        lambda: stack.standby.sql(question) == "t",
        REPLAY_TIMEOUT,
        f"{stack.standby.name} to replay the users",
        stack.standby.log,
    )


def ask(
    port: int, path: str, body: object = None, host: str = "127.0.0.1"
) -> tuple[int, dict[str, object]]:
    """Send one request and return its answer's status and JSON; a body makes it a POST."""
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_TIMEOUT)
    try:
        if body is None:
            connection.request("GET", path)
        else:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"{}")
    finally:
        connection.close()


class Service:
    """One of the services, as a process."""

    def __init__(self, name: str, process: Process, port: int, log: Path) -> None:
        self.name = name
        self.port = port
        self.process = process
        self._log = log

    def url(self, path: str) -> str:
        """Return the address of a path."""
        return f"http://127.0.0.1:{self.port}{path}"

    def settle(self) -> None:
        """Wait until what the last window left in flight is done; empty the log."""
        end = time.monotonic() + SETTLE_TIMEOUT
        before = cpu_seconds(self.process.pid)
        while time.monotonic() < end:
            time.sleep(LOOK)
            now = cpu_seconds(self.process.pid)
            if now - before < QUIET * LOOK:
                break
            before = now
        os.truncate(self._log, 0)  # a line a request adds up, in memory

    def check(self) -> None:
        """Raise MeasureError unless each kind of request is answered as it should be."""
        user = {"email": f"{self.name}-check@bench.example.org", "name": "Bench"}
        questions = (("/api/users/1", None, 200), ("/api/users", None, 200))
        for path, body, expected in (*questions, ("/api/users", user, 201)):
            status, answer = ask(self.port, path, body)
            if status != expected:
                raise MeasureError(f"{self.name} answered {path} with {status}: {answer}")


@contextmanager
def running(stack: EmbeddedStack, name: str, database: str = DATABASE) -> Iterator[Service]:
    """Run a service by its name, `holdfast` as its container does: one worker, all defaults."""
    port = free_port()
    env = {
        **{key: value for key, value in os.environ.items() if not key.startswith("DB_")},
        **stack.service_environment(),
        "DB_NAME": database,
    }
    if name == "holdfast":
        env |= {"APP_NAME": "app1", "HTTP_HOST": "127.0.0.1", "HTTP_PORT": str(port)}
        command = [sys.executable, "-m", "service"]
        env["DRAIN_DELAY"] = "0"  # nobody has to look elsewhere when it stops
    else:
        command = [sys.executable, "-m", "benchmarks.controls", name, "--port", str(port)]
    log = stack.directory / f"{name}-{port}.log"
    process = Process(name, log)
    stack.attach(process)  # should this process be killed, the next run ends what it leaves
    process.start(command, env, ROOT)
    try:
        process.wait_ready(lambda: _answers(port), START_TIMEOUT, "answering")
        yield Service(name, process, port, log)
        if not process.running:
            raise MeasureError(f"{name} ended while it was measured{tail(log)}")
    finally:
        process.stop()


def _answers(port: int) -> bool:
    try:
        return ask(port, "/api/users?limit=1")[0] == http.client.OK
    except (OSError, http.client.HTTPException, ValueError):
        return False
