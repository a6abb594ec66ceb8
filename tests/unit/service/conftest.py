"""An application whose database is away: connecting is refused at once, on both endpoints."""

import socket
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.lifecycle import Lifecycle
from service.settings import Settings
from tests.headers import only_known


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A port of this machine that is taken, so that nobody else gets it, and does not listen."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def settings(refusing_port: int) -> Settings:
    """Settings under which a request is held for a moment only."""
    return Settings(
        db_write_host="127.0.0.1",
        db_write_port=refusing_port,
        db_read_port=refusing_port,
        request_deadline=1.0,
        app_name="app-under-test",
        http_max_body=1000,
    )


@pytest.fixture
def lifecycle() -> Lifecycle:
    """The process's state, which the test may change."""
    return Lifecycle()


@pytest.fixture
def app(settings: Settings, lifecycle: Lifecycle) -> FastAPI:
    """The application, not started."""
    return create_app(settings, lifecycle)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the started application."""
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport,
            base_url="http://service",
            event_hooks={"response": [only_known]},
        ) as client,
    ):
        yield client
