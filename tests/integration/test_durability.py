"""`Durability: local`: said of every commit that a standby may lack, and of no other."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ops.embedded.pair import APP, OWNER, STAT_FILE
from service.database.deadline import Deadline
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
MANY = 50
_numbers = itertools.count()
BELIEVED = "SELECT current_setting('holdfast.believed', true)"
BELIEVING = """
    CREATE OR REPLACE FUNCTION commit_is_replicated(wanted pg_lsn, patience interval)
        RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT true'
"""
COUNT_QUESTIONS = """
    CREATE OR REPLACE FUNCTION commit_is_replicated(wanted pg_lsn, patience interval)
        RETURNS boolean LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public
        AS 'INSERT INTO asked VALUES (now()) RETURNING true'
"""
PATIENT = {"db_statement_timeout": 30.0}  # while a test holds a message back


@pytest.fixture
async def service(disturbed_stack: EmbeddedStack, database: str) -> AsyncIterator[Service]:
    """Run the service past HAProxy."""
    stack = disturbed_stack
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port
    ) as running:
        yield running


@contextmanager
def switch_under_way(stack: EmbeddedStack) -> Iterator[None]:
    """Let every session see `ANY 1` while the server's COMMITs do not wait for anybody yet.

    COMMIT waits once the checkpointer has told all processes of the new setting.
    """
    with stopped(stack.primary, "checkpointer"):
        stack.set_synchronous(on=True)
        yield


def believe_the_setting(stack: EmbeddedStack, database: str) -> None:
    """Decide as if the server had read its configuration long ago."""
    stack.primary.sql(BELIEVING, database)


@pytest.mark.parametrize("window", [True, False], ids=["asked", "the setting is believed"])
async def test_a_commit_that_did_not_wait_is_said(
    disturbed_stack: EmbeddedStack,
    database: str,
    service: Service,
    window: bool,
) -> None:
    """While the switch to `ANY 1` is under way a write is lost with its primary: it says so.

    Negative control: who believes the setting does not.
    """
    stack = disturbed_stack
    if not window:
        believe_the_setting(stack, database)
    stack.set_synchronous(on=False)
    with switch_under_way(stack), stopped(stack.primary, "walsender"):
        response = await service.create("gone")
        assert response.status_code == 201, response.text
        await asyncio.to_thread(stack.failover)
    async with running_service(
        database, stack.primary.serving_port, stack.primary.serving_port
    ) as after:
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
        FaultProxy(stack.primary.serving_port) as proxy,
        running_service(database, proxy.port, stack.standby.serving_port, **PATIENT) as service,
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


async def test_alone_after_commit(disturbed_stack: EmbeddedStack, service: Service) -> None:
    """COMMIT waits for a standby that is lost, until the cluster goes on without one.

    The session has not read yet that waiting is off, and had reason to believe that it is on.
    """
    stack = disturbed_stack
    await let_all_believe(service)
    stack.standby.kill()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    request = asyncio.create_task(service.create("after"))
    await eventually("COMMIT to wait", lambda: stack.primary.sql(waiting) == "1")
    await asyncio.to_thread(stack.set_synchronous, on=False)
    response = await request
    assert response.status_code == 201, response.text
    assert response.headers.get(MARK) == "local"


async def write_many(service: Service) -> None:
    """Write a lot at a time, all of it replicated."""
    names = [f"many-{next(_numbers)}" for _ in range(MANY)]
    answers = await asyncio.gather(*(service.create(name) for name in names))
    assert {(each.status_code, each.headers.get(MARK)) for each in answers} == {(201, None)}


async def let_all_believe(service: Service) -> None:
    """Write until every session has seen that commits wait."""

    async def all_believe() -> bool:
        await write_many(service)
        return "" not in await believed(service)

    await eventually("every session to see another one wait", all_believe)


async def believed(service: Service) -> set[str]:
    """Return which configurations the sessions that write believe; empty: one believes none."""
    pool = service.app.state.database.pools[0]
    loans = [pool.lend(Deadline.after(5)) for _ in range(pool.size)]
    links = [await loan.__aenter__() for loan in loans]
    try:
        return {await link.fetchval(BELIEVED) or "" for link in links}
    finally:
        for loan in loans:
            await loan.__aexit__(None, None, None)


async def test_what_was_seen_ends_with_the_configuration(
    disturbed_stack: EmbeddedStack, service: Service
) -> None:
    """Who has seen commits wait believes that they do, and asks again after a reload."""
    stack = disturbed_stack
    await let_all_believe(service)
    stack.set_synchronous(on=False)
    with switch_under_way(stack), stopped(stack.primary, "walsender"):
        assert "" not in await believed(service)
        response = await service.create("after-a-reload")
    assert (response.status_code, response.headers.get(MARK)) == (201, "local")


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
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port
    ) as service:
        assert (await service.create("local")).headers.get(MARK) == "local"


async def test_a_database_without_the_question_refuses_before_anything_is_done(
    stack: EmbeddedStack, database: str
) -> None:
    """A write is not applied, and then reported as failed, for want of what is asked after it."""
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port
    ) as service:
        stack.primary.sql("DROP FUNCTION commit_is_replicated", database=database)
        users = stack.primary.sql("SELECT count(*) FROM users", database=database)
        response = await service.create("incomplete")
        assert response.status_code == 500
        with pytest.raises(DatabaseFailure, match=r"commit_is_replicated.* does not exist"):
            async with service.app.state.database.write() as connection:
                await connection.execute("DELETE FROM users")
        assert stack.primary.sql("SELECT count(*) FROM users", database=database) == users


@pytest.mark.parametrize("right", [True, False])
async def test_an_owner_that_cannot_see_changes_asks_a_standby(
    stack: EmbeddedStack, database: str, right: bool
) -> None:
    """Without a right to look at the file's age no setting is believed, however old."""
    if not right:
        stack.primary.sql(STAT_FILE.replace("GRANT", "REVOKE").replace(" TO ", " FROM "), database)
    stack.primary.sql(
        f"CREATE TABLE asked (at timestamptz); GRANT ALL ON asked TO {OWNER}", database
    )
    stack.primary.sql(COUNT_QUESTIONS, database)
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port
    ) as service:
        await (let_all_believe(service) if right else write_many(service))
        stack.primary.sql("TRUNCATE asked", database)
        await write_many(service)
    asked = int(stack.primary.sql("SELECT count(*) FROM asked", database))
    assert asked == (0 if right else MANY)


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
