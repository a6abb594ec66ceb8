"""The service in the test's own process: its real application, its real pools, on a real database.

Requests go through the whole ASGI application; only the HTTP server is left out. What concerns
that one (signals, draining) is tested on `python -m service`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx

from ops.embedded.pair import READ
from service.app import create_app
from service.settings import Settings
from tests.headers import only_known

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

# Shorter than in production, where a test has to wait for them to pass; the rest is as deployed.
SHORT = {
    "db_statement_timeout": 2.0,
    "db_tcp_timeout": 1.0,
    "request_deadline": 12.0,
}


class Service:
    """One instance, and a client for it."""

    def __init__(self, app: FastAPI, client: httpx.AsyncClient) -> None:
        self.app = app
        self.client = client

    async def create(self, name: str) -> httpx.Response:
        """Create the user NAME@example.com."""
        body = {"email": f"{name}@example.com", "name": name}
        return await self.client.post("/api/users", json=body)

    async def get(self, path: str) -> httpx.Response:
        """GET something."""
        return await self.client.get(path)

    def metric(self, name: str, **labels: str) -> float:
        """Read a metric: the sum of all its samples that have these labels; 0 without any."""
        return sum(
            sample.value
            for family in self.app.state.registry.collect()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def pool(self, role: str) -> dict[str, float]:
        """Count the connections of one pool: size, idle, waiting, limit."""
        names = ("size", "idle", "waiting", "limit")
        return {name: self.metric(f"holdfast_database_pool_{name}", role=role) for name in names}


@asynccontextmanager
async def running_service(
    database: str, write_port: int, read_port: int, **settings: object
) -> AsyncIterator[Service]:
    """Run an instance on two ports; `settings` override."""
    chosen = {
        "db_write_host": "127.0.0.1",
        "db_write_port": write_port,
        "db_read_port": read_port,
        "db_name": database,
        "app_name": "under-test",
        **SHORT,
        "db_read_user": READ,
        **settings,
    }
    app = create_app(Settings.model_validate(chosen))
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport,
            base_url="http://holdfast",
            timeout=60,
            event_hooks={"response": [only_known]},
        ) as client,
    ):
        yield Service(app, client)
