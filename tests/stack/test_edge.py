"""The main road: from the host's ports through nginx, virtual IP, HAProxy, service, PostgreSQL."""

from __future__ import annotations

import asyncio
import re
import subprocess
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import asyncpg
import httpx
import pytest

from ops import cluster
from ops.secret_files import STATS, STATS_USER
from tests.stack.support import (
    ADDRESSES,
    BASE_URL,
    CLIENT_TIMEOUT,
    DOCKER_LIMIT,
    RESUME_LIMIT,
    SECRETS,
    docker,
    new_user,
    primary,
    read_back,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

KEPT = 16
"""Connections that are always in use."""

RELOADS = 8
"""With `nginx -s reload` one request of those, or more, was lost at each of the first."""


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """A client of the published port."""
    with httpx.Client(base_url=BASE_URL, timeout=CLIENT_TIMEOUT) as client:
        yield client


def test_a_created_user_is_read_back(client: httpx.Client) -> None:
    """Create answers 201 with a Location, and what stands there is what was sent."""
    body = new_user("edge")
    created = client.post("/api/users", json=body)
    assert created.status_code == 201, created.text
    assert created.headers["x-route"] == "write"
    assert created.headers["x-instance"] in {"app1", "app2"}
    assert int(created.headers["x-attempts"]) >= 1
    user = read_back(client, created).json()
    assert (user["email"], user["name"]) == (body["email"], body["name"])


def test_five_sample_users_came_with_the_migrations(client: httpx.Client) -> None:
    """The list, oldest first, begins with the migrations' five."""
    page = client.get("/api/users", params={"order": "oldest", "limit": 5}).json()
    assert len(page["items"]) == 5
    assert page["next"]


def test_both_instances_serve(client: httpx.Client) -> None:
    """HAProxy spreads requests over both apps."""
    seen = {client.get("/health").headers["x-instance"] for _ in range(20)}
    assert seen == {"app1", "app2"}


def test_an_unknown_user_is_a_problem(client: httpx.Client) -> None:
    """Errors pass through the whole road as problem+json."""
    answer = client.get("/api/users/999999999")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:holdfast:problem:not-found"


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_documentation_needs_no_internet(client: httpx.Client, path: str) -> None:
    """Every script and style of the pages comes from the service itself."""
    page = client.get(path)
    assert page.status_code == 200
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    scripts = [asset for asset in assets if asset.endswith((".js", ".css"))]
    assert scripts
    for asset in scripts:
        assert not asset.startswith(("http:", "https:", "//")), asset
        assert client.get(asset).status_code == 200


def test_health_says_what_it_reached(client: httpx.Client) -> None:
    """/health names the instance, the time and both routes."""
    answer = client.get("/health")
    assert answer.status_code == 200
    assert {"status", "instance", "timestamp"} <= answer.json().keys()


def statistics() -> tuple[str, str]:
    """Return who may see statistics and metrics."""
    return STATS_USER, (SECRETS / STATS).read_text()


def connect(port: int) -> Awaitable[asyncpg.Connection]:
    """Log in as the service's role through a published port."""
    return asyncpg.connect(
        host="127.0.0.1",
        port=port,
        user="holdfast_app",
        password=(SECRETS / "db_password").read_text().strip(),
        database="holdfast",
        timeout=10,
    )


def refusal(port: int, password: str) -> str:
    """Try to log in with psql, as `connect` does; return what it says.

    asyncpg leaves a refused session to the TLS shutdown, which may outlive a test's event loop.
    """
    where = f"host=127.0.0.1 port={port} user=holdfast_app dbname=holdfast sslmode=require"
    command = ("docker", "run", "--rm", "--network", "host", "--env", f"PGPASSWORD={password}")
    done = subprocess.run(
        [*command, "--entrypoint", "psql", "holdfast-postgres", "-c", "SELECT 1", where],
        capture_output=True, text=True, check=False, timeout=DOCKER_LIMIT,
    )  # fmt: skip
    assert done.returncode != 0, done.stdout
    return done.stderr


async def test_postgresql_ports_are_open_on_the_host() -> None:
    """Both ports speak SCRAM with the service's role, and a wrong password is refused."""
    for port in (6432, 6433):
        connection = await connect(port)
        try:
            assert await connection.fetchval("SELECT count(*) FROM users") >= 5
        finally:
            await connection.close()
        assert "password authentication failed" in refusal(port, "wrong")


async def test_the_write_port_leads_to_the_primary_and_the_read_port_to_all() -> None:
    """Connections held at the same time: one node behind the one port, both behind the other."""
    for port, expected in ((6432, {primary()}), (6433, {"postgres1", "postgres2"})):
        async with AsyncExitStack() as held:
            nodes = set()
            for _ in range(12):  # one address has 20
                connection = await connect(port)
                held.push_async_callback(connection.close)
                address = await connection.fetchval("SELECT host(inet_server_addr())")
                nodes.add(ADDRESSES[address])
            assert nodes == expected


def test_statistics_and_metrics_are_published() -> None:
    """Port 8404 has HAProxy's page and its Prometheus metrics."""
    assert "pg_primary" in httpx.get("http://127.0.0.1:8404/", auth=statistics()).text
    metrics = httpx.get("http://127.0.0.1:8404/metrics", auth=statistics()).text
    assert 'haproxy_server_status{proxy="pg_primary",server="postgres1"' in metrics


def test_the_service_counts_its_requests(client: httpx.Client) -> None:
    """/metrics of each instance is reachable through the edge and counts by route and status."""
    for _ in range(10):
        assert client.get("/api/users").status_code == 200
    metrics = client.get("/metrics", auth=statistics()).text
    assert 'method="GET",route="/api/users",status="200"' in metrics


def test_every_container_has_a_health_check() -> None:
    """Nothing of the stack is only assumed to work."""
    assert {c.name for c in cluster.containers() if c.ready} == {
        "pg-monitor", "postgres1", "postgres2", "haproxy1", "haproxy2", "app1", "app2",
        "vip-access", "psql-client", "db-migrate", "certificates", "backup",
    }  # fmt: skip


async def test_a_reload_cuts_nobody_off() -> None:
    """Kept connections, always in use, of clients that repeat nothing: no request is lost."""
    reloaded = False
    served = [0] * KEPT

    async def ask(number: int) -> None:
        async with httpx.AsyncClient(base_url=BASE_URL, timeout=CLIENT_TIMEOUT) as client:
            while not reloaded:
                assert (await client.get("/livez")).status_code == 200
                served[number] += 1

    def reload() -> None:
        before = min(served)
        docker("exec", "vip-access", "reload")
        wait_until("all to be served again", RESUME_LIMIT, lambda: min(served) > before + 5)

    async with asyncio.TaskGroup() as group:
        for number in range(KEPT):
            group.create_task(ask(number))
        for _ in range(RELOADS):
            await asyncio.to_thread(reload)
        reloaded = True
