"""What the tests on the real stack share: the way in, faults on containers, a writer, waiting.

Faults are applied by container name and their undoing is the `stack` fixture's business.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import httpx

from ops import cluster, names, settings, snapshot
from ops.console import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
SECRETS = names.secrets(ROOT)
BASE_URL = "http://127.0.0.1:8080"
ADDRESSES = {"172.30.1.21": "postgres1", "172.30.1.22": "postgres2", "172.30.1.23": "postgres3"}

CUT = "holdfast_test_cut"
"""The nftables table of `dropping`."""

CLIENT_TIMEOUT = 30.0
"""Seconds a client waits for an answer: longer than the service holds a request."""

REDUNDANT_LIMIT = 120.0
"""Seconds for a killed node to be a standby in sync again; generous, measured is under 15."""

RESUME_LIMIT = 60.0
"""Seconds for writes to succeed again after any single fault; generous, measured is under 6."""

DOCKER_LIMIT = 60.0
"""Seconds for one Docker command."""

UP_LIMIT = 300.0
"""Seconds for `make up` with its images made."""

VERB_LIMIT = 300.0
"""Seconds for a verb of a stack with a name, a drill of 30 s included."""

SHARED = {"NAME", "YES", "ADOPT", *settings.PORTS, *settings.SUBNETS}
"""What tests of such a stack say themselves, if at all."""


def wait_until(what: str, limit: float, condition: Callable[[], object]) -> None:
    """Poll `condition` until it holds; fail with what was waited for after `limit` seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit:.0f} s: {what}\n{_evidence()}")
        time.sleep(0.2)


def _evidence() -> str:
    """Return the monitor's table and the nodes' last words, for the message of a failure."""
    words = [cluster.cluster_state()]
    for container in cluster.containers():
        if container.name in {*cluster.NODES, "pg-monitor"}:
            words += ["", f"-- {container.name}", *cluster.last_words(container.name, lines=15)]
    return "\n".join(words)


def make(verb: str, limit: float = UP_LIMIT, **variables: str) -> str:
    """Run a verb of the Makefile, which must end well, within so many seconds; return its words."""
    done = subprocess.run(
        [sys.executable, "-m", "ops", verb],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        timeout=limit, env={**os.environ, **variables},
    )  # fmt: skip
    assert done.returncode == 0, f"make {verb} failed:\n{done.stdout}"
    return done.stdout


def run(
    *command: str, cwd: Path = ROOT, limit: float = VERB_LIMIT, **said: str
) -> subprocess.CompletedProcess[str]:
    """Run a module of `ops` as whoever types `NAME=second make up` does, without a terminal."""
    kept = {name: value for name, value in os.environ.items() if name not in SHARED}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=cwd, env=kept | said, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=limit,
    )  # fmt: skip


def log_of(container: str, *options: str) -> str:
    """Return what a container has said, on either of its outputs."""
    command = ["docker", "logs", *options, container]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=DOCKER_LIMIT)
    return done.stdout + done.stderr


def docker(*arguments: str, limit: float = DOCKER_LIMIT) -> str:
    """Run a Docker command that must succeed, within so many seconds; return its output."""
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, check=False, timeout=limit
    )
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def kill(*containers: str) -> None:
    """SIGKILL containers, as a machine that loses its power."""
    docker("kill", *containers)


def start(*containers: str) -> None:
    """Start containers that were killed or stopped."""
    docker("start", *containers)


def address(container: str) -> str:
    """Return the address of a container that is in one network."""
    return docker("exec", container, "hostname", "-i").strip()


@contextmanager
def dropping(proxy: str, received: str, sent: str) -> Iterator[None]:
    """Drop the packets that a proxy receives or sends and that match (nftables): a cut cable.

    In a table of our own: others of the same namespace have Docker's DNS.
    """
    rules = f"""table inet {CUT} {{
        chain received {{ type filter hook input priority 0; {received} drop; }}
        chain sent {{ type filter hook output priority 0; {sent} drop; }}
    }}"""
    docker("exec", proxy, "nft", rules)
    try:
        yield
    finally:
        docker("exec", proxy, "nft", "delete", "table", "inet", CUT)


def sql(statement: str, port: int = 6432) -> list[str]:
    """Run SQL in psql-client through the virtual IP; return the rows as text."""
    out = docker("exec", "psql-client", "psql", "-p", str(port), "-qAt", "-c", statement)
    return out.splitlines()


def psql(node: str, *statements: str) -> str:
    """Run SQL one after another as a node's superuser, in `postgres`; return what they say."""
    each = (word for statement in statements for word in ("-c", statement))
    return docker("exec", node, "psql", "-d", "postgres", "-qAt", *each)


def node_behind(port: int) -> str:
    """Return the name of the node that a new connection to the write or read port reaches."""
    return ADDRESSES[sql("SELECT host(inet_server_addr())", port)[0]]


