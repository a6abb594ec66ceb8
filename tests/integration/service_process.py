"""`python -m service` as a process of its own, for what concerns its server: signals, its log."""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx

from ops.embedded.processes import Process
from tests.headers import only_known
from tests.integration.support import ROOT, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ops.embedded import EmbeddedStack

DRAIN_DELAY = 1.5  # seconds
HOOKS = {"response": [only_known]}


class Running:
    """One service process and clients for it, straight and through HAProxy."""

    def __init__(self, process: Process, port: int, client: httpx.AsyncClient) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.client = client

    async def health(self) -> int | None:
        """Status code of /health, or None while nothing listens."""
        try:
            # A connection of its own: one kept alive would outlive the listener.
            async with httpx.AsyncClient(timeout=2) as client:
                return (await client.get(f"{self.url}/health")).status_code
        except httpx.TransportError:
            return None

    async def wait_health(self, expected: int | None) -> None:
        """Wait for /health to answer so."""

        async def as_expected() -> bool:
            return await self.health() == expected

        await eventually(f"/health to answer {expected}", as_expected)

    async def wait_in_flight(self, number: int) -> None:
        """Wait until it serves so many requests, the one that asks not counted."""

        async def so_many() -> bool:
            async with httpx.AsyncClient(timeout=2) as client:
                text = (await client.get(f"{self.url}/metrics")).text
            return f"holdfast_http_requests_in_flight {number + 1:.1f}" in text

        await eventually(f"{number} requests in flight", so_many)

    async def ended(self) -> int:
        """Wait for the process to end; return its exit code."""
        await eventually("the service to end", lambda: not self.process.running)
        assert self.process.exit_code is not None
        return self.process.exit_code


@asynccontextmanager
async def started(
    stack: EmbeddedStack, database: str, log: Path, *, module: str = "service", **settings: str
) -> AsyncIterator[Running]:
    """Start `python -m service` as app1 of the stack's HAProxy; `settings` override."""
    env = {
        **os.environ,
        **stack.service_environment(),
        "DB_NAME": database,
        "APP_NAME": "app1",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(stack.ports.app1),
        "DRAIN_DELAY": str(DRAIN_DELAY),
        "WORKERS": "1",
        **settings,
    }
    process = Process("service", log)
    process.start([sys.executable, "-m", module], env, ROOT)
    try:
        async with httpx.AsyncClient(timeout=20, event_hooks=HOOKS) as client:
            yield Running(process, stack.ports.app1, client)
    finally:
        process.kill()
