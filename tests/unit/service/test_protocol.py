"""service.protocol: an answer of known size is one packet, every other one is uvicorn's."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest
import uvicorn

from service.protocol import Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
BOUND = 5.0


def start(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    """Return an answer's head."""
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    """Return a part of an answer's body."""
    return {"type": "http.response.body", "body": data, "more_body": more}


def size(number: int) -> tuple[bytes, bytes]:
    """Return the header that says how long a body is."""
    return b"content-length", b"%d" % number


def answering(*messages: dict[str, Any]) -> Callable[..., Any]:
    """Return an application that answers with these."""

    async def app(_: object, __: object, send: Any) -> None:  # noqa: ANN401 - ASGI
        for message in messages:
            await send(message)

    return app


class Recorded(Protocol):
    """The protocol, with what it writes, write by write."""

    packets: list[bytes]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection."""
        super().connection_made(cast("asyncio.Transport", _Wire(transport, self.packets)))


class _Wire:
    def __init__(self, transport: asyncio.Transport, packets: list[bytes]) -> None:
        self._transport = transport
        self._packets = packets

    def write(self, data: bytes) -> None:
        """Write, and keep it."""
        self._packets.append(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the transport's
        return getattr(self._transport, name)


@asynccontextmanager
async def serving(
    app: object, packets: list[bytes] | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Serve an application by this protocol, and connect to it."""
    http: type[Protocol] = Protocol
    if packets is not None:
        http = type("Http", (Recorded,), {"packets": packets})
    config = uvicorn.Config(
        cast("Any", app), port=0, http=http, ws="none", lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await turn()
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        yield reader, writer
        writer.close()
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, 10)


async def turn() -> None:
    """Let the event loop turn."""
    await asyncio.sleep(0)


async def read_one(reader: asyncio.StreamReader, length: int) -> tuple[bytes, bytes]:
    """Return an answer's head, and a body of this length."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), BOUND)
    return head, await asyncio.wait_for(reader.readexactly(length), BOUND)


async def test_an_answer_of_known_size_is_one_packet() -> None:
    """With all its headers, and the connection goes on."""
    packets: list[bytes] = []
    app = answering(start((b"x-name", b"a"), size(2), status=201), body(b"{}"))
    async with serving(app, packets) as (reader, writer):
        for number in (1, 2):
            writer.write(GET)
            head, content = await read_one(reader, 2)
            assert head.startswith(b"HTTP/1.1 201 Created\r\n")
            assert b"\r\nx-name: a\r\ncontent-length: 2\r\n\r\n" in head
            assert b"\r\ndate: " in head
            assert content == b"{}"
            assert packets[number - 1 :] == [head + content]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([start(size(4)), body(b"ab", more=True), body(b"cd")], b"abcd"),
        ([start(size(0)), body(b"")], b""),
        ([start((b"connection", b"close"), size(2)), body(b"ab")], b"ab"),
        ([start((b"X-Upper", b"a"), size(2)), body(b"ab")], b"ab"),
    ],
)
async def test_what_is_not_plain_arrives_as_well(
    messages: list[dict[str, Any]], expected: bytes
) -> None:
    """In parts, empty, with a connection that ends, with a name in capitals."""
    async with serving(answering(*messages)) as (reader, writer):
        writer.write(CLOSE)
        head, _, content = (await asyncio.wait_for(reader.read(), BOUND)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert content == expected


async def test_a_head_without_a_size_does_not_wait() -> None:
    """A stream's first part may take its time; whoever reads sees that it has begun."""
    go_on = asyncio.Event()

    async def app(_: object, __: object, send: Any) -> None:  # noqa: ANN401 - ASGI
        await send(start())
        await go_on.wait()
        await send(body(b"late"))

    async with serving(app) as (reader, writer):
        writer.write(GET)
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), BOUND)
        go_on.set()
        assert b"late" in await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), BOUND)


async def test_two_requests_at_once_are_answered_in_turn() -> None:
    """Pipelined (RFC 9112, 9.3.2)."""
    async with serving(answering(start(size(2)), body(b"ok"))) as (reader, writer):
        writer.write(GET + GET + GET)
        for _ in range(3):
            assert (await read_one(reader, 2))[1] == b"ok"


async def test_an_answer_to_head_has_no_body() -> None:
    """Its size is told all the same."""
    async with serving(answering(start(size(2)), body(b"ok"))) as (reader, writer):
        writer.write(b"HEAD / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        got = await asyncio.wait_for(reader.read(), BOUND)
    assert b"content-length: 2\r\n" in got
    assert got.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "messages",
    [
        [start((b"x-evil", b"a\r\nset-cookie: b"), size(2)), body(b"ok")],
        [start((b"x-evil\r\nset-cookie", b"b"), size(2)), body(b"ok")],
        [start(size(2)), body(b"longer")],
        [start(size(9)), body(b"shorter")],
        [start(size(2))],
    ],
)
async def test_what_must_not_be_written_is_not(messages: list[dict[str, Any]]) -> None:
    """No header within a header, no body of another size: uvicorn refuses, as it does alone."""
    async with serving(answering(*messages)) as (reader, writer):
        writer.write(GET)
        got = await asyncio.wait_for(reader.read(), BOUND)  # the connection ends
    head, _, content = got.partition(b"\r\n\r\n")
    assert b"set-cookie" not in got
    assert head.startswith(b"HTTP/1.1 500") or b"content-length: %d" % len(content) not in head


async def test_nobody_is_told_to_go_on_after_the_answer() -> None:
    """A request that waits for `100 Continue`, and is answered without its body being read."""

    async def app(_: object, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        await send(start(size(2), status=401))
        await send(body(b"no"))
        await receive()

    expecting = GET.replace(b"GET", b"POST").replace(
        b"\r\n\r\n", b"\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    )
    async with serving(app) as (reader, writer):
        writer.write(expecting)
        assert (await read_one(reader, 2))[1] == b"no"
        writer.write(b"late" + GET)
        assert (await read_one(reader, 2))[0].startswith(b"HTTP/1.1 401 ")


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

    async with serving(app) as (reader, writer):
        writer.write(CLOSE)
        head, _, content = (await asyncio.wait_for(reader.read(), BOUND)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    sizes = [f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks if chunk]
    assert content == b"".join(sizes) + b"0\r\n\r\n"