def primary() -> str:
    """Return the primary's container, waiting until there is one."""
    found: list[str] = []

    def there_is_one() -> bool:
        found.extend(filter(None, [cluster.find_primary()]))
        return bool(found)

    wait_until("a node that accepts writes", RESUME_LIMIT, there_is_one)
    return found[0]


def other(node: str) -> str:
    """Return the other data node."""
    return next(each for each in cluster.NODES[:2] if each != node)


def is_whole() -> bool:
    """Tell whether nothing of the stack is missing."""
    try:
        return snapshot.take().whole
    except StackError:  # a container is just being removed or made
        return False


def is_redundant() -> bool:
    """Tell whether what the monitor sees is a primary, and all other nodes in sync."""
    states = [
        tuple(cell.strip() for cell in line.split("|")[5:7])
        for line in cluster.cluster_state().splitlines()
        if "postgres" in line
    ]
    standbys = len(cluster.nodes_there()) - 1
    return sorted(states) == [("primary", "primary")] + [("secondary", "secondary")] * standbys


def monitor_has(node: str) -> str:
    """Return the state that the monitor last heard of a node."""
    return next(one.state for one in snapshot.take().nodes if one.name == node)


def new_user(prefix: str) -> dict[str, str]:
    """Return the body of a user that nobody else makes."""
    return {"email": f"{prefix}-{uuid.uuid4().hex}@example.org", "name": "Stack Test"}


def create_user(prefix: str = "user") -> httpx.Response:
    """Create a user through the edge, on a connection of its own."""
    return httpx.post(f"{BASE_URL}/api/users", json=new_user(prefix), timeout=CLIENT_TIMEOUT)


def token_of(written: httpx.Response) -> dict[str, str]:
    """The header with which a read sees what `written` did."""
    return {"Consistency-Token": written.headers["consistency-token"]}


def read_back(client: httpx.Client, created: httpx.Response) -> httpx.Response:
    """Read what `created` made, with its token: without one a standby that is behind may answer."""
    return client.get(created.headers["location"], headers=token_of(created))


@dataclass
class Answer:
    """One request of the writer: what came back, and when."""

    email: str
    status: int | None
    problem: str
    begun: float
    ended: float
    local: bool = False  # it said that it may be on one node alone


@dataclass
class Writer:
    """Writes users through the edge without pause, never retrying, and remembers every answer."""

    workers: int = 4
    prefix: str = field(default_factory=lambda: f"w{uuid.uuid4().hex[:8]}")
    answers: list[Answer] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Start the workers and wait for the first write that succeeds."""
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(self.workers)]
        for thread in self._threads:
            thread.start()
        wait_until("a first write", RESUME_LIMIT, lambda: self.acknowledged)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the workers; each ends with the request it has in hand."""
        self._stop.set()
        for thread in self._threads:
            thread.join(CLIENT_TIMEOUT * 2)

    def await_writes(self, count: int = 20) -> None:
        """Wait until `count` requests that began after this call were acknowledged."""
        now = time.monotonic()
        wait_until(
            f"{count} new writes",
            RESUME_LIMIT,
            lambda: sum(answer.begun > now for answer in self.acknowledged) >= count,
        )

    @property
    def acknowledged(self) -> list[Answer]:
        """The writes that were answered with success."""
        return [answer for answer in list(self.answers) if answer.status == httpx.codes.CREATED]

    @property
    def failed(self) -> list[Answer]:
        """Everything else."""
        return [answer for answer in list(self.answers) if answer.status != httpx.codes.CREATED]

    def lost(self) -> set[str]:
        """Return the acknowledged writes that the database does not have."""
        mine = f"SELECT email FROM users WHERE starts_with(email, '{self.prefix}-')"  # noqa: S608
        there = set(sql(mine))
        return {answer.email for answer in self.acknowledged} - there

    def _work(self) -> None:
        limits = httpx.Limits(max_keepalive_connections=1)
        with httpx.Client(base_url=BASE_URL, timeout=CLIENT_TIMEOUT, limits=limits) as client:
            while not self._stop.is_set():
                self._write(client)

    def _write(self, client: httpx.Client) -> None:
        body = new_user(self.prefix)
        begun = time.monotonic()
        status, problem, local = None, "", False
        try:
            response = client.post("/api/users", json=body)
            status = response.status_code
            local = "Durability" in response.headers
            if status != httpx.codes.CREATED:
                problem = response.text[:300]
        except httpx.TransportError as error:
            problem = repr(error)
        ended = time.monotonic()
        self.answers.append(Answer(body["email"], status, problem, begun, ended, local))
        # About 20 writes a second and worker: enough to catch a write in every phase.
        self._stop.wait(0.05 if status == httpx.codes.CREATED else 0.2)
