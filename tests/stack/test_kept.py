"""The edge keeps its connections to the virtual IP: ports last, and nothing fails when they die."""

from __future__ import annotations

import ast
import asyncio
import itertools
import os
import shutil
import socket
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import pytest

from ops import cluster
from tests.http_server import serving
from tests.stack.support import (
    BASE_URL,
    CLIENT_TIMEOUT,
    DOCKER_LIMIT,
    Writer,
    docker,
    kill,
)
from tests.stack.test_faults import assert_kept
from tests.stack.test_resending import HOST, second_nginx

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.http_server import Request

FIRST_PORT, PORTS = 50_000, 6_000
"""What nginx may connect from, to one address and port; one is free again after 60 s."""

LEFT_WAITING = PORTS // 10
"""Ports that may be waiting to be free. With a connection for each request all of them are."""

VIRTUAL_IP = "172.30.0.100", 80
TIME_WAIT = "06"  # in /proc/net/tcp

KEPT = 100
"""Connections that are kept when the proxy is lost: far more than a request has tries (16)."""

AFTERWARDS = 20
"""Requests after that, each on a connection of its own: both of nginx's workers get some."""

PAUSE_MOST = 3.0
"""Seconds without a write while the address moves: patience. docs/results.md has what it is."""

SPEED = """
import asyncio, collections, time, uuid
READ = b"GET /api/users?limit=1 HTTP/1.1\\r\\nHost: speed\\r\\n\\r\\n"
WRITE = b"POST /api/users HTTP/1.1\\r\\nHost: speed\\r\\nContent-Type: application/json\\r\\n"
def write():
    body = b'{"email": "speed-%s@example.org", "name": "Speed"}' % uuid.uuid4().hex.encode()
    return WRITE + b"Content-Length: %d\\r\\n\\r\\n" % len(body) + body
async def one(number, answers, end):
    writer = None
    while time.monotonic() < end:
        if writer is None:
            reader, writer = await asyncio.open_connection("vip-access", 8080)
        writer.write(READ if number % 8 else write())
        head = (await reader.readuntil(b"\\r\\n\\r\\n")).lower()
        length = int(head.partition(b"content-length: ")[2].split(b"\\r\\n")[0])
        await reader.readexactly(length)
        answers[int(head.split()[1])] += 1
        if b"connection: close" in head:
            writer.close()
            writer = None
async def main():
    answers = collections.Counter()
    end = time.monotonic() + SECONDS
    async with asyncio.timeout(SECONDS + 30):
        await asyncio.gather(*(one(number, answers, end) for number in range(64)))
    print(dict(answers))
asyncio.run(main())
"""
"""64 clients that ask again as soon as they are answered; every eighth writes."""


def in_network(pid: str, command: str) -> str:
    """Run a shell command of this host in the network namespace of a process."""
    done = subprocess.run(
        ["nsenter", "--target", pid, "--net", "sh", "-c", command],
        capture_output=True, text=True, check=False, timeout=DOCKER_LIMIT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def few_ports() -> Iterator[None]:
    """Leave nginx so many ports to connect from."""
    pid = docker("inspect", "--format", "{{.State.Pid}}", "vip-access").strip()
    where = "/proc/sys/net/ipv4/ip_local_port_range"
    before = in_network(pid, f"cat {where}").strip()
    in_network(pid, f"echo '{FIRST_PORT} {FIRST_PORT + PORTS - 1}' >{where}")
    try:
        yield
    finally:
        in_network(pid, f"echo '{before}' >{where}")


def waiting_ports() -> int:
    """Return how many of nginx's ports wait for the end of a connection to the virtual IP."""
    address, port = VIRTUAL_IP
    there = f"{socket.inet_aton(address)[::-1].hex().upper()}:{port:04X}"
    rows = docker("exec", "vip-access", "cat", "/proc/net/tcp").splitlines()[1:]
    return sum(row.split()[2:4] == [there, TIME_WAIT] for row in rows)


@pytest.mark.parametrize("seconds", [20, pytest.param(60, marks=pytest.mark.long)])
def test_more_requests_than_ports(seconds: int) -> None:
    """At full speed every answer is a 2xx, though one port for each would long be used up."""
    if os.geteuid() != 0 or shutil.which("nsenter") is None:
        reason = "ports of a container's network take root and nsenter"
        if os.environ.get("CI") == "true":
            pytest.fail(f"not run: {reason}")
        pytest.skip(f"not run: {reason}")
    code = SPEED.replace("SECONDS", str(seconds))
    with few_ports():
        done = subprocess.run(
            ["docker", "exec", "psql-client", "python3", "-c", code],
            capture_output=True, text=True, check=False, timeout=seconds + DOCKER_LIMIT,
        )  # fmt: skip
        waiting = waiting_ports()
    assert done.returncode == 0, done.stderr
    answers: dict[int, int] = ast.literal_eval(done.stdout)
    print(f"{sum(answers.values()) / seconds:.0f} a second: {answers}; {waiting} ports wait")
    assert set(answers) == {200, 201}
    assert sum(answers.values()) > PORTS, "too few for this test to mean anything"
    assert waiting < LEFT_WAITING


@dataclass
class Successor:
    """A proxy that keeps connections; then another one, to which those of before mean nothing."""

    took_over: bool = False
    resets: int = 0
    _known: set[Request] = field(default_factory=set)
    _all_here: threading.Barrier = field(
        default_factory=lambda: threading.Barrier(KEPT, timeout=CLIENT_TIMEOUT)
    )

    def serve(self, request: Request) -> None:
        """Answer, once all are here; or reset what the predecessor had."""
        if self.took_over and request in self._known:
            self.resets += 1
            request.close_connection = True
            request.reset()
            return
        if not self.took_over:
            self._known.add(request)
            self._all_here.wait()
        request.protocol_version = "HTTP/1.1"
        request.begin()
        request.close_connection = False


async def ask_together(url: str) -> set[int]:
    """Send so many requests at the same time; return the statuses."""
    limits = httpx.Limits(max_connections=None)
    retrying = httpx.AsyncHTTPTransport(retries=5, limits=limits)  # connecting only
    async with httpx.AsyncClient(transport=retrying, timeout=CLIENT_TIMEOUT) as client:
        answers = await asyncio.gather(*(client.get(url) for _ in range(KEPT)))
    return {answer.status_code for answer in answers}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_request_runs_out_of_tries_at_dead_connections(method: str) -> None:
    """However many are kept: each is tried and reset in its turn, then there is a new one."""
    successor = Successor()
    with serving(successor.serve, HOST) as port, second_nginx(port) as url:
        where = f"{url}/api/users"
        assert asyncio.run(ask_together(where)) == {200}
        successor.took_over = True
        answers = [httpx.request(method, where, timeout=CLIENT_TIMEOUT) for _ in range(AFTERWARDS)]
    assert [answer.status_code for answer in answers] == [200] * AFTERWARDS
    assert successor.resets == KEPT


def test_the_proxy_is_killed_behind_many_kept_connections() -> None:
    """Its network is gone without a word: writes pause, none fails, none is lost or done twice."""
    holder = cluster.find_vip_holder()
    assert holder is not None
    with Writer() as writer:
        assert asyncio.run(ask_together(f"{BASE_URL}/api/users?limit=1")) == {200}
        kill(holder)
        writer.await_writes()
    times = sorted(answer.ended for answer in writer.acknowledged)
    pause = max(later - earlier for earlier, later in itertools.pairwise(times))
    print(f"writes paused for {pause:.2f} s")
    assert_kept(writer)
    assert pause < PAUSE_MOST
