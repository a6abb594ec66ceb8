"""HTTP/1.1 as uvicorn speaks it, with the head of an answer and its body in one packet.

uvicorn writes them one after another, which are two system calls, two packets, and two times that
a proxy wakes up. A small answer costs as much as the query behind it then.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class JoinedWrites:
    """A transport that holds what is written until more is, or the event loop turns."""

    __slots__ = ("_held", "_later", "_transport")

    def __init__(
        self, transport: asyncio.Transport, later: Callable[[Callable[[], None]], object]
    ) -> None:
        self._transport = transport
        self._later = later  # asyncio's call_soon
        self._held = b""

    def write(self, data: bytes) -> None:
        """Write a part of an answer."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        elif data:
            self._held = data
            self._later(self.flush)

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)

    def close(self) -> None:
        """Write what is held, and close."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the transport's
        return getattr(self._transport, name)


class Protocol(HttpToolsProtocol):
    """One connection of a client."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection."""
        joined = JoinedWrites(transport, asyncio.get_running_loop().call_soon)
        super().connection_made(joined)  # type: ignore[arg-type]
