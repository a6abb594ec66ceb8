"""Reads and writes find their way, connections come back clean, and health tells what is known."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from service.errors import ConnectionLost
from tests.integration.bare_database import warm_database
from tests.integration.fault_proxy import Fault, FaultProxy
from tests.integration.service_client import running_service
from tests.integration.support import eventually, superuser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ops.embedded import EmbeddedStack
    from tests.integration.service_client import Service

ANSWERS_AT_ONCE = 0.5  # seconds; /health and /livez wait for nobody
POOL = 3  # connections; few, so that a lost one is missed


class Routes:
    """A service with a fault proxy on either route."""

    def __init__(self, service: Service, write: FaultProxy, read: FaultProxy) -> None:
        self.service = service
        self.write = write
        self.read = read


@pytest.fixture
async def routes(stack: EmbeddedStack, database: str) -> AsyncIterator[Routes]:
    """Run the service with a fault proxy on either route: the primary's and the standby's."""
    async with (
        FaultProxy(stack.primary.serving_port) as write,
        FaultProxy(stack.standby.serving_port) as read,
        running_service(
            database,
            write.port,
            read.port,
            db_write_pool_max=POOL,
            db_read_pool_max=POOL,
            db_probe_interval=0.2,
        ) as service,
    ):
        yield Routes(service, write, read)


async def status(service: Service) -> str:
    """What /health calls the instance's state."""
    return str((await service.get("/health")).json()["status"])


# ---------------------------------------------------------------- routes
async def test_reads_and_writes_go_their_ways(stack: EmbeddedStack, routes: Routes) -> None:
    """A write goes to the write route, a read to the read route, and the headers say so."""
    created = await routes.service.create("routed")
    assert created.headers["X-Route"] == "write"
    await asyncio.to_thread(stack.wait_replayed)
    read = await routes.service.get(created.headers["Location"])
    assert read.status_code == 200
    assert read.headers["X-Route"] == "read"
    assert read.json() == created.json()


async def test_a_read_tells_that_its_endpoint_serves(stack: EmbeddedStack, database: str) -> None:
    """Also where it was taken for down meanwhile, and no session had to be opened."""
    async with warm_database(stack, database, stack.primary.serving_port, sessions=1) as heart:
        _, reader = heart.pools
        for _ in range(2):
            async with heart.read() as connection:
                await connection.fetchval("SELECT 1")
            assert reader.endpoint.state.serves
            reader.endpoint.failed(ConnectionLost("as another session was", kind="reset"))
            assert not reader.endpoint.state.serves


@pytest.mark.parametrize("how", ["refuse", "reset", "deafen"])
async def test_reads_fall_back_and_return(routes: Routes, how: str) -> None:
    """Without a reader reads go to the write route, and come back once there is one."""
    service = routes.service
    assert (await service.get("/api/users")).headers["X-Route"] == "read"
    result = routes.read.deafen() if how == "deafen" else await getattr(routes.read, how)()
    assert result is None
    response = await service.get("/api/users")
    assert response.status_code == 200
    assert response.headers["X-Route"] == "read-fallback"
    assert service.metric("holdfast_database_read_fallbacks_total") >= 1
    await routes.read.forward()

    async def returned() -> bool:
        return (await service.get("/api/users")).headers["X-Route"] == "read"

    await eventually("reads to return to the read route", returned)


async def test_fallback_cannot_write(stack: EmbeddedStack, routes: Routes) -> None:
    """A read that fell back runs READ ONLY, though its connection leads to the primary."""
    await routes.read.refuse()
    seen = []
    async with routes.service.app.state.database.read() as connection:
        seen.append(await connection.fetchval("SELECT current_setting('transaction_read_only')"))
        seen.append(int(await connection.fetchval("SELECT current_setting('port')")))
    assert seen == ["on", stack.primary.port]


async def test_reads_survive_the_write_route(routes: Routes) -> None:
    """While nothing can be written, reads are served as ever."""
    await routes.write.refuse()
    response = await routes.service.get("/api/users")
    assert response.status_code == 200
    assert response.headers["X-Route"] == "read"
    assert response.headers["X-Attempts"] == "1"


async def test_crowd_shares_a_small_pool(routes: Routes) -> None:
    """Many more requests than connections are all served, by no more connections than allowed."""
    responses = await asyncio.gather(*(routes.service.create(f"one-{n}") for n in range(60)))
    assert {response.status_code for response in responses} == {201}
    assert routes.service.pool("write")["size"] <= POOL


async def test_refused_write_costs_no_connection(routes: Routes) -> None:
    """An error of the client's is rolled back, and its connection is used again."""
    service = routes.service
    assert (await service.create("taken")).status_code == 201
    await eventually("the pool to be warm", lambda: service.pool("write")["idle"] >= 2)
    before = routes.write.accepted
    for _ in range(2 * POOL):
        assert (await service.create("taken")).status_code == 409
    assert (await service.create("free")).status_code == 201
    assert routes.write.accepted == before


# ---------------------------------------------------------------- cancelled requests
@contextlib.asynccontextmanager
async def locked_users(stack: EmbeddedStack, database: str) -> AsyncIterator[None]:
    """Make everything that writes users wait."""
    async with superuser(stack, database) as admin, admin.transaction():
        await admin.execute("LOCK TABLE users IN EXCLUSIVE MODE")
        yield


