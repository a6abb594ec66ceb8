"""The deployed haproxy.cfg sends a request again where that is safe, and nowhere else.

Two tiny HTTP servers stand in for app1 and app2. Whichever gets the first request reads it and
hangs up, as an instance does that is killed while it works.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.integration.instances import instances
from tests.integration.support import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ops.embedded import EmbeddedStack
    from tests.http_server import Request

KEY = {"Idempotency-Key": '"5f1c6a52-6f0c-4f0e-9a3e-0c8f6a1e7b11"'}
WRITES = ("POST", "PATCH", "PUT", "DELETE")

STEP_LIMIT = 10.0
"""Seconds for a request to be where the test wants it."""


@dataclass
class Pair:
    """Two instances, of which the one that is asked first dies while it works."""

    url: str
    reset: bool = False  # how the death looks: a reset, or the end of the stream
    received: list[tuple[str, bytes]] = field(default_factory=list)  # by whom, and the body

    def serve(self, request: Request) -> None:
        """Answer all health checks, and all requests but the first."""
        if not request.is_check:
            self.received.append((request.server_name, request.body))
        if request.is_check or len(self.received) > 1:
            request.begin()
        elif self.reset:
            request.reset()

    async def ask(self, method: str, headers: dict[str, str], body: bytes | None) -> int:
        """Send one request to HAProxy and return the status that comes back."""
        async with httpx.AsyncClient(timeout=10) as client:
            answer = await client.request(method, self.url, content=body, headers=headers)
        return answer.status_code


@pytest.fixture(params=["end of stream", "reset"])
async def pair(stack: EmbeddedStack, request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    """Both instances, in HAProxy's rotation."""
    pair = Pair(f"http://127.0.0.1:{stack.http_port}/x", reset=request.param == "reset")
    with instances(stack, pair.serve):
        await eventually("both in rotation", lambda: len(stack.haproxy.up("apps")) == 2)
        yield pair


def assert_both_received(pair: Pair, body: bytes) -> None:
    """The request arrived at one instance, then at the other, and whole at both."""
    assert sorted(pair.received) == [("app1", body), ("app2", body)]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_read_goes_to_the_other_instance(pair: Pair, method: str) -> None:
    """A read whose instance dies under it succeeds on the other one."""
    assert await pair.ask(method, {}, None) == 200
    assert_both_received(pair, b"")


@pytest.mark.parametrize("method", WRITES)
async def test_a_write_with_a_key_goes_to_the_other_instance(pair: Pair, method: str) -> None:
    """A write with an Idempotency-Key does, too, with its body."""
    assert await pair.ask(method, KEY, b"a body") == 200
    assert_both_received(pair, b"a body")


@pytest.mark.parametrize("method", WRITES)
async def test_a_write_without_a_key_is_sent_once(pair: Pair, method: str) -> None:
    """The instance may have done it before it died: nobody but the client can decide."""
    assert await pair.ask(method, {}, b"a body") == 502
    assert len(pair.received) == 1


async def test_a_write_larger_than_the_buffer_is_sent_once(pair: Pair) -> None:
    """What HAProxy does not hold as a whole it cannot send again, key or not."""
    assert await pair.ask("POST", KEY, b"x" * 32768) == 502
    assert len(pair.received) == 1


async def test_an_answer_leaves_whole(stack: EmbeddedStack) -> None:
    """No header before its body: nginx could not ask again for an answer that it has begun."""
    asked, go_on = threading.Event(), threading.Event()
    body = b"whole"

    def serve(request: Request) -> None:
        request.begin(length=0 if request.is_check else len(body))
        if not request.is_check:
            asked.set()
            go_on.wait(STEP_LIMIT)
            request.wfile.write(body)

    with instances(stack, serve, ("app1",)):
        await eventually("it in rotation", lambda: stack.haproxy.up("apps") == {"app1"})
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.http_port)
        writer.write(b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert await asyncio.to_thread(asked.wait, STEP_LIMIT)
        begun = asyncio.create_task(reader.read(1))
        await asyncio.wait([begun], timeout=0.5)  # time enough for a header
        assert not begun.done()
        go_on.set()
        assert (await begun + await reader.read()).endswith(b"\r\n\r\n" + body)
        writer.close()
