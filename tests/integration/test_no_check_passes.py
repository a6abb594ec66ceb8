"""While no instance passes HAProxy's check, the deployed haproxy.cfg asks them all the same.

Its own answer could only be an error. Two tiny HTTP servers stand in for app1 and app2.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import httpx

from tests.integration.support import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ops.embedded import EmbeddedStack

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
UNHEALTHY = OK.replace(b"200 OK", b"503 Service Unavailable")


async def _serve(health: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.read(4096)
    writer.write(health if head.startswith(b"GET /health") else OK)
    writer.close()


@asynccontextmanager
async def instances(stack: EmbeddedStack, health: bytes) -> AsyncIterator[None]:
    """Run both instances; to the health check they say `health`, to all else 200."""
    async with AsyncExitStack() as servers:
        for name in ("app1", "app2"):
            port = stack.ports.by_name()[name]
            server = await asyncio.start_server(partial(_serve, health), "127.0.0.1", port)
            await servers.enter_async_context(server)
        yield


async def ask(stack: EmbeddedStack, method: str) -> int:
    """Send one request to HAProxy and return the status that comes back."""
    async with httpx.AsyncClient(timeout=30) as client:
        return (await client.request(method, f"http://127.0.0.1:{stack.http_port}/x")).status_code


async def nobody_up(stack: EmbeddedStack) -> None:
    """Wait until no instance passes its check."""
    await eventually("both out of rotation", lambda: not stack.haproxy.up("apps"))


async def test_instances_that_fail_their_check_are_asked(stack: EmbeddedStack) -> None:
    """Slow is not dead: a machine that stood still fails all checks, and then answers."""
    async with instances(stack, OK):
        await eventually("both in rotation", lambda: len(stack.haproxy.up("apps")) == 2)
    async with instances(stack, UNHEALTHY):
        await nobody_up(stack)
        answers = await asyncio.gather(*(ask(stack, "GET") for _ in range(20)))
    assert answers == [200] * 20


async def test_a_request_waits_for_an_instance_to_come(stack: EmbeddedStack) -> None:
    """Nobody listens, as after a power loss: what arrives waits, reads and writes alike."""
    await nobody_up(stack)
    requests = [asyncio.create_task(ask(stack, method)) for method in ("GET", "POST") * 5]
    done, _ = await asyncio.wait(requests, timeout=1.5)
    assert not done
    async with instances(stack, OK):
        answers = await asyncio.gather(*requests)
    assert answers == [200] * 10
