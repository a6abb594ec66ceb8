"""While no instance passes HAProxy's check, the deployed haproxy.cfg asks them all the same.

Its own answer could only be an error. Two tiny HTTP servers stand in for app1 and app2.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import httpx

from tests.integration.support import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.embedded import EmbeddedStack

HANGING_LIMIT = 15.0
"""Seconds for an instance to give up on a connection that says nothing."""


class Instance(ThreadingHTTPServer):
    """One of the two, in threads: what it has accepted has ended when it is closed."""

    request_queue_size = 128


class Healthy(BaseHTTPRequestHandler):
    """To everything it says 200, to the health check `health`."""

    health = HTTPStatus.OK
    timeout = HANGING_LIMIT

    def do_GET(self) -> None:
        """Answer without a body."""
        self.send_response(self.health if self.path.startswith("/health") else HTTPStatus.OK)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


class Unhealthy(Healthy):
    """Fails its check, and serves all the same."""

    health = HTTPStatus.SERVICE_UNAVAILABLE


@contextmanager
def instances(stack: EmbeddedStack, kind: type[Healthy]) -> Iterator[None]:
    """Run both instances."""
    with ExitStack() as running:
        for name in ("app1", "app2"):
            server = Instance(("127.0.0.1", stack.ports.by_name()[name]), kind)
            running.enter_context(server)
            thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            running.callback(thread.join)
            running.callback(server.shutdown)
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
    with instances(stack, Healthy):
        await eventually("both in rotation", lambda: len(stack.haproxy.up("apps")) == 2)
    with instances(stack, Unhealthy):
        await nobody_up(stack)
        answers = await asyncio.gather(*(ask(stack, "GET") for _ in range(20)))
    assert answers == [200] * 20


async def test_a_request_waits_for_an_instance_to_come(stack: EmbeddedStack) -> None:
    """Nobody listens, as after a power loss: what arrives waits, reads and writes alike."""
    await nobody_up(stack)
    requests = [asyncio.create_task(ask(stack, method)) for method in ("GET", "POST") * 5]
    done, _ = await asyncio.wait(requests, timeout=1.5)
    assert not done
    with instances(stack, Healthy):
        answers = await asyncio.gather(*requests)
    assert answers == [200] * 10
