"""Held, not failed, and not without bounds: in time, in number, and at the herd's return."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from tests.integration.fault_proxy import Fault, FaultProxy
from tests.integration.service_client import running_service
from tests.integration.support import eventually

if TYPE_CHECKING:
    from ops.embedded import EmbeddedStack

LIMIT = 20
LOGINS = 1  # at a time: a login costs as much as several requests


async def test_past_the_limit_requests_are_refused_at_once(
    stack: EmbeddedStack, database: str, proxy: FaultProxy
) -> None:
    """While the database is away LIMIT requests are held; the next gets 503, and nobody fails."""
    async with running_service(
        database, proxy.port, stack.standby.serving_port, requests_held_most=LIMIT
    ) as service:
        assert (await service.create("before")).status_code == 201
        await proxy.refuse()
        held = [asyncio.create_task(service.create(f"held-{n}")) for n in range(LIMIT)]
        await eventually(
            "all to be held", lambda: service.metric("holdfast_database_units_held") == LIMIT
        )
        started = time.monotonic()
        refused = await service.create("one-too-many")
        assert time.monotonic() - started < 1
        assert refused.status_code == 503
        assert refused.json()["type"] == "urn:holdfast:problem:overloaded"
        assert int(refused.headers["Retry-After"]) >= 1
        assert service.metric("holdfast_database_refused_total") == 1
        assert service.metric("holdfast_database_units_held_limit") == LIMIT
        assert service.metric("holdfast_database_caller_units_most") == LIMIT
        assert service.metric("holdfast_database_callers") == 1
        await proxy.forward()
        answers = await asyncio.gather(*held)
        assert {answer.status_code for answer in answers} == {201}
        assert service.metric("holdfast_database_units_held") == 0
        assert (await service.create("afterwards")).status_code == 201


async def test_a_client_may_shorten_the_deadline(
    stack: EmbeddedStack, database: str, proxy: FaultProxy
) -> None:
    """`Request-Timeout` ends the wait early, and cannot lengthen the service's own deadline."""
    async with running_service(
        database, proxy.port, stack.standby.serving_port, request_deadline=4.0
    ) as service:
        await proxy.refuse()
        took = {}
        for timeout in ("0.3", "60"):
            started = time.monotonic()
            response = await service.client.delete(
                "/api/users/1", headers={"Request-Timeout": timeout}
            )
            took[timeout] = time.monotonic() - started
            assert response.status_code == 503, response.text
            assert response.json()["type"] == "urn:holdfast:problem:unavailable"
        assert took["0.3"] < 3 < took["60"] < 20


@pytest.mark.uvloop
async def test_a_deadline_that_has_passed_is_no_error_of_ours(
    stack: EmbeddedStack, database: str
) -> None:
    """However little time is left wherever it runs out: done or 503, and nothing half done."""
    statuses = set()
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port
    ) as service:
        for microseconds in range(1, 4000, 50):
            body = {"email": f"late-{microseconds}@example.com", "name": "late"}
            response = await service.client.post(
                "/api/users", json=body, headers={"Request-Timeout": f"{microseconds / 1e6:f}"}
            )
            statuses.add(response.status_code)
        assert statuses <= {201, 503}
        assert 503 in statuses
        assert (await service.create("afterwards")).status_code == 201


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf", "1e999", "٣"])
async def test_a_timeout_that_is_none_is_refused(
    stack: EmbeddedStack, database: str, text: str
) -> None:
    """A bound that cannot be kept is 400, not ignored."""
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port
    ) as service:
        response = await service.client.get(
            "/api/users", headers={"Request-Timeout": text.encode()}
        )
        assert response.status_code == 400
        assert response.json()["type"] == "urn:holdfast:problem:bad-request-timeout"


async def test_the_pool_refills_gradually(
    stack: EmbeddedStack, database: str, proxy: FaultProxy
) -> None:
    """At the herd's return only a few connections are on their way at a time."""
    async with running_service(
        database,
        proxy.port,
        stack.standby.serving_port,
        db_write_pool_min=0,
        db_probe_interval=60,
        db_connect_timeout=30,
        db_acquire_timeout=30,
    ) as service:
        # The logins wait here: whoever may connect at a time shows.
        login = proxy.trap(b"holdfast_app", Fault.HOLD, times=1000)
        herd = [asyncio.create_task(service.create(f"herd-{n}")) for n in range(10)]
        await eventually("logins to wait", lambda: login.count >= LOGINS)
        await asyncio.wait(herd, timeout=0.5)  # time enough for one more
        assert login.count == LOGINS
        login.release()
        assert {answer.status_code for answer in await asyncio.gather(*herd)} == {201}


async def test_who_waits_takes_what_comes_back(
    stack: EmbeddedStack, database: str, proxy: FaultProxy
) -> None:
    """While logins take long, a session that is open serves all: nobody is bound to a login."""
    async with running_service(
        database,
        proxy.port,
        stack.standby.serving_port,
        db_write_pool_min=0,
        db_probe_interval=60,
        db_connect_timeout=30,
        db_acquire_timeout=30,
    ) as service:
        assert (await service.create("first")).status_code == 201
        login = proxy.trap(b"holdfast_app", Fault.HOLD, times=1000)
        herd = [asyncio.create_task(service.create(f"herd-{n}")) for n in range(20)]
        await eventually("all to be served", lambda: all(task.done() for task in herd))
        assert login.count == LOGINS
        login.release()
        assert {answer.status_code for answer in await asyncio.gather(*herd)} == {201}
