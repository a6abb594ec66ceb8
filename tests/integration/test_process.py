"""`python -m service` behind HAProxy: start, rotation, and an end that drops nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.integration.service_process import DRAIN_DELAY, Running, started
from tests.integration.support import eventually, superuser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ops.embedded import EmbeddedStack

EXIT_TIMEOUT = 8.0  # seconds from SIGTERM to the end, with one request in flight


@pytest.fixture
async def running(stack: EmbeddedStack, database: str, tmp_path: Path) -> AsyncIterator[Running]:
    """Run a service that has reached its database."""
    async with started(stack, database, tmp_path / "service.log") as service:
        await service.wait_health(200)
        yield service


async def test_serves_through_haproxy(stack: EmbeddedStack, running: Running) -> None:
    """A user created through HAProxy is read back through HAProxy."""
    await asyncio.to_thread(stack.haproxy.wait_up, "apps", {"app1"})
    url = f"http://127.0.0.1:{stack.http_port}"
    created = await running.client.post(
        f"{url}/api/users", json={"email": "through@example.com", "name": "Through"}
    )
    assert created.status_code == 201, created.text
    await asyncio.to_thread(stack.wait_replayed)
    read = await running.client.get(url + created.headers["Location"])
    assert read.json() == created.json()
    assert read.headers["X-Instance"] == "app1"


async def test_head_is_get_without_a_body(running: Running) -> None:
    """The same status and headers, nothing behind them, and the connection goes on."""
    url = f"{running.url}/api/users"
    made = await running.client.post(url, json={"email": "head@example.com", "name": "Head"})
    for path in (made.headers["Location"], "/livez", "/docs", "/api/users/0", "/nowhere"):
        got = await running.client.get(running.url + path)
        head = await running.client.head(running.url + path)
        assert head.content == b""
        assert (head.status_code, _lasting(head)) == (got.status_code, _lasting(got)), path
    same = {"If-None-Match": made.headers["ETag"]}
    head = await running.client.head(running.url + made.headers["Location"], headers=same)
    assert head.status_code == 304
    metrics = (await running.client.get(f"{running.url}/metrics")).text
    assert 'method="HEAD",route="/api/users/{id}"' in metrics


def _lasting(response: httpx.Response) -> dict[str, str]:
    """Return the headers that are the same for each request, the body's own among them."""
    return {
        name: value
        for name, value in response.headers.items()
        if name not in {"date", "x-request-id", "server-timing"}
    }


async def test_stops_in_order(stack: EmbeddedStack, database: str, running: Running) -> None:
    """SIGTERM: out of rotation at once, still serving, in-flight finished, exit code 0."""
    async with superuser(stack, database) as admin:
        transaction = admin.transaction()
        await transaction.start()
        await admin.execute("LOCK TABLE users IN EXCLUSIVE MODE")
        in_flight = asyncio.create_task(
            running.client.post(
                f"{running.url}/api/users", json={"email": "slow@example.com", "name": "Slow"}
            )
        )
        async with superuser(stack, database) as onlooker:
            query = (
                "SELECT count(*) FROM pg_locks"
                " WHERE NOT granted AND relation::regclass::text = 'users'"
            )

            async def waits() -> bool:
                return bool(await onlooker.fetchval(query) == 1)

            await eventually("the request to wait for the lock", waits)
        asked = time.monotonic()
        os.kill(running.process.pid, signal.SIGTERM)
        await running.wait_health(503)
        assert time.monotonic() - asked < DRAIN_DELAY
        # Out of rotation, yet whoever comes is served.
        async with httpx.AsyncClient(timeout=5) as late:
            assert (await late.get(f"{running.url}/api/users")).status_code == 200
        await running.wait_health(None)
        assert time.monotonic() - asked >= DRAIN_DELAY
        assert running.process.running
        assert not in_flight.done()
        await transaction.rollback()
        response = await in_flight
        assert response.status_code == 201, response.text
        assert await running.ended() == 0
        assert time.monotonic() - asked < EXIT_TIMEOUT
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'app1/%'"

        async def none_left() -> bool:
            return bool(await admin.fetchval(query) == 0)

        await eventually("its sessions to end", none_left)


async def test_stops_without_a_database(
    stack: EmbeddedStack, database: str, tmp_path: Path
) -> None:
    """SIGTERM is obeyed while the database is away; what is held ends by its own deadline."""
    settings = {"DB_WRITE_PORT": "1", "DB_READ_PORT": "1", "REQUEST_DEADLINE": "2"}
    async with started(stack, database, tmp_path / "service.log", **settings) as service:
        await service.wait_health(503)
        held = asyncio.create_task(service.client.get(f"{service.url}/api/users"))
        await service.wait_in_flight(1)
        os.kill(service.process.pid, signal.SIGTERM)
        assert await service.ended() == 0
        response = await held
        assert response.status_code == 503
        assert "tried again, until it had to end" in response.json()["detail"]


async def test_sigint_stops_at_once(running: Running) -> None:
    """Ctrl-C skips the delay."""
    asked = time.monotonic()
    os.kill(running.process.pid, signal.SIGINT)
    assert await running.ended() == 0
    assert time.monotonic() - asked < DRAIN_DELAY


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DB_WRITE_PORT", "none"),
        ("REQUEST_DEADLINE", "-1"),
        ("DB_WRITE_POOL_MIN", "999"),
        ("SHUTDOWN_TIMEOUT", "1"),
    ],
)
async def test_bad_setting_is_named(
    stack: EmbeddedStack, database: str, tmp_path: Path, variable: str, value: str
) -> None:
    """A bad value ends the start with exit code 2 and a sentence that names the variable."""
    log = tmp_path / "service.log"
    async with started(stack, database, log, **{variable: value}) as service:
        assert await service.ended() == 2
    assert variable in log.read_text()
    assert "Traceback" not in log.read_text()


async def test_log_lines_are_json_with_the_request_id(
    stack: EmbeddedStack, database: str, tmp_path: Path
) -> None:
    """Every line of the log is JSON; those of a request carry the id that it brought."""
    log = tmp_path / "service.log"
    async with started(stack, database, log) as service:
        await service.wait_health(200)
        await service.client.get(f"{service.url}/api/users", headers={"X-Request-Id": "mine-42"})
        os.kill(service.process.pid, signal.SIGINT)
        await service.ended()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line for line in lines if line.get("request_id") == "mine-42"]
