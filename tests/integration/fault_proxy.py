"""A TCP proxy that fails on request, for standing between a client and a real database.

It runs on the test's own event loop. What it can do to connections:

| call             | new connections                 | open connections                        |
|------------------|---------------------------------|-----------------------------------------|
| `forward()`      | forwarded                       | untouched                               |
| `refuse()`       | refused, nobody listens         | reset                                   |
| `reset()`        | accepted and reset at once      | reset                                   |
| `deafen()`       | accepted and never answered     | silent: bytes vanish, no FIN, no RST    |
| `cut()`          | untouched                       | reset                                   |
| `end_after(...)` | the first that moves ends after its n-th byte (both kinds)                |
| `retarget(port)` | led to another server           | untouched                               |
| `trap(...)`      | fails when the client sends a given text, such as COMMIT (both kinds)     |
"""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum, auto
from typing import Self

from ops.embedded import free_port
from tests.http_server import reset_on_close
from tests.integration.faults import ByteCut, Ending, Fault, Trap, Way

CONNECT_TIMEOUT = 2.0  # seconds for the proxy's own connection to its target
CHUNK = 65536
# Seconds until the server is told that a silent client is gone. In the stack its TCP keepalive does
# that after 5 (deploy/postgres/postgresql.holdfast.conf), and HAProxy's on either side.
SERVER_NOTICES = 1.0


class Mode(Enum):
    """What happens to connections that no trap concerns."""

    FORWARD = auto()
    RESET = auto()
    DEAF = auto()


class FaultProxy:
    """Listens on `port` and forwards to the target, until told otherwise."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.accepted = 0  # connections so far
        self._target = ("127.0.0.1", target_port)
        self._server: asyncio.Server | None = None
        self._mode = Mode.FORWARD
        self._byte_cuts: list[ByteCut] = []  # no connection has moved since they came
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
        """Serve: listen, forward what comes, and forget traps and cuts."""
        self._mode = Mode.FORWARD
        self._byte_cuts.clear()
        for connection in self._connections:
            connection.byte_cuts.clear()
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

    def end_after(self, count: int, way: Way, ending: Ending = Ending.RST) -> ByteCut:
        """End the next connection on which anything moves after `count` bytes; see ByteCut."""
        cut = ByteCut(way, count, ending)
        self._byte_cuts.append(cut)
        return cut

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

    def take_byte_cuts(self) -> list[ByteCut]:
        """Hand the cuts over to the connection on which something moves now."""
        cuts, self._byte_cuts = self._byte_cuts, []
        return cuts

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        connection = _Connection(self, reader, writer, task)
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
    ) -> None:
        self.task = task
        self.silent = False
        self.byte_cuts: list[ByteCut] = []
        self._proxy = proxy
        self._client = (reader, writer)
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._trap: Trap | None = None  # says what is to happen to the server's next bytes
        self._ended = False  # by one of its ends, in order
        self._to_be_finished = False  # in order, by the proxy

    async def run(self, host: str, port: int) -> None:
        """Pump both ways until one end closes or something is to fail."""
        if not self.silent:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                self._server = await asyncio.open_connection(host, port)
            await self._pump()
        if self.silent:
            await self._say_nothing()
        elif self._to_be_finished:
            await self._finish()

    async def _pump(self) -> None:
        pumps = [asyncio.create_task(self._to_server()), asyncio.create_task(self._to_client())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _to_server(self) -> None:
        before, previous = b"", b""
        while data := await self._client[0].read(CHUNK):
            if self.silent:
                return
            trap = self._proxy.sprung_by(before + data, previous)
            if trap is not None and trap.fault is Fault.CUT_BEFORE:
                return
            if trap is not None and trap.fault is Fault.HOLD:
                await trap.released()
            elif trap is not None:
                self._trap = trap
            if not await self._pass_on(Way.TO_SERVER, data):
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
            if not await self._pass_on(Way.TO_CLIENT, data[:limit]) or limit is not None:
                return
        self._ended = not self.silent

    async def _pass_on(self, way: Way, data: bytes) -> bool:
        """Pass on what the cuts let through; say whether the connection goes on."""
        assert self._server is not None
        self.byte_cuts += self._proxy.take_byte_cuts()
        for cut in self.byte_cuts:
            data = cut.passing(way, data)
        _, writer = self._server if way is Way.TO_SERVER else self._client
        writer.write(data)
        await writer.drain()
        struck = next((cut for cut in self.byte_cuts if cut.struck), None)
        if struck is not None:
            self.silent |= struck.ending is Ending.SILENCE
            self._to_be_finished = struck.ending is Ending.FIN
        return struck is None

    async def _say_nothing(self) -> None:
        """Let the client wait for as long as it likes; the server is told after a while."""
        if self._server is not None:
            await asyncio.sleep(SERVER_NOTICES)
            _reset(self._server[1])
        await _ignore(self._client[0])

    async def _finish(self) -> None:
        """End both ways with FIN, and wait until both ends have answered it.

        What still comes is read: a socket that is closed with bytes unread sends RST.
        """
        assert self._server is not None
        self._ended = True
        ends = (self._client, self._server)
        for _, writer in ends:
            writer.write_eof()
        async with asyncio.timeout(SERVER_NOTICES):
            await asyncio.gather(*(_ignore(reader) for reader, _ in ends))

    def close(self) -> None:
        """Close both ends: in order when one of them did, else with a reset."""
        for _, writer in filter(None, (self._client, self._server)):
            if self._ended:
                writer.close()
                continue
            _reset(writer)


async def _ignore(reader: asyncio.StreamReader) -> None:
    """Read until the other end closes."""
    while await reader.read(CHUNK):
        pass


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST."""
    sock = writer.get_extra_info("socket")  # None: gone already, as uvloop says it
    with contextlib.suppress(OSError):  # gone already
        if sock is not None:
            reset_on_close(sock)
    writer.transport.abort()
