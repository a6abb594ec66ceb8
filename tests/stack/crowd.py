"""Many connections to an instance, on each of which the same request is sent again and again."""

from __future__ import annotations

import selectors
import socket
import threading
from typing import Self

PAUSE = 1.0
"""Seconds between two looks at what was answered: who is refused comes again only then."""


class Crowd:
    """So many requests at a time until the end of the block, also when each is answered soon."""

    def __init__(self, count: int, address: tuple[str, int], request: bytes) -> None:
        self._address, self._request = address, request
        self._count = count
        self._selector = selectors.DefaultSelector()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on)

    def __enter__(self) -> Self:
        """Open all connections, and send the first requests."""
        for _ in range(self._count):
            self._come()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close them."""
        self._over.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            self._leave(key.fileobj)
        self._selector.close()

    def _come(self) -> None:
        client = socket.create_connection(self._address, 10)
        client.sendall(self._request)
        self._selector.register(client, selectors.EVENT_READ)

    def _leave(self, client: object) -> None:
        assert isinstance(client, socket.socket)
        self._selector.unregister(client)
        client.close()

    def _go_on(self) -> None:
        while not self._over.wait(PAUSE):
            for key, _ in self._selector.select(0):
                client = key.fileobj
                assert isinstance(client, socket.socket)
                if client.recv(1 << 16):
                    client.sendall(self._request)
                else:
                    self._leave(client)
                    self._come()
