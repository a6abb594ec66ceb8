"""While no instance passes HAProxy's check, the deployed haproxy.cfg asks them all the same.

Its own answer could only be an error. Two tiny HTTP servers stand in for app1 and app2.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import httpx

from tests.integration.support import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ops.embedded import EmbeddedStack

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
UNHEALTHY = OK.replace(b"200 OK", b"503 Service Unavailable")

FINISH_LIMIT = 15.0
"""Seconds for an instance to end what it has accepted; HAProxy gives a check 3."""


class Instance:
    """One of the two; what it has accepted it answers, also after it has closed."""

    def __init__(self, health: bytes) -> None:
        self._health = health
        self._work: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection, in a task that `finish` waits for."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def finish(self) -> None:
        """Return when nothing is open any more: a loop that ends meanwhile would leave it so."""
        async with asyncio.timeout(FINISH_LIMIT):
            await asyncio.gather(*self._work)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):  # HAProxy resets a check that it has heard enough of
            head = await reader.read(4096)
            writer.write(self._health if head.startswith(b"GET /health") else OK)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def instances(stack: EmbeddedStack, health: bytes) -> AsyncIterator[None]:
    """Run both instances; to the health check they say `health`, to all else 200."""
    async with AsyncExitStack() as servers:
        for name in ("app1", "app2"):
            port = stack.ports.by_name()[name]
            instance = Instance(health)
            servers.push_async_callback(instance.finish)
            server = await asyncio.start_server(instance.accept, "127.0.0.1", port)
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
