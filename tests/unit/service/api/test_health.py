"""service.api.health: who is in rotation, and who is not."""

from datetime import datetime, timedelta

import httpx
import pytest

from service.api.health import IN_ROTATION, combine, judge
from service.database import Role
from service.database.endpoint import EndpointState
from service.lifecycle import Lifecycle

UP = EndpointState(serves=True, reason="", unserved_for=0.0, unknown_for=8.9)
STALE = EndpointState(serves=True, reason="", unserved_for=0.0, unknown_for=9.1)
NEVER = EndpointState(serves=False, reason="not tried yet", unserved_for=None, unknown_for=None)


def down(seconds: float) -> EndpointState:
    """Return the state of an endpoint that last served `seconds` ago."""
    return EndpointState(serves=False, reason="refused", unserved_for=seconds, unknown_for=0.1)


@pytest.mark.parametrize(
    ("write", "read", "status", "in_rotation"),
    [
        (UP, UP, "ok", True),
        (STALE, UP, "stale", True),
        (UP, STALE, "stale", True),
        (STALE, down(9999), "stale", True),
        (down(9999), UP, "degraded", True),
        (UP, down(9999), "degraded", True),
        (UP, NEVER, "degraded", True),
        (down(29), down(29), "waiting", True),
        (down(31), down(29), "waiting", True),
        (down(29), NEVER, "waiting", True),
        (down(31), down(31), "unavailable", False),
        (down(31), NEVER, "unavailable", False),
        (NEVER, NEVER, "starting", False),
    ],
)
def test_rotation_survives_a_failover(
    write: EndpointState, read: EndpointState, status: str, in_rotation: bool
) -> None:
    """Out of rotation only where neither route has served for longer than the grace, or ever."""
    state = {Role.WRITE: write, Role.READ: read}

    judged = judge(state, draining=False, grace=30, stale_after=9)

    assert judged == status
    assert (judged in IN_ROTATION) is in_rotation


@pytest.mark.parametrize(
    ("workers", "status", "in_rotation"),
    [
        (["ok", "ok"], "ok", True),
        (["ok", "stale"], "stale", True),
        (["degraded", "stale"], "degraded", True),
        (["ok", "waiting"], "waiting", True),
        (["ok", "starting"], "degraded", True),
        (["ok", "silent"], "degraded", True),
        (["unavailable", "ok"], "degraded", True),
        (["waiting", "silent"], "waiting", True),
        (["draining", "ok"], "degraded", True),
        (["unavailable", "unavailable"], "unavailable", False),
        (["unavailable", "silent"], "unavailable", False),
        (["starting", "unavailable"], "unavailable", False),
        (["starting", "starting"], "starting", False),
        (["starting", "silent"], "starting", False),
    ],
)
def test_one_worker_that_serves_keeps_the_instance_in_rotation(
    workers: list[str], status: str, in_rotation: bool
) -> None:
    """It is as well as the worst that serves, and degraded if any does not."""
    assert combine(workers) == status
    assert (combine(workers) in IN_ROTATION) is in_rotation


def test_draining_counts_for_more_than_health() -> None:
    """An instance that is asked to stop leaves rotation, however well it serves."""
    judged = judge({Role.WRITE: UP, Role.READ: UP}, draining=True, grace=30, stale_after=9)

    assert judged == "draining"
    assert judged not in IN_ROTATION


async def test_health_without_a_database(client: httpx.AsyncClient) -> None:
    """An instance that has reached nothing yet says 503, who it is, when, and why."""
    response = await client.get("/health")
    body = response.json()

    assert response.status_code == 503
    assert (body["status"], body["instance"]) == ("starting", "app-under-test")
    assert datetime.fromisoformat(body["timestamp"]).utcoffset() == timedelta(0)
    assert set(body["routes"]) == {"write", "read"}
    assert not body["routes"]["write"]["serves"]
    assert body["routes"]["write"]["unserved_seconds"] is None


async def test_draining_shows_in_health_and_ends_connections(
    client: httpx.AsyncClient, lifecycle: Lifecycle
) -> None:
    """While draining /health is 503 and every response asks for a new connection."""
    lifecycle.draining = True

    response = await client.get("/health")

    assert response.status_code == 503
    assert response.json()["status"] == "draining"
    assert response.headers["connection"] == "close"


async def test_livez_needs_no_database(client: httpx.AsyncClient) -> None:
    """The process is alive, whatever it reaches."""
    response = await client.get("/livez")

    assert (response.status_code, response.json()) == (200, {"status": "alive"})
    assert "x-route" not in response.headers
