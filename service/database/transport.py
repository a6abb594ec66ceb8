"""A transport that holds messages back until the driver writes: one packet, one system call.

The driver makes its connections by the event loop that it is given, so it gets its transports from
here. It is given this loop for connecting alone.
"""

import asyncio
from collections.abc import Callable
from typing import Any


class Gathering:
    """A transport, with what is to go ahead of its next write."""

    __slots__ = ("_transport", "ahead")

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self.ahead = b""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the transport's own
        """Return what is not gathered."""
        return getattr(self._transport, name)

    def write(self, data: memoryview | bytes) -> None:
        """Write, after what was to go ahead."""
        if self.ahead:
            data = b"".join((self.ahead, data))
            self.ahead = b""
        self._transport.write(data)


class Opening:
    """The running event loop, whose connections gather. Of one session: `gathering` is its own."""

    def __init__(self) -> None:
        self._loop: Any = asyncio.get_running_loop()
        self.gathering: Gathering

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the loop's own
        """Return what makes no connections."""
        return getattr(self._loop, name)

    async def create_connection(
        self,
        factory: Callable[[], Any],
        *args: Any,  # noqa: ANN401 - the loop's own, as all below
        **options: Any,  # noqa: ANN401
    ) -> tuple[Any, Any]:
        """Open a connection whose protocol writes by a gathering transport."""

        def gathered() -> Any:  # noqa: ANN401
            protocol = factory()

            def begin(transport: asyncio.BaseTransport) -> None:
                del protocol.connection_made  # this one, which knows the protocol
                protocol.connection_made(self._gather(transport))

            protocol.connection_made = begin
            return protocol

        _, protocol = await self._loop.create_connection(gathered, *args, **options)
        return self.gathering, protocol

    async def start_tls(
        self,
        transport: Gathering,
        *args: Any,  # noqa: ANN401
        **options: Any,  # noqa: ANN401
    ) -> Gathering | None:
        """Encrypt a connection from here on."""
        raw = transport._transport  # noqa: SLF001 - the loop knows its own alone
        encrypted = await self._loop.start_tls(raw, *args, **options)
        return None if encrypted is None else self._gather(encrypted)

    def _gather(self, transport: asyncio.BaseTransport) -> Gathering:
        self.gathering = Gathering(transport)
        return self.gathering
