"""`Durability: local`: said of every commit that a standby may lack, and of no other."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ops.embedded.pair import APP, OWNER
from service.database import connections
from service.errors import DatabaseFailure
from tests.integration.fault_proxy import Fault, FaultProxy
from tests.integration.scenarios import stopped
from tests.integration.service_client import running_service
from tests.integration.support import eventually
from tests.integration.twins import REPLAYED, create

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ops.embedded import EmbeddedStack
    from tests.integration.service_client import Service

MARK = "Durability"
PATIENT = {"db_statement_timeout": 30.0}  # while a test holds a message back


@pytest.fixture
async def service(disturbed_stack: EmbeddedStack, database: str) -> AsyncIterator[Service]:
    """Run the service past HAProxy."""
    stack = disturbed_stack
    async with running_service(database, stack.primary.port, stack.standby.port) as running:
        yield running


@contextmanager
def switch_under_way(stack: EmbeddedStack) -> Iterator[None]:
    """Let every session see `ANY 1` while the server's COMMITs do not wait for anybody yet.

    COMMIT waits once the checkpointer has told all processes of the new setting.
    """
    with stopped(stack.primary, "checkpointer"):
        stack.set_synchronous(on=True)
        yield


def believe_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decide as if the server had read its configuration long ago."""
    believing = connections.POSITION.replace("interval '300 s'", "interval '0 s'")
    assert believing != connections.POSITION
    monkeypatch.setattr(connections, "POSITION", believing)


@pytest.mark.parametrize("window", [True, False], ids=["asked", "the setting is believed"])
async def test_a_commit_that_did_not_wait_is_said(
    disturbed_stack: EmbeddedStack,
    database: str,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    window: bool,
) -> None:
    """While the switch to `ANY 1` is under way a write is lost with its primary: it says so.

    Negative control: who believes the setting does not.
    """
    stack = disturbed_stack
    if not window:
        believe_the_setting(monkeypatch)
    stack.set_synchronous(on=False)
    with switch_under_way(stack), stopped(stack.primary, "walsender"):
        response = await service.create("gone")
        assert response.status_code == 201, response.text
        await asyncio.to_thread(stack.failover)
    async with running_service(database, stack.primary.port, stack.primary.port) as after:
        assert (await after.get(response.headers["Location"])).status_code == 404
    assert response.headers.get(MARK) == ("local" if window else None)


async def test_a_commit_that_a_standby_has_is_not_marked(
    disturbed_stack: EmbeddedStack, service: Service
) -> None:
    """The same, and the standby has received the write: that counts, whoever waited for it."""
    disturbed_stack.set_synchronous(on=False)
    numbers = itertools.count()

    async def not_marked() -> bool:
        response = await service.create(f"kept-{next(numbers)}")
        assert response.status_code == 201, response.text
        return MARK not in response.headers

    with switch_under_way(disturbed_stack):
        await eventually("a write that the standby has in time", not_marked)


@pytest.mark.parametrize("again", [False, True], ids=["write", "replay"])
async def test_alone_before_commit(
    disturbed_stack: EmbeddedStack, database: str, again: bool
) -> None:
    """There is nobody to wait for until COMMIT is on its way; after it the setting names one."""
    stack = disturbed_stack
    stack.set_synchronous(on=False)
    async with (
        FaultProxy(stack.primary.port) as proxy,
        running_service(database, proxy.port, stack.standby.port, **PATIENT) as service,
    ):
        if again:
            await create(service, "before", "key")
        trap = proxy.trap(b"COMMIT", Fault.HOLD)
        request = asyncio.create_task(create(service, "before", "key"))
        await trap.sprung.wait()
        with switch_under_way(stack), stopped(stack.primary, "walsender"):
            trap.release()
            response = await request
    assert response.status_code == 201, response.text
    assert (REPLAYED in response.headers) is again
    assert response.headers.get(MARK) == "local"


async def test_alone_after_commit(
    disturbed_stack: EmbeddedStack, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """COMMIT waits for a standby that is lost, until the cluster goes on without one."""
    stack = disturbed_stack
    believe_the_setting(monkeypatch)
    stack.standby.kill()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    request = asyncio.create_task(service.create("after"))
    await eventually("COMMIT to wait", lambda: stack.primary.sql(waiting) == "1")
    await asyncio.to_thread(stack.set_synchronous, on=False)
    response = await request
    assert response.status_code == 201, response.text
    assert response.headers.get(MARK) == "local"


async def test_a_replay_says_what_is_true_now(
    disturbed_stack: EmbeddedStack, service: Service
) -> None:
    """A write that only the primary has is said again, until a standby has it."""
    stack = disturbed_stack
    stack.set_synchronous(on=False)
    with switch_under_way(stack):
        with stopped(stack.primary, "walsender"):
            first = await create(service, "replayed", "key")
            second = await create(service, "replayed", "key")
        assert [each.headers.get(REPLAYED) for each in (first, second)] == [None, "true"]
        assert [each.headers.get(MARK) for each in (first, second)] == ["local", "local"]

        async def not_marked() -> bool:
            again = await create(service, "replayed", "key")
            assert again.headers[REPLAYED] == "true"
            return MARK not in again.headers

        await eventually("the standby to have it", not_marked)


async def test_a_role_that_does_not_wait_is_said(stack: EmbeddedStack, database: str) -> None:
    """Whoever takes the wait away for the service's role is told what became of its writes."""
    stack.primary.sql(f"ALTER ROLE {APP} IN DATABASE {database} SET synchronous_commit = local")
    async with running_service(database, stack.primary.port, stack.standby.port) as service:
        assert (await service.create("local")).headers.get(MARK) == "local"


async def test_a_database_without_the_question_refuses_before_anything_is_done(
    stack: EmbeddedStack, database: str
) -> None:
    """A write is not applied, and then reported as failed, for want of what is asked after it."""
    async with running_service(database, stack.primary.port, stack.standby.port) as service:
        stack.primary.sql("DROP FUNCTION commit_is_replicated", database=database)
        users = stack.primary.sql("SELECT count(*) FROM users", database=database)
        response = await service.create("incomplete")
        assert response.status_code == 500
        with pytest.raises(DatabaseFailure, match=r"commit_is_replicated.* does not exist"):
            async with service.app.state.database.write() as connection:
                await connection.execute("DELETE FROM users")
        assert stack.primary.sql("SELECT count(*) FROM users", database=database) == users


async def test_an_owner_without_the_right_is_no_error(
    disturbed_stack: EmbeddedStack, service: Service
) -> None:
    """Nobody can tell then that a standby has the write: it is marked, and answered."""
    stack = disturbed_stack
    stack.primary.sql(f"REVOKE pg_read_all_stats FROM {OWNER}")
    try:
        response = await service.create("unseen")
    finally:
        stack.primary.sql(f"GRANT pg_read_all_stats TO {OWNER}")
    assert (response.status_code, response.headers.get(MARK)) == (201, "local")
