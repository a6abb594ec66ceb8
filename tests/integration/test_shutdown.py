"""What an instance says to the requests that its end cuts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.integration.fault_proxy import Fault, FaultProxy
from tests.integration.service_process import Running, started
from tests.integration.support import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from ops.embedded import EmbeddedStack

BODY = {"email": "cut@example.com", "name": "Cut"}
EFFECT = b"cut@example.com\0\0\0\3Cut"  # the arguments of the INSERT, in no other message
BOUND = 15.0  # seconds for an answer that comes at once on an idle machine


async def create(service: Running, key: str = "") -> httpx.Response:
    """Create the user."""
    headers = {"Idempotency-Key": key} if key else {}
    return await service.client.post(f"{service.url}/api/users", json=BODY, headers=headers)


async def stop_impatiently(service: Running) -> None:
    """Ask it to stop, and to wait for nobody once it does."""
    os.kill(service.process.pid, signal.SIGTERM)
    await service.wait_health(None)
    os.kill(service.process.pid, signal.SIGTERM)


def check(response: httpx.Response, name: str, log: Path) -> str:
    """Assert that it is the problem `name`, logged as such; return the key in it."""
    assert response.status_code == 503, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == f"urn:holdfast:problem:{name}"
    assert "This instance stopped" in response.json()["detail"]
    assert int(response.headers["retry-after"]) >= 1
    assert response.headers["x-instance"] == "app1"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    mine = [line for line in lines if line["request_id"] == response.headers["x-request-id"]]
    events = [(line["event"], line.get("status")) for line in mine]
    assert (name, None) in events
    assert ("request", 503) in events
    assert not [line for line in lines if "exception" in line]
    return response.headers["idempotency-key"]


async def test_a_held_write_is_told_that_nothing_was_applied(
    stack: EmbeddedStack, database: str, tmp_path: Path
) -> None:
    """With the key that was made for it, which is good at the next instance."""
    log = tmp_path / "service.log"
    away = {"DB_WRITE_PORT": "1", "DB_READ_PORT": "1", "DRAIN_DELAY": "0"}
    async with started(stack, database, log, **away) as service:
        await service.wait_health(503)
        held = asyncio.create_task(create(service))
        await service.wait_in_flight(1)
        await stop_impatiently(service)
        response = await asyncio.wait_for(held, BOUND)
        assert await service.ended() == 0
    key = check(response, "unavailable", log)
    assert "Nothing was applied" in response.json()["detail"]
    async with started(stack, database, log) as service:
        await service.wait_health(200)
        again = await create(service, key)
        assert again.status_code == 201, again.text
        assert "idempotency-replayed" not in again.headers


async def test_a_write_in_commit_is_told_that_it_is_in_doubt(
    stack: EmbeddedStack, database: str, tmp_path: Path, proxy: FaultProxy
) -> None:
    """It was applied in the end; the key in the answer finds it, and applies nothing again."""
    log = tmp_path / "service.log"
    settings = {"DB_WRITE_PORT": str(proxy.port), "DRAIN_DELAY": "0"}
    async with started(stack, database, log, **settings) as service:
        await service.wait_health(200)
        trap = proxy.trap(b"COMMIT", Fault.HOLD)
        held = asyncio.create_task(create(service))
        await eventually("COMMIT to be sent", trap.sprung.is_set)
        await stop_impatiently(service)
        response = await asyncio.wait_for(held, BOUND)
        assert await service.ended() == 0
    trap.release()
    key = check(response, "commit-in-doubt", log)
    async with started(stack, database, log) as service:
        await service.wait_health(200)
        again = await create(service, key)
        assert again.status_code == 201, again.text
        assert again.headers["idempotency-replayed"] == "true"
        assert (await create(service)).json()["type"] == "urn:holdfast:problem:email-in-use"


async def test_a_commit_known_to_have_failed_leaves_no_doubt(
    stack: EmbeddedStack, database: str, tmp_path: Path, proxy: FaultProxy
) -> None:
    """Its answer was lost, the key told that nothing was applied, and the next attempt is held."""
    log = tmp_path / "service.log"
    settings = {"DB_WRITE_PORT": str(proxy.port), "DRAIN_DELAY": "0"}
    async with started(stack, database, log, **settings) as service:
        await service.wait_health(200)
        first = proxy.trap(EFFECT, Fault.HOLD)
        held = asyncio.create_task(create(service))
        await eventually("the first attempt", first.sprung.is_set)
        proxy.trap(b"COMMIT", Fault.CUT_BEFORE)
        second = proxy.trap(EFFECT, Fault.HOLD)
        first.release()
        await eventually("the second attempt", second.sprung.is_set)
        await stop_impatiently(service)
        response = await asyncio.wait_for(held, BOUND)
        assert await service.ended() == 0
    second.release()
    check(response, "unavailable", log)


async def test_a_request_that_never_arrives_is_answered_in_the_end(
    stack: EmbeddedStack, database: str, tmp_path: Path
) -> None:
    """SHUTDOWN_TIMEOUT passes, the server cancels it: 503 with its key, no bare 500."""
    log = tmp_path / "service.log"
    settings = {"REQUEST_DEADLINE": "0.5", "SHUTDOWN_TIMEOUT": "3", "DRAIN_DELAY": "0"}
    async with started(stack, database, log, **settings) as service:
        await service.wait_health(200)
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.ports.app1)
        writer.write(b"DELETE /api/users/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")
        await service.wait_in_flight(1)
        os.kill(service.process.pid, signal.SIGTERM)
        raw = await asyncio.wait_for(reader.read(), BOUND)
        writer.close()
        assert await service.ended() == 0
    head, _, body = raw.decode().partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    response = httpx.Response(int(status.split()[1]), headers=headers, text=body)
    assert check(response, "unavailable", log)


@pytest.mark.parametrize("signals", [1, 2])
async def test_an_idle_instance_ends_at_once(
    stack: EmbeddedStack, database: str, tmp_path: Path, signals: int
) -> None:
    """However often it is asked."""
    async with started(stack, database, tmp_path / "log", DRAIN_DELAY="0") as service:
        await service.wait_health(200)
        for _ in range(signals):
            os.kill(service.process.pid, signal.SIGTERM)
        assert await asyncio.wait_for(service.ended(), BOUND) == 0
