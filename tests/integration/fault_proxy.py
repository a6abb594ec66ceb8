"""A TCP proxy that fails on request, for standing between a client and a real database.

It runs on the test's own event loop. What it can do to connections:

| call             | new connections                 | open connections                        |
|------------------|---------------------------------|-----------------------------------------|
| `forward()`      | forwarded                       | untouched                               |
| `refuse()`       | refused, nobody listens         | reset                                   |
| `reset()`        | accepted and reset at once      | reset                                   |
| `deafen()`       | accepted and never answered     | silent: bytes vanish, no FIN, no RST    |
| `cut()`          | untouched                       | reset                                   |
| `cut_after(n)`   | the next one: reset once the client sent n bytes | untouched              |
| `retarget(port)` | led to another server           | untouched                               |
| `trap(...)`      | fails when the client sends a given text, such as COMMIT (both kinds)     |
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Self

from ops.embedded import free_port
from tests.http_server import reset_on_close

CONNECT_TIMEOUT = 2.0  # seconds for the proxy's own connection to its target
CHUNK = 65536
# Seconds until the server is told that a silent client is gone. In the stack its TCP keepalive does
# that after 5 (deploy/postgres/postgresql.holdfast.conf), and HAProxy's on either side.
SERVER_NOTICES = 1.0


class Fault(Enum):
    """What a trap does with the bytes that sprang it."""

    CUT_BEFORE = auto()  # they never reach the server; both ends see a reset
    LOSE_ANSWER = auto()  # the server gets them and answers; the client sees a reset instead
    CUT_ANSWER = auto()  # the same, in the middle of the answer: the client has its beginning
    SWALLOW_ANSWER = auto()  # the server gets them and answers; the client hears nothing more
    HOLD = auto()  # they wait until `Trap.release()`


class Mode(Enum):
    """What happens to connections that no trap concerns."""

    FORWARD = auto()
    RESET = auto()
    DEAF = auto()


@dataclass
class Trap:
    """Springs when a client sends `pattern`, for the first `times` occasions.

    `after`: only right after a message that contains this. A prepared statement's text is sent
    once; its neighbours and its arguments tell later uses.
    """

    pattern: bytes
    fault: Fault
    times: int = 1
    after: bytes = b""
    answer: int = 1  # bytes of its answer that CUT_ANSWER lets through
    count: int = 0  # how often it sprang
    sprung: asyncio.Event = field(default_factory=asyncio.Event)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """Let what a HOLD holds go on."""
        self._released.set()

    async def released(self) -> None:
        """Wait for `release`; the test's own timeout bounds this."""
        await self._released.wait()

    def springs(self, data: bytes, previous: bytes) -> bool:
        """Whether it springs on these bytes, which followed `previous`; counts it if so."""
        if self.count >= self.times or self.pattern not in data or self.after not in previous:
            return False
        self.count += 1
        self.sprung.set()
        return True