async def assert_clean(stack: EmbeddedStack, database: str, service: Service) -> None:
    """Every connection can be used, and none is left in the middle of something."""
    responses = await asyncio.gather(*(service.create(f"after-{n}") for n in range(3 * POOL)))
    assert {response.status_code for response in responses} == {201}
    assert {response.headers["X-Attempts"] for response in responses} == {"1"}

    def all_back() -> bool:
        pool = service.pool("write")
        return pool["waiting"] == 0 and pool["idle"] == pool["size"] <= POOL

    # Not at once: the keeper, too, borrows one from time to time.
    await eventually("every connection to be back, and nobody to wait", all_back)
    async with superuser(stack, database) as admin:
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name LIKE 'under-test/%' AND state <> 'idle'"
        )

        async def none_left() -> bool:
            return bool(await admin.fetchval(query) == 0)

        await eventually("no session of the service to be busy", none_left)


@pytest.mark.parametrize("statement", [b"BEGIN", b"INSERT", b"COMMIT"])
async def test_cancelled_request_leaves_no_trace(
    stack: EmbeddedStack, database: str, routes: Routes, statement: bytes
) -> None:
    """A client that hangs up in the middle of an exchange costs nobody else anything."""
    for number in range(POOL + 1):  # more often than there are connections to lose
        trap = routes.write.trap(statement, Fault.HOLD)
        request = asyncio.create_task(routes.service.create(f"gone-{number}"))
        await asyncio.wait_for(trap.sprung.wait(), 5)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        trap.release()
    await assert_clean(stack, database, routes.service)


async def test_cancelled_while_waiting_for_a_connection(
    stack: EmbeddedStack, database: str
) -> None:
    """A client that hangs up in the queue for a connection does not take one with it."""
    patient = {"db_statement_timeout": 30, "db_acquire_timeout": 30, "request_deadline": 30}
    async with running_service(
        database,
        stack.primary.serving_port,
        stack.standby.serving_port,
        db_write_pool_max=POOL,
        **patient,
    ) as service:
        async with locked_users(stack, database):
            requests = [asyncio.create_task(service.create(f"gone-{n}")) for n in range(POOL + 5)]
            await eventually("the queue to form", lambda: service.pool("write")["waiting"] == 5)
            for request in requests:
                request.cancel()
            results = await asyncio.gather(*requests, return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in results)
        await assert_clean(stack, database, service)
    async with superuser(stack, database) as admin:
        assert await admin.fetchval("SELECT count(*) FROM users WHERE name LIKE 'gone-%'") == 0


# ---------------------------------------------------------------- health
async def test_health_names_both_routes(routes: Routes) -> None:
    """A healthy instance says so, with what it reached."""
    service = routes.service

    async def ok() -> bool:
        return await status(service) == "ok"

    await eventually("both routes to be known", ok)
    response = await service.get("/health")
    assert response.status_code == 200
    body = response.json()
    assert body["instance"] == "under-test"
    assert body["routes"]["write"]["serves"] is True
    assert body["routes"]["read"]["serves"] is True
    assert "timestamp" in body


async def test_black_hole_does_not_hold_up_health(routes: Routes) -> None:
    """With a database that swallows everything, /health and /livez answer at once, all along."""
    service = routes.service
    await service.create("before")
    routes.write.deafen()
    routes.read.deafen()
    held = [asyncio.create_task(service.create(f"held-{n}")) for n in range(2 * POOL)]
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        for path in ("/health", "/livez", "/metrics"):
            started = time.monotonic()
            response = await service.get(path)
            assert time.monotonic() - started < ANSWERS_AT_ONCE, path
            assert response.status_code == 200, path
        await asyncio.sleep(0.1)

    async def waiting() -> bool:
        return await status(service) == "waiting"

    await eventually("both routes to be known as down", waiting)
    assert not any(request.done() for request in held)
    await routes.write.forward()
    responses = await asyncio.gather(*held)
    assert {response.status_code for response in responses} == {201}


async def test_out_of_rotation_after_the_grace(stack: EmbeddedStack, database: str) -> None:
    """An instance that serves neither route stays in rotation for the grace, and then leaves."""
    async with (
        FaultProxy(stack.primary.serving_port) as proxy,
        running_service(
            database,
            proxy.port,
            proxy.port,
            request_deadline=0.5,
            health_grace=1.0,
            db_probe_interval=0.1,
        ) as service,
    ):
        await service.create("before")
        await proxy.refuse()
        seen = set()

        async def left() -> bool:
            response = await service.get("/health")
            seen.add((response.json()["status"], response.status_code))
            return response.status_code == 503

        await eventually("the instance to leave rotation", left)
        assert ("waiting", 200) in seen
        assert ("unavailable", 503) in seen
        await proxy.forward()

        async def back() -> bool:
            return (await service.get("/health")).status_code == 200

        await eventually("the instance to come back", back)


async def test_starts_without_a_database(stack: EmbeddedStack, database: str) -> None:
    """Started before its database, an instance is alive, out of rotation, and recovers."""
    async with FaultProxy(stack.primary.serving_port) as proxy:
        await proxy.refuse()
        async with running_service(
            database, proxy.port, proxy.port, db_probe_interval=0.2
        ) as service:
            assert (await service.get("/livez")).status_code == 200
            response = await service.get("/health")
            assert response.status_code == 503
            assert response.json()["status"] == "starting"
            request = asyncio.create_task(service.create("early"))
            done, _ = await asyncio.wait([request], timeout=0.3)
            assert not done
            await proxy.forward()
            assert (await request).status_code == 201
            assert (await service.get("/health")).status_code == 200
