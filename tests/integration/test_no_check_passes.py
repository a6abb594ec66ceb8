"""While no instance passes HAProxy's check, the deployed haproxy.cfg asks them all the same.

Its own answer could only be an error. Two tiny HTTP servers stand in for app1 and app2.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx

from tests.integration.instances import instances
from tests.integration.support import eventually

if TYPE_CHECKING:
    from ops.embedded import EmbeddedStack
    from tests.http_server import Request


def healthy(request: Request) -> None:
    """Say 200 to everything."""
    request.begin()


def unhealthy(request: Request) -> None:
    """Fail the check, and serve all the same."""
    request.begin(HTTPStatus.SERVICE_UNAVAILABLE if request.is_check else HTTPStatus.OK)


async def ask(stack: EmbeddedStack, method: str) -> int:
    """Send one request to HAProxy and return the status that comes back."""
    async with httpx.AsyncClient(timeout=30) as client:
        return (await client.request(method, f"http://127.0.0.1:{stack.http_port}/x")).status_code


async def nobody_up(stack: EmbeddedStack) -> None:
    """Wait until no instance passes its check."""
    await eventually("both out of rotation", lambda: not stack.haproxy.up("apps"))


async def test_instances_that_fail_their_check_are_asked(stack: EmbeddedStack) -> None:
    """Slow is not dead: a machine that stood still fails all checks, and then answers."""
    with instances(stack, healthy):
        await eventually("both in rotation", lambda: len(stack.haproxy.up("apps")) == 2)
    with instances(stack, unhealthy):
        await nobody_up(stack)
        answers = await asyncio.gather(*(ask(stack, "GET") for _ in range(20)))
    assert answers == [200] * 20


async def test_a_request_waits_for_an_instance_to_come(stack: EmbeddedStack) -> None:
    """Nobody listens, as after a power loss: what arrives waits, reads and writes alike."""
    await nobody_up(stack)
    requests = [asyncio.create_task(ask(stack, method)) for method in ("GET", "POST") * 5]
    done, _ = await asyncio.wait(requests, timeout=1.5)
    assert not done
    with instances(stack, healthy):
        answers = await asyncio.gather(*requests)
    assert answers == [200] * 10
