"""service.app: how the parts are put together."""

import time

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from service.app import create_app, database_options
from service.settings import Settings


async def test_start_does_not_wait_for_a_database(app: FastAPI) -> None:
    """With the database away the application starts, and stops, at once."""
    started = time.monotonic()
    async with app.router.lifespan_context(app):
        pass

    assert time.monotonic() - started < 1


async def test_request_is_held_for_the_deadline(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    """A request waits for the database as long as it was promised, and no longer."""
    started = time.monotonic()
    response = await client.get("/api/users")
    held = time.monotonic() - started

    assert response.status_code == 503
    assert settings.request_deadline * 0.8 <= held < settings.request_deadline + 1


@pytest.mark.parametrize("path", ["/health", "/nowhere", "/api/users", "/metrics", "/docs"])
async def test_every_response_names_instance_and_request(
    client: httpx.AsyncClient, path: str
) -> None:
    """Errors, probes and pages included."""
    response = await client.get(path, headers={"x-request-id": "r-1"})

    assert response.headers["x-instance"] == "app-under-test"
    assert response.headers["x-request-id"] == "r-1"


async def test_stopped_application_answers_503(app: FastAPI) -> None:
    """A request that comes when the pools are closed is told so, not left waiting."""
    async with app.router.lifespan_context(app):
        pass
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        started = time.monotonic()
        response = await client.get("/api/users/1")

    assert response.json()["type"] == "urn:holdfast:problem:unavailable"
    assert time.monotonic() - started < 1


def test_settings_reach_the_database(settings: Settings) -> None:
    """Hosts, ports, bounds and the password are passed on under their new names."""
    changed = settings.model_copy(
        update={"db_password": SecretStr("hunter2"), "db_read_host": "readers"}
    )

    options = database_options(changed)

    user, password = options.login(options.write)
    assert (user, callable(password) and password()) == ("holdfast_app", "hunter2")
    assert (options.write.host, options.read.host) == ("127.0.0.1", "readers")
    assert options.retry.deadline == changed.request_deadline
    assert options.connection_max_age == changed.db_connection_max_age


def test_nothing_happens_before_the_start(settings: Settings) -> None:
    """Outside of any event loop an application can be made: it opens nothing."""
    assert create_app(settings).title == "Holdfast"
