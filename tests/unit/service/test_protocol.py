"""service.protocol: an answer's head goes out with its body, or when the loop turns."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
import uvicorn

from service.protocol import JoinedWrites, Protocol

HEAD, BODY = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", b"{}"


class Wire:
    """A transport that keeps its packets."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        """Send a packet."""
        assert not self.closed
        self.packets.append(data)

    def close(self) -> None:
        """Close."""
        self.closed = True

    def is_closing(self) -> bool:
        """Say whether it was closed."""
        return self.closed


def joined(wire: Wire) -> JoinedWrites:
    """Return a transport before the wire."""
    later = asyncio.get_running_loop().call_soon
    return JoinedWrites(cast("asyncio.Transport", wire), later)


async def turn() -> None:
    """Let the event loop turn."""
    await asyncio.sleep(0)


async def test_two_parts_are_one_packet() -> None:
    """At once, and only once."""
    wire = Wire()
    transport = joined(wire)
    transport.write(HEAD)
    transport.write(BODY)
    assert wire.packets == [HEAD + BODY]
    await turn()
    assert wire.packets == [HEAD + BODY]


async def test_a_part_alone_does_not_wait() -> None:
    """The body may take its time: the head goes out when the loop turns."""
    wire = Wire()
    transport = joined(wire)
    transport.write(HEAD)
    await turn()
    assert wire.packets == [HEAD]
    transport.write(BODY)
    transport.write(b"")
    await turn()
    assert wire.packets == [HEAD, BODY]


async def test_parts_keep_their_order() -> None:
    """However many there are."""
    wire = Wire()
    transport = joined(wire)
    for part in (b"1", b"2", b"3", b"4", b"5"):
        transport.write(part)
    await turn()
    assert b"".join(wire.packets) == b"12345"


async def test_nothing_is_lost_at_the_end() -> None:
    """What is held goes out before the connection closes; the rest is the transport's."""
    wire = Wire()
    transport = joined(wire)
    transport.write(HEAD)
    transport.close()
    assert wire.packets == [HEAD]
    assert transport.is_closing()
    await turn()
    assert wire.packets == [HEAD]


@pytest.mark.parametrize("chunks", [[b"whole"], [b"in ", b"two"], [b"a", b"", b"b", b"c"]])
async def test_answers_arrive_whole(chunks: list[bytes]) -> None:
    """Through uvicorn and a real socket: of known length or chunked, at once or over time."""

    async def app(scope: dict[str, Any], _: object, send: Any) -> None:  # noqa: ANN401 - ASGI
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await turn()
        await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(
        cast("Any", app), port=0, http=Protocol, ws="none", lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await turn()
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
        writer.close()
    finally:
        server.should_exit = True
        await asyncio.wait_for(serving, 10)
    assert head.startswith(b"HTTP/1.1 200")
    sizes = [f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks if chunk]
    assert body == b"".join(sizes) + b"0\r\n\r\n"