class FaultProxy:
    """Listens on `port` and forwards to the target, until told otherwise."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.accepted = 0  # connections so far
        self._target = ("127.0.0.1", target_port)
        self._server: asyncio.Server | None = None
        self._mode = Mode.FORWARD
        self._byte_limit: int | None = None
        self._traps: list[Trap] = []
        self._connections: set[_Connection] = set()

    async def __aenter__(self) -> Self:
        await self.forward()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()

    @property
    def open_connections(self) -> int:
        """How many connections there are now."""
        return len(self._connections)

    async def forward(self) -> None:
        """Serve: listen, forward what comes, and forget traps and limits."""
        self._mode = Mode.FORWARD
        self._byte_limit = None
        self._traps.clear()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def refuse(self) -> None:
        """Stop listening and reset every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.cut()

    async def reset(self) -> None:
        """Accept connections only to reset them; reset the open ones."""
        await self.forward()
        self._mode = Mode.RESET
        await self.cut()

    def deafen(self) -> None:
        """Fall silent, like a machine that lost its network: nothing is answered, or ended.

        What is open now stays silent for good, also after `forward`.
        """
        self._mode = Mode.DEAF
        for connection in self._connections:
            connection.silent = True

    async def cut(self) -> None:
        """Reset every open connection."""
        tasks = [connection.task for connection in self._connections]
        for connection in list(self._connections):
            connection.task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def cut_after(self, count: int) -> None:
        """Reset the next connection as soon as its client sent `count` bytes."""
        self._byte_limit = count

    def retarget(self, port: int) -> None:
        """Lead new connections to another server; open ones stay with theirs."""
        self._target = ("127.0.0.1", port)

    def trap(
        self, pattern: bytes, fault: Fault, times: int = 1, *, after: bytes = b"", answer: int = 1
    ) -> Trap:
        """Make the next `times` messages that contain `pattern` fail; see Trap for the rest."""
        trap = Trap(pattern, fault, times, after, answer)
        self._traps.append(trap)
        return trap

    def sprung_by(self, data: bytes, previous: bytes) -> Trap | None:
        """Find the trap that these bytes spring, if any."""
        return next((trap for trap in self._traps if trap.springs(data, previous)), None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        connection = _Connection(self, reader, writer, task, self._byte_limit)
        self._byte_limit = None
        connection.silent = self._mode is Mode.DEAF
        self._connections.add(connection)
        try:
            if self._mode is not Mode.RESET:
                await connection.run(*self._target)
        except (OSError, TimeoutError):
            pass  # one end is gone: the other is told by the reset below
        except asyncio.CancelledError:
            pass  # `cut`: this task ends here by itself
        finally:
            connection.close()
            self._connections.discard(connection)


class _Connection:
    """One client's connection and the one made for it to the target."""

    def __init__(
        self,
        proxy: FaultProxy,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        task: asyncio.Task[None],
        byte_limit: int | None,
    ) -> None:
        self.task = task
        self.silent = False
        self._proxy = proxy
        self._client = (reader, writer)
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._byte_limit = byte_limit
        self._trap: Trap | None = None  # says what is to happen to the server's next bytes
        self._ended = False  # by one of its ends, in order

    async def run(self, host: str, port: int) -> None:
        """Pump both ways until one end closes or something is to fail."""
        if self.silent:
            await asyncio.Event().wait()
        async with asyncio.timeout(CONNECT_TIMEOUT):
            self._server = await asyncio.open_connection(host, port)
        pumps = [asyncio.create_task(self._to_server()), asyncio.create_task(self._to_client())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if self.silent:
                await asyncio.sleep(SERVER_NOTICES)
                _reset(self._server[1])
                await asyncio.Event().wait()
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _to_server(self) -> None:
        assert self._server is not None
        before, previous, sent = b"", b"", 0
        while data := await self._client[0].read(CHUNK):
            if self.silent:
                return
            limit = None if self._byte_limit is None else self._byte_limit - sent
            sent += len(data)
            trap = self._proxy.sprung_by(before + data, previous)
            if trap is not None and trap.fault is Fault.CUT_BEFORE:
                return
            if trap is not None and trap.fault is Fault.HOLD:
                await trap.released()
            elif trap is not None:
                self._trap = trap
            self._server[1].write(data[:limit])
            await self._server[1].drain()
            if limit is not None and len(data) >= limit:
                return
            before, previous = b"" if trap else data[-16:], data
        self._ended = not self.silent

    async def _to_client(self) -> None:
        assert self._server is not None
        while data := await self._server[0].read(CHUNK):
            fault = None if self._trap is None else self._trap.fault
            if fault is Fault.SWALLOW_ANSWER:
                self.silent = True
            if self.silent or fault is Fault.LOSE_ANSWER:
                return
            limit = self._trap.answer if self._trap and fault is Fault.CUT_ANSWER else None
            self._client[1].write(data[:limit])
            await self._client[1].drain()
            if limit is not None:
                return
        self._ended = not self.silent

    def close(self) -> None:
        """Close both ends: in order when one of them did, else with a reset."""
        for _, writer in filter(None, (self._client, self._server)):
            if self._ended:
                writer.close()
                continue
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):  # already gone
        reset_on_close(sock)
    writer.transport.abort()
