"""`Prefer: durability=local`: with LOCAL_DURABILITY=yes such a write waits for no standby."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.integration.fault_proxy import Fault, FaultProxy
from tests.integration.scenarios import stopped
from tests.integration.service_client import running_service
from tests.integration.support import waiting_backend

if TYPE_CHECKING:
    import asyncpg
    import httpx

    from ops.embedded import EmbeddedStack
    from tests.integration.service_client import Service

MARK, APPLIED = "Durability", "Preference-Applied"
LOCAL = {"Prefer": "durability=local"}


async def create(service: Service, name: str, **headers: str) -> httpx.Response:
    """Create a user."""
    body = {"email": f"{name}@example.com", "name": name}
    return await service.client.post("/api/users", json=body, headers=headers)


async def test_it_does_not_wait_and_others_do(
    disturbed_stack: EmbeddedStack, database: str, onlooker: asyncpg.Connection
) -> None:
    """Beside a standby that takes nothing; its answer says what that costs."""
    stack = disturbed_stack
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port, local_durability="yes"
    ) as service:
        with stopped(stack.primary, "walsender"):
            answer = await create(service, "hasty", **LOCAL)
            assert answer.status_code == 201, answer.text
            assert (answer.headers[MARK], answer.headers[APPLIED]) == ("local", "durability=local")
            # Whoever sends the same key, and wants more, gets more.
            key = answer.headers["Idempotency-Key"]
            waits = asyncio.create_task(create(service, "hasty", **{"Idempotency-Key": key}))
            await waiting_backend(onlooker, "SyncRep")
        answer = await waits
        assert answer.status_code == 201, answer.text
        assert answer.headers["Idempotency-Replayed"] == "true"
        assert not {MARK, APPLIED} & {each.title() for each in answer.headers}
        assert service.metric("holdfast_database_local_commits_asked_total") == 1
        assert service.metric("holdfast_database_local_commits_total") == 0


async def test_a_session_is_as_before_afterwards(
    disturbed_stack: EmbeddedStack, database: str, onlooker: asyncpg.Connection
) -> None:
    """The next write of the same session waits."""
    stack = disturbed_stack
    one = {"db_write_pool_min": 1, "db_write_pool_max": 1, "workers": 1}
    async with running_service(
        database,
        stack.primary.serving_port,
        stack.standby.serving_port,
        local_durability="yes",
        **one,
    ) as service:
        assert (await create(service, "first", **LOCAL)).headers[MARK] == "local"
        with stopped(stack.primary, "walsender"):
            waits = asyncio.create_task(create(service, "second"))
            await waiting_backend(onlooker, "SyncRep")
        answer = await waits
        assert (answer.status_code, MARK in answer.headers) == (201, False)


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.LOSE_ANSWER])
async def test_it_is_applied_once(
    disturbed_stack: EmbeddedStack, database: str, admin: asyncpg.Connection, fault: Fault
) -> None:
    """And does not wait either in the attempt after a lost answer."""
    stack = disturbed_stack
    async with (
        FaultProxy(stack.primary.serving_port) as proxy,
        running_service(
            database, proxy.port, stack.standby.serving_port, local_durability="yes"
        ) as service,
    ):
        proxy.trap(b"COMMIT", fault)
        stack.standby.kill()
        answer = await create(service, "once", **LOCAL)
        assert (answer.status_code, answer.headers[MARK]) == (201, "local")
        assert answer.headers["X-Attempts"] == "2"
        made = await admin.fetchval("SELECT count(*) FROM users WHERE name = 'once'")
        assert made == 1


async def test_where_it_is_not_allowed_nothing_changes(
    disturbed_stack: EmbeddedStack, database: str, onlooker: asyncpg.Connection
) -> None:
    """RFC 7240 lets a server ignore a preference, and this one says that it did."""
    stack = disturbed_stack
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port
    ) as service:
        with stopped(stack.primary, "walsender"):
            waits = asyncio.create_task(create(service, "patient", **LOCAL))
            await waiting_backend(onlooker, "SyncRep")
        answer = await waits
        assert answer.status_code == 201, answer.text
        assert not {MARK, APPLIED} & {each.title() for each in answer.headers}


async def test_both_preferences_are_followed(disturbed_stack: EmbeddedStack, database: str) -> None:
    """In one field, or in two."""
    stack = disturbed_stack
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port, local_durability="yes"
    ) as service:
        answer = await create(
            service, "both", Prefer='Consistency-Cookie, durability = "local"; why=haste'
        )
        assert answer.headers[APPLIED] == "consistency-cookie, durability=local"
        assert "consistency_token" in answer.cookies
