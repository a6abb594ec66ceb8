"""Each row of the failure table, shown on a real database behind a TCP proxy that fails."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from tests.integration.fault_proxy import Fault, FaultProxy
from tests.integration.scenarios import assert_leaves_the_demoted_node, demoted
from tests.integration.service_client import running_service
from tests.integration.support import eventually, superuser, waiting_backend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from ops.embedded import EmbeddedStack
    from tests.integration.service_client import Service

PAUSE = 0.6  # seconds that a database is away: several attempts, far from the deadline


@pytest.fixture
async def service(stack: EmbeddedStack, database: str, proxy: FaultProxy) -> AsyncIterator[Service]:
    """Run the service with the fault proxy on its write route."""
    async with running_service(database, proxy.port, stack.standby.serving_port) as running:
        yield running


async def rows(admin: asyncpg.Connection, name: str) -> int:
    """How many users of that name there are."""
    return int(await admin.fetchval("SELECT count(*) FROM users WHERE name = $1", name))


# ---------------------------------------------------------------- nothing was sent: retry
@pytest.mark.parametrize("warm", [True, False], ids=["warm pool", "cold pool"])
@pytest.mark.parametrize("how", ["refuse", "reset", "deafen"])
async def test_unreachable_database_is_waited_for(
    stack: EmbeddedStack, database: str, admin: asyncpg.Connection, how: str, warm: bool
) -> None:
    """A write meets a pause, not an error, while connecting is refused, reset or unanswered."""
    async with (
        FaultProxy(stack.primary.serving_port) as proxy,
        running_service(database, proxy.port, stack.standby.serving_port) as service,
    ):
        if warm:
            assert (await service.create("warm")).headers["X-Attempts"] == "1"
        result = proxy.deafen() if how == "deafen" else await getattr(proxy, how)()
        assert result is None
        request = asyncio.create_task(service.create("held"))
        done, _ = await asyncio.wait([request], timeout=PAUSE)
        assert not done
        await proxy.forward()
        response = await request
        assert response.status_code == 201, response.text
        # A cold pool opens one session at a time: behind a health probe's attempt that hangs, the
        # request waits in line, and its own first attempt may be the one that is answered.
        in_line = how == "deafen" and not warm
        assert in_line or int(response.headers["X-Attempts"]) > 1
        assert await rows(admin, "held") == 1


async def test_too_many_connections_is_waited_for(
    service: Service, proxy: FaultProxy, admin: asyncpg.Connection
) -> None:
    """53300: the server has no connection left for us; nothing was sent, so try again."""
    await admin.execute("ALTER ROLE holdfast_app CONNECTION LIMIT 0")
    try:
        await proxy.cut()
        request = asyncio.create_task(service.create("crowded"))
        done, _ = await asyncio.wait([request], timeout=PAUSE)
        assert not done
    finally:
        await admin.execute("ALTER ROLE holdfast_app CONNECTION LIMIT -1")
    response = await request
    assert response.status_code == 201
    assert service.metric("holdfast_database_retries_total", kind="too-many-connections") >= 1


async def test_deadline_bounds_the_wait(
    stack: EmbeddedStack, database: str, proxy: FaultProxy
) -> None:
    """A database that stays away costs the client the deadline, and 503 says when to come back."""
    async with running_service(
        database, proxy.port, stack.standby.serving_port, request_deadline=1.0
    ) as service:
        await proxy.refuse()
        started = time.monotonic()
        response = await service.create("never")
        assert 0.5 < time.monotonic() - started < 2.5
        assert response.status_code == 503
        assert response.json()["type"] == "urn:holdfast:problem:unavailable"
        assert int(response.headers["Retry-After"]) > 0


async def test_refused_login_is_permanent(
    stack: EmbeddedStack, database: str, proxy: FaultProxy
) -> None:
    """What another attempt cannot change is told at once."""
    async with running_service(
        database, proxy.port, stack.standby.serving_port, db_user="no_such_role"
    ) as service:
        started = time.monotonic()
        response = await service.create("stranger")
        assert response.status_code == 500
        assert response.headers["X-Attempts"] == "1"
        assert time.monotonic() - started < 2


# ---------------------------------------------------------------- 25006: expire, retry
async def test_read_only_node_expires_the_pool(
    disturbed_stack: EmbeddedStack, database: str
) -> None:
    """25006: sessions pinned to a demoted node are given up, not asked again and again."""
    async with demoted(disturbed_stack, database) as service:
        await assert_leaves_the_demoted_node(service)
        async with superuser(disturbed_stack, database) as admin:
            assert await rows(admin, "pinned") == 1


# ---------------------------------------------------------------- rolled back: retry
async def test_serialization_failure_is_retried(
    service: Service,
    proxy: FaultProxy,
    admin: asyncpg.Connection,
    database: str,
    onlooker: asyncpg.Connection,
) -> None:
    """40001: the whole transaction runs again, and sees what it lost against."""
    await admin.execute(
        f"ALTER DATABASE {database} SET default_transaction_isolation = 'repeatable read'"
    )
    user = (await service.create("contended")).json()["id"]
    await proxy.cut()  # new sessions have the new default
    async with admin.transaction():
        await admin.execute("UPDATE users SET name = 'theirs' WHERE id = $1", user)
        request = asyncio.create_task(
            service.client.patch(f"/api/users/{user}", json={"email": "ours@example.com"})
        )
        await waiting_backend(onlooker, "transactionid")
    response = await request
    assert response.status_code == 200, response.text
    assert response.json()["name"] == "theirs"
    assert response.json()["email"] == "ours@example.com"
    assert service.metric("holdfast_database_retries_total", kind="serialization") == 1


async def test_deadlock_is_retried(
    stack: EmbeddedStack,
    database: str,
    admin: asyncpg.Connection,
    onlooker: asyncpg.Connection,
) -> None:
    """40P01: the victim of a deadlock runs again."""
    # Ours looks for a deadlock after 1 s (the default), the administrator's never: ours loses.
    await admin.execute("SET deadlock_timeout = '60s'")
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port, db_statement_timeout=5
    ) as service:
        user = (await service.create("victim")).json()["id"]
        transaction = admin.transaction()
        await transaction.start()
        await admin.execute("INSERT INTO users (email, name) VALUES ('wanted@example.com', 'x')")
        request = asyncio.create_task(
            service.client.patch(f"/api/users/{user}", json={"email": "wanted@example.com"})
        )
        await waiting_backend(onlooker, "transactionid")
        # Closes the circle; goes on when ours has been rolled back.
        await admin.execute("UPDATE users SET name = 'theirs' WHERE id = $1", user)
        await transaction.rollback()
        response = await request
        assert response.status_code == 200, response.text
        assert service.metric("holdfast_database_retries_total", kind="deadlock") == 1


async def test_stale_plan_is_retried(service: Service, admin: asyncpg.Connection) -> None:
    """A migration under prepared statements costs a retry, not an error."""
    user = (await service.create("planned")).json()["id"]
    path = f"/api/users/{user}"
    assert (await service.client.patch(path, json={"name": "before"})).status_code == 200
    await admin.execute("ALTER TABLE users ALTER COLUMN name TYPE varchar(200)")
    response = await service.client.patch(path, json={"name": "after"})
    assert response.status_code == 200, response.text
    assert response.json()["name"] == "after"


# ---------------------------------------------------------------- lost before COMMIT: retry
@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.LOSE_ANSWER, Fault.SWALLOW_ANSWER])
@pytest.mark.parametrize("statement", [b"BEGIN", b"INSERT INTO users"])
async def test_lost_before_commit_is_applied_once(
    service: Service,
    proxy: FaultProxy,
    admin: asyncpg.Connection,
    statement: bytes,
    fault: Fault,
) -> None:
    """A connection lost before COMMIT was sent: rolled back, retried, applied exactly once."""
    trap = proxy.trap(statement, fault)
    response = await service.create("once")
    assert trap.count == 1
    assert response.status_code == 201, response.text
    assert response.headers["X-Attempts"] == "2"
    assert await rows(admin, "once") == 1


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        pytest.param("pg_terminate_backend", "admin-shutdown", id="57P01"),
        pytest.param("pg_cancel_backend", "cancelled", id="57014 by request"),
    ],
)
async def test_backend_stopped_from_outside_is_retried(
    service: Service,
    admin: asyncpg.Connection,
    onlooker: asyncpg.Connection,
    function: str,
    kind: str,
) -> None:
    """Ended or cancelled in the middle of a statement: rolled back, retried, applied once."""
    async with admin.transaction():
        await admin.execute("LOCK TABLE users IN EXCLUSIVE MODE")
        request = asyncio.create_task(service.create("stopped"))
        await admin.execute(f"SELECT {function}($1)", await waiting_backend(onlooker, "relation"))
        await eventually(
            "the failure to be counted",
            lambda: service.metric("holdfast_database_failures_total", kind=kind) == 1,
        )
    response = await request
    assert response.status_code == 201, response.text
    assert await rows(admin, "stopped") == 1


# ---------------------------------------------------------------- once COMMIT was sent: ask the key
LOST_COMMITS = [
    pytest.param(Fault.CUT_BEFORE, 0, id="server never got it"),
    pytest.param(Fault.LOSE_ANSWER, 1, id="answer lost"),
    pytest.param(Fault.SWALLOW_ANSWER, 1, id="silence"),
]


@pytest.mark.uvloop
@pytest.mark.parametrize(("fault", "applied"), LOST_COMMITS)
async def test_lost_commit_is_resolved(
    stack: EmbeddedStack, database: str, admin: asyncpg.Connection, fault: Fault, applied: int
) -> None:
    """A COMMIT whose answer is lost: the key tells what became of it, and the client gets 201."""
    async with (
        FaultProxy(stack.primary.serving_port) as proxy,
        running_service(
            database, proxy.port, stack.standby.serving_port, db_tcp_timeout=1
        ) as service,
    ):
        trap = proxy.trap(b"COMMIT", fault)
        response = await service.create("doubtful")
        assert trap.count == 1
        assert response.status_code == 201, response.text
        assert "Idempotency-Replayed" not in response.headers  # to this client it is the first
        assert await rows(admin, "doubtful") == 1
        outcome = "applied" if applied else "absent"
        assert service.metric("holdfast_database_resolved_commits_total", outcome=outcome) == 1
        assert service.metric("holdfast_database_resolved_commits_total") == 1


@pytest.mark.parametrize(("fault", "applied"), LOST_COMMITS)
async def test_commit_in_doubt_at_the_deadline_is_said(
    stack: EmbeddedStack, database: str, admin: asyncpg.Connection, fault: Fault, applied: int
) -> None:
    """What cannot be resolved in time is told as such; the same key is safe to send again."""
    async with (
        FaultProxy(stack.primary.serving_port) as proxy,
        running_service(
            database, proxy.port, stack.standby.serving_port, request_deadline=2.0
        ) as service,
    ):
        commit = proxy.trap(b"COMMIT", fault)
        request = asyncio.create_task(service.create("doubtful"))
        await commit.sprung.wait()
        proxy.trap(b"idempotency_claim", Fault.CUT_BEFORE, times=1000)
        response = await request
        assert response.status_code == 503
        assert response.json()["type"] == "urn:holdfast:problem:commit-in-doubt"
        assert "Retry-After" in response.headers
        assert await rows(admin, "doubtful") == applied

        await proxy.forward()
        key = {"Idempotency-Key": response.headers["Idempotency-Key"]}
        body = {"email": "doubtful@example.com", "name": "doubtful"}
        again = await service.client.post("/api/users", json=body, headers=key)
        assert again.status_code == 201, again.text
        assert ("Idempotency-Replayed" in again.headers) is bool(applied)
        assert await rows(admin, "doubtful") == 1


# ---------------------------------------------------------------- committed locally
async def test_cancelled_replication_wait_is_said(
    disturbed_stack: EmbeddedStack,
    service: Service,
    admin: asyncpg.Connection,
    onlooker: asyncpg.Connection,
) -> None:
    """A COMMIT that stopped waiting for its standby is applied, and marked as local."""
    disturbed_stack.standby.kill()
    request = asyncio.create_task(service.create("local"))
    await admin.execute("SELECT pg_cancel_backend($1)", await waiting_backend(onlooker, "SyncRep"))
    response = await request
    assert response.status_code == 201, response.text
    assert response.headers["Durability"] == "local"
    assert service.metric("holdfast_database_local_commits_total") == 1
    assert await rows(admin, "local") == 1


async def test_shutdown_in_replication_wait_is_waited_for(
    disturbed_stack: EmbeddedStack,
    service: Service,
    admin: asyncpg.Connection,
    onlooker: asyncpg.Connection,
) -> None:
    """A backend ended while it waits for its standby has committed on the primary alone.

    The key is found, but that is not passed off as replicated: the answer waits for the standby.
    """
    stack = disturbed_stack
    stack.standby.kill()
    request = asyncio.create_task(service.create("ended"))
    first = await waiting_backend(onlooker, "SyncRep")
    await admin.execute("SELECT pg_terminate_backend($1)", first)

    async def another_waits() -> bool:
        return await waiting_backend(onlooker, "SyncRep") != first

    await eventually("the recall to wait for the standby", another_waits)
    assert not request.done()
    await asyncio.to_thread(stack.standby.start)
    response = await request
    assert response.status_code == 201, response.text
    assert "Durability" not in response.headers
    assert await rows(admin, "ended") == 1


async def test_statement_timeout_spares_commit(
    disturbed_stack: EmbeddedStack, database: str, onlooker: asyncpg.Connection
) -> None:
    """A COMMIT that waits for its standby outlasts the statement timeout, and is replicated then.

    The client's bound may close the session, and never cancels: a wait that is cancelled ends with
    a warning, and the commit with success, on one node. The server's: test_commit.py.
    """
    stack = disturbed_stack
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port, db_statement_timeout=0.5
    ) as service:
        stack.standby.kill()
        request = asyncio.create_task(service.create("patient"))
        await waiting_backend(onlooker, "SyncRep")
        done, _ = await asyncio.wait([request], timeout=1.5)
        assert not done
        await asyncio.to_thread(stack.standby.start)
        response = await request
        assert response.status_code == 201, response.text
        assert "Durability" not in response.headers
        assert service.metric("holdfast_database_local_commits_total") == 0


async def test_a_primary_without_standby_is_said(
    disturbed_stack: EmbeddedStack, service: Service
) -> None:
    """With nobody to wait for the server warns of nothing: the response does."""
    disturbed_stack.set_synchronous(on=False)
    response = await service.create("alone")
    assert response.status_code == 201, response.text
    assert response.headers["Durability"] == "local"
    assert service.metric("holdfast_database_local_commits_total") == 1


async def test_replicated_commit_is_not_marked(service: Service) -> None:
    """A commit that its standby confirmed carries no mark."""
    response = await service.create("durable")
    assert response.status_code == 201
    assert "Durability" not in response.headers
    assert service.metric("holdfast_database_local_commits_total") == 0
