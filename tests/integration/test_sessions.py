"""How long a session lives: at the server when its client is gone, and in a pool; how it ends."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING

import pytest

from ops.embedded.pair import APP
from service.database import DatabaseOptions, EndpointOptions, Role
from service.database.deadline import Deadline
from service.database.session import Session, connect
from service.errors import ConnectionLost
from tests.integration.bare_database import warm_database
from tests.integration.support import eventually, superuser

if TYPE_CHECKING:
    from ops.embedded import EmbeddedStack
    from tests.integration.fault_proxy import FaultProxy

FOR_EVER = 120.0  # seconds; nothing here waits so long
AGE = 100.0  # seconds
SESSIONS = 16  # enough for their ages to differ


async def test_a_statement_ends_with_its_client(
    stack: EmbeddedStack, database: str, proxy: FaultProxy
) -> None:
    """Whoever vanished in the middle of a statement keeps no locks until that is done."""
    async with (
        warm_database(stack, database, proxy.port, 1, statement_timeout=FOR_EVER) as heart,
        superuser(stack, database) as onlooker,
        superuser(stack, database) as admin,
    ):

        async def read_users() -> None:
            async with heart.pools[0].lend(Deadline.after(FOR_EVER)) as link:
                await link.fetchval("SELECT count(*) FROM users")

        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'relation'"
            " AND datname = current_database() AND application_name LIKE 'under-test/%'"
        )

        async def waits() -> bool:
            return bool(await onlooker.fetchval(waiting) == 1)

        async def gone() -> bool:
            return not await waits()

        async with admin.transaction():
            await admin.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            reading = asyncio.create_task(read_users())
            await eventually("the statement to wait for the lock", waits)
            await proxy.cut()
            with pytest.raises(ConnectionLost):
                await reading
            await eventually("the server to end what nobody waits for", gone)


async def test_sessions_that_began_together_do_not_end_together(
    stack: EmbeddedStack, database: str
) -> None:
    """None outlives the maximum age; each lives for most of it; and they are spread."""
    endpoint = EndpointOptions(host="127.0.0.1", port=stack.primary.serving_port)
    options = DatabaseOptions(
        write=endpoint, read=endpoint, name=database, user=APP, connection_max_age=AGE
    )
    ages = []
    for _ in range(SESSIONS):
        started = time.monotonic()
        session = await connect(endpoint, options, Role.WRITE, lambda _: None)
        took = time.monotonic() - started
        ages.append(session.expires_at - started - took)
        await session.close(timeout=5)
        assert 0.75 * AGE - took <= ages[-1] <= AGE
    assert max(ages) - min(ages) > 0.05 * AGE


async def test_an_end_that_fails_is_one_all_the_same(
    stack: EmbeddedStack, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket is closed; and freed at once, it is not taken for one that was left open."""
    endpoint = EndpointOptions(host="127.0.0.1", port=stack.primary.serving_port)
    options = DatabaseOptions(write=endpoint, read=endpoint, name=database, user=APP)
    ended = asyncio.Event()
    session = await connect(endpoint, options, Role.WRITE, lambda _: ended.set())
    with monkeypatch.context() as confused:
        confused.setattr(Session, "terminate", lambda _: 1 / 0)
        session.drop()
    del session
    gc.collect()  # what it warns of then is a failure of this test
    async with asyncio.timeout(5):
        await ended.wait()


async def left_without_a_word(stack: EmbeddedStack, database: str) -> int:
    """Open SESSIONS sessions, close each at once, and count those that the server saw abandoned."""
    endpoint = EndpointOptions(host="127.0.0.1", port=stack.primary.serving_port)
    options = DatabaseOptions(write=endpoint, read=endpoint, name=database, user=APP)
    async with superuser(stack, database) as admin:
        for _ in range(SESSIONS):
            session = await connect(endpoint, options, Role.WRITE, lambda _: None)
            await session.fetchval("SELECT 1")
            session.drop()
        # A backend reports its end before it leaves the list of those that there are.
        left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'holdfast/write'"

        async def none_left() -> bool:
            return bool(await admin.fetchval(left) == 0)

        await eventually("every session to be gone", none_left)
        abandoned = "SELECT sessions_abandoned FROM pg_stat_database WHERE datname = $1"
        return int(await admin.fetchval(abandoned, database))


async def test_the_server_is_told_of_the_end(stack: EmbeddedStack, database: str) -> None:
    """A session that is closed at once ends like one that is closed in order."""
    assert await left_without_a_word(stack, database) == 0


@pytest.mark.uvloop
async def test_the_server_is_told_of_the_end_on_uvloop(stack: EmbeddedStack, database: str) -> None:
    """The same on the service's event loop, which sends a little later."""
    assert await left_without_a_word(stack, database) == 0
