"""Which sessions a pool lends again, and how it closes."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from service.database import Database
from service.database.deadline import Deadline
from service.database.endpoint import HELD_BACK
from service.database.observer import Observer, Role
from service.errors import (
    CommitInDoubt,
    ConnectionLost,
    DatabaseError,
    DatabaseFailure,
    EndpointUnreachable,
    NotWritable,
    PoolExhausted,
    Unavailable,
)
from tests.integration.bare_database import warm_database
from tests.integration.fault_proxy import Fault
from tests.integration.support import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from ops.embedded import EmbeddedStack
    from service.database.pools import Pool
    from tests.integration.fault_proxy import FaultProxy, Trap

SESSIONS = 2
PATIENT = 10.0  # seconds for what takes milliseconds
SHORT = 0.3  # seconds for what is meant to run out of time
PID = "SELECT pg_backend_pid()"


class Failures(Observer):
    """Keeps the failures that are told of the write pool."""

    def __init__(self) -> None:
        self.told: list[DatabaseError] = []

    @property
    def kinds(self) -> list[str]:
        """What they are called in metrics."""
        return [each.kind for each in self.told]

    def failure(self, role: Role, error: DatabaseError) -> None:
        """Keep it."""
        assert role is Role.WRITE
        self.told.append(error)


@pytest.fixture
async def heart(stack: EmbeddedStack, database: str, proxy: FaultProxy) -> AsyncIterator[Database]:
    """Open a database with SESSIONS idle sessions to write with, through the fault proxy."""
    async with warm_database(stack, database, proxy.port, SESSIONS) as running:
        yield running


@pytest.fixture
def pool(heart: Database) -> Pool:
    """The pool of those sessions."""
    return heart.pools[0]


@asynccontextmanager
async def lent(pool: Pool) -> AsyncIterator[int]:
    """Hold a session, and tell its backend."""
    async with pool.lend(Deadline.after(PATIENT)) as link:
        yield int(await link.fetchval(PID))


async def backend(pool: Pool) -> int:
    """Tell the backend of the session that is lent now; it is idle again afterwards."""
    async with lent(pool) as pid:
        return pid


async def all_backends(pool: Pool) -> set[int]:
    """Tell the backends of all SESSIONS sessions; all are idle again afterwards."""
    async with lent(pool) as first, lent(pool) as second:
        return {first, second}


async def lose_by_deadline(pool: Pool, proxy: FaultProxy) -> ConnectionLost:
    """Lend a session to somebody whose time runs out in the middle of a statement."""
    trap = proxy.trap(b"held", Fault.HOLD)
    with pytest.raises(ConnectionLost) as lost:
        async with pool.lend(Deadline.after(SHORT)) as link:
            await link.fetchval("SELECT 'held'")
    assert trap.count == 1
    return lost.value


# ---------------------------------------------------------------- which are lent again
async def test_a_session_is_lent_again(pool: Pool) -> None:
    """One that came back in order serves the next."""
    before = await all_backends(pool)
    assert await backend(pool) in before
    assert await all_backends(pool) == before


async def test_a_deadline_that_passed_costs_its_own_session_only(
    pool: Pool, proxy: FaultProxy
) -> None:
    """It says nothing of the others: an overloaded service is late as well."""
    before = await all_backends(pool)
    assert (await lose_by_deadline(pool, proxy)).kind == "deadline"
    assert await backend(pool) in before


async def test_a_lost_session_costs_all_of_its_age(pool: Pool, admin: asyncpg.Connection) -> None:
    """Where one was lost the others probably lead to the same lost node."""
    before = await all_backends(pool)

    async def lose() -> None:
        async with pool.lend(Deadline.after(PATIENT)) as link:
            await admin.execute("SELECT pg_terminate_backend($1)", await link.fetchval(PID))
            await link.fetchval(PID)

    with pytest.raises(ConnectionLost):
        await lose()
    assert not await all_backends(pool) & before


async def test_a_commit_in_doubt_costs_all_of_its_age(
    heart: Database, pool: Pool, proxy: FaultProxy
) -> None:
    """Its session was lost, like any other."""
    before = await all_backends(pool)

    async def commit() -> None:
        async with heart.write() as connection:
            await connection.fetchval("SELECT 1")

    proxy.trap(b"COMMIT", Fault.LOSE_ANSWER)
    with pytest.raises(CommitInDoubt):
        await commit()
    assert not await all_backends(pool) & before


async def test_what_the_server_refuses_costs_no_session(pool: Pool) -> None:
    """It answered: the session is in order, and the others are."""
    before = await all_backends(pool)
    with pytest.raises(DatabaseFailure):
        async with pool.lend(Deadline.after(PATIENT)) as link:
            await link.fetchval("SELECT 1 / 0")
    assert await all_backends(pool) == before
    assert not pool.endpoint.paced


async def test_a_session_that_has_just_ended_is_not_lent(pool: Pool) -> None:
    """Not even in the turn of the event loop in which the pool has not heard of it yet."""
    first = await backend(pool)
    pool._idle[-1].terminate()
    assert pool.idle == SESSIONS
    assert await backend(pool) != first


async def test_a_read_only_node_costs_all_of_its_age(pool: Pool) -> None:
    """The address leads elsewhere, or will: new sessions are tried, at no pace."""
    before = await all_backends(pool)

    async def write() -> None:
        async with pool.lend(Deadline.after(PATIENT)) as link:
            await link.fetchval("SET default_transaction_read_only = on")
            await link.fetchval("INSERT INTO users (email, name) VALUES ('a@b.c', 'a')")

    with pytest.raises(NotWritable):
        await write()
    assert pool.endpoint.state.reason == "read-only"
    assert not pool.endpoint.paced
    assert not await all_backends(pool) & before


async def test_the_loss_of_an_older_session_costs_no_newer_one(
    pool: Pool, admin: asyncpg.Connection
) -> None:
    """Ten losses at a time must not cost what the first retry has opened."""
    newer = 0

    async def lose_older() -> None:
        nonlocal newer
        async with pool.lend(Deadline.after(PATIENT)) as link:
            older = await link.fetchval(PID)
            pool.expire()
            newer = await backend(pool)
            await admin.execute("SELECT pg_terminate_backend($1)", older)
            await link.fetchval(PID)

    with pytest.raises(ConnectionLost):
        await lose_older()
    assert await backend(pool) == newer


async def test_an_expired_session_ends_when_it_comes_back(
    pool: Pool, admin: asyncpg.Connection
) -> None:
    """Whoever holds it goes on undisturbed; nobody after him gets it."""
    async with pool.lend(Deadline.after(PATIENT)) as link:
        older = await link.fetchval(PID)
        pool.expire()
        assert await link.fetchval(PID) == older
    alive = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1"

    async def gone() -> bool:
        return bool(await admin.fetchval(alive, older) == 0)

    await eventually("the expired session to end", gone)
    assert await backend(pool) != older


async def test_a_session_past_its_age_is_replaced(
    stack: EmbeddedStack, database: str, proxy: FaultProxy
) -> None:
    """So that a pool follows its endpoint also where nothing was lost."""
    async with warm_database(stack, database, proxy.port, 1, connection_max_age=1.0) as heart:
        pool, _ = heart.pools
        first = await backend(pool)

        async def replaced() -> bool:
            return await backend(pool) != first

        await eventually("another session to be lent", replaced)


# ---------------------------------------------------------------- waiting, and opening
@pytest.mark.parametrize(("patience", "deadline"), [(SHORT, PATIENT), (PATIENT, SHORT)])
async def test_a_wait_ends_at_the_first_of_its_bounds(
    stack: EmbeddedStack, database: str, proxy: FaultProxy, patience: float, deadline: float
) -> None:
    """The pool's own bound, or the deadline of the unit of work."""
    async with warm_database(stack, database, proxy.port, 1, acquire_timeout=patience) as heart:
        pool, _ = heart.pools
        async with lent(pool):
            started = time.monotonic()
            with pytest.raises(PoolExhausted):
                async with pool.lend(Deadline.after(deadline)):
                    pytest.fail("there was no session to lend")
            assert SHORT / 2 < time.monotonic() - started < PATIENT / 2
        assert await backend(pool) > 0


async def test_an_idle_session_costs_no_bound(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is handed over as it is: most requests find one."""
    begun: list[float] = []
    begin = pool._bounds.begin
    monkeypatch.setattr(
        pool._bounds, "begin", lambda seconds, call: begun.append(seconds) or begin(seconds, call)
    )
    async with pool.lend(Deadline.after(PATIENT)):
        assert begun == []
    assert begun == []


async def test_a_wait_that_is_over_leaves_no_bound(pool: Pool) -> None:
    """It would keep the waiter for as long as it might have waited."""
    async with lent(pool), lent(pool):
        waiter = asyncio.create_task(backend(pool))
        await eventually("somebody to wait", lambda: pool.waiting == 1)
        assert len(pool._bounds) == 1
    assert await waiter > 0
    assert len(pool._bounds) == 0


async def test_whoever_is_served_waits_no_more(pool: Pool) -> None:
    """From the moment at which a session comes back: who asks next does not stand behind him."""
    async with lent(pool):
        async with lent(pool):
            waiter = asyncio.create_task(backend(pool))
            await eventually("somebody to wait", lambda: pool.waiting == 1)
        assert pool.waiting == 0
    assert await waiter > 0


async def test_whoever_is_refused_waits_no_more(
    stack: EmbeddedStack, database: str, proxy: FaultProxy
) -> None:
    """One login fails: all who waited are told in the same turn of the event loop."""
    waiting: list[int] = []

    class Waiting(Observer):
        def failure(self, role: Role, error: DatabaseError) -> None:
            assert role is Role.WRITE
            assert isinstance(error, EndpointUnreachable)
            waiting.append(pool.waiting)

    async with warm_database(stack, database, proxy.port, 1, observer=Waiting()) as heart:
        pool, _ = heart.pools
        await proxy.refuse()
        await eventually("the pool to notice", lambda: pool.size == 0)
        work = [backend(pool) for _ in range(3)]
        failed = await asyncio.gather(*work, return_exceptions=True)
        assert {type(each) for each in failed} == {EndpointUnreachable}
        assert waiting == [0, 0, 0]


async def test_no_time_left_is_no_wait(pool: Pool) -> None:
    """A deadline that has passed lends nothing, though a session is idle."""
    with pytest.raises(PoolExhausted) as refused:
        async with pool.lend(Deadline.after(-1)):
            pytest.fail("lent past the deadline")
    assert refused.value.kind == "deadline"
    assert pool.idle == SESSIONS


async def test_filling_tells_what_failed_and_counts_it(
    stack: EmbeddedStack, database: str, proxy: FaultProxy
) -> None:
    """A pool below its floor whose endpoint is away: one attempt, an error, one failure told."""
    failures = Failures()
    async with warm_database(stack, database, proxy.port, SESSIONS, observer=failures) as heart:
        pool, _ = heart.pools
        await proxy.refuse()
        await eventually("the pool to notice", lambda: pool.size == 0)
        with pytest.raises(EndpointUnreachable) as raised:
            await pool.fill()
        assert failures.told == [raised.value]
        pool.endpoint._next_try = float("inf")  # attempts keep a pace: not now
        with pytest.raises(EndpointUnreachable) as held_back:
            await pool.fill()
        assert held_back.value.kind == HELD_BACK
        assert failures.told == [raised.value]
        pool.endpoint._next_try = 0.0
        await proxy.forward()

        async def filled() -> bool:
            with suppress(EndpointUnreachable):  # not yet: attempts keep a pace
                await pool.fill()
            return pool.idle == SESSIONS

        await eventually("the pool to be full again", filled)


@asynccontextmanager
async def opening(
    stack: EmbeddedStack, database: str, proxy: FaultProxy
) -> AsyncIterator[tuple[Pool, Trap, asyncio.Task[int]]]:
    """A pool of one whose session is being opened: its login is held, and somebody waits for it."""
    async with warm_database(stack, database, proxy.port, 1) as heart:
        pool, _ = heart.pools
        pool.expire()
        login = proxy.trap(b"under-test", Fault.HOLD)
        waiter = asyncio.create_task(backend(pool))
        await asyncio.wait_for(login.sprung.wait(), PATIENT)
        yield pool, login, waiter


async def test_filling_counts_what_is_being_opened(
    stack: EmbeddedStack, database: str, proxy: FaultProxy
) -> None:
    """Somebody waits for a session that will fill the pool: no other is opened."""
    async with opening(stack, database, proxy) as (pool, login, waiter):
        accepted = proxy.accepted
        await asyncio.wait_for(pool.fill(), PATIENT)
        assert proxy.accepted == accepted
        login.release()
        assert await waiter > 0


async def test_a_session_that_expired_as_it_was_opened_is_not_lent(
    stack: EmbeddedStack, database: str, proxy: FaultProxy
) -> None:
    """It began before the loss, and may lead to the lost node: another is opened, at once."""
    async with opening(stack, database, proxy) as (pool, login, waiter):
        accepted = proxy.accepted
        pool.expire()
        login.release()
        assert await waiter > 0
        assert proxy.accepted == accepted + 1


async def test_a_login_that_fails_is_counted_once(
    stack: EmbeddedStack, database: str, proxy: FaultProxy
) -> None:
    """Whoever waits for it is told, and counts it."""
    failures = Failures()
    async with warm_database(stack, database, proxy.port, 1, observer=failures) as heart:
        pool, _ = heart.pools
        await proxy.refuse()
        await eventually("the pool to notice", lambda: pool.size == 0)
        with pytest.raises(EndpointUnreachable) as raised:
            await backend(pool)
        assert failures.told == [raised.value]


async def test_a_login_that_fails_when_nobody_waits_is_counted(
    stack: EmbeddedStack, database: str, proxy: FaultProxy
) -> None:
    """Whoever waited for it has given up before: a silent node is known by such counts alone."""
    failures = Failures()
    async with warm_database(
        stack, database, proxy.port, 1, observer=failures, acquire_timeout=SHORT
    ) as heart:
        pool, _ = heart.pools
        pool.expire()
        proxy.deafen()
        with pytest.raises(PoolExhausted):
            await backend(pool)
        assert failures.kinds == ["exhausted"]
        await eventually("the login to fail", lambda: len(failures.told) > 1)
        assert failures.kinds == ["exhausted", "timeout"]


# ---------------------------------------------------------------- closing
async def test_what_is_not_open_lends_and_opens_nothing(
    heart: Database, pool: Pool, proxy: FaultProxy
) -> None:
    """Neither before it was opened nor after it was closed; filling it is no error."""
    assert pool.size == SESSIONS
    await heart.close()
    never = Database(heart._options)
    accepted = proxy.accepted
    for each in (pool, never.pools[0]):
        with pytest.raises(Unavailable):
            await backend(each)
        await each.fill()
    assert proxy.accepted == accepted


def logins() -> int:
    """How many sessions are being opened to write with."""
    return [each.get_name() for each in asyncio.all_tasks()].count("connect-write")


async def test_closing_ends_a_login(stack: EmbeddedStack, database: str, proxy: FaultProxy) -> None:
    """Whoever waits for it is told why, the login is over when closing is, and it did not fail."""
    failures = Failures()
    async with warm_database(stack, database, proxy.port, 1, observer=failures) as heart:
        pool, _ = heart.pools
        pool.expire()
        login = proxy.trap(b"under-test", Fault.HOLD)
        waiter = asyncio.create_task(backend(pool))
        await asyncio.wait_for(login.sprung.wait(), PATIENT)
        assert logins() == 1
        async with asyncio.timeout(PATIENT / 2):
            await pool.close(PATIENT)
        assert logins() == 0
        with pytest.raises(Unavailable):
            await waiter
        assert failures.kinds == ["stopping"]


async def test_closing_waits_no_longer_than_its_bound(heart: Database, pool: Pool) -> None:
    """A loan that does not come back is closed under whoever holds it."""

    async def hold(closing: asyncio.Event) -> None:
        async with pool.lend(Deadline.after(PATIENT)) as link:
            closing.set()
            await closed.wait()
            await link.fetchval(PID)

    lent, closed = asyncio.Event(), asyncio.Event()
    holder = asyncio.create_task(hold(lent))
    await asyncio.wait_for(lent.wait(), PATIENT)
    await asyncio.wait_for(heart.close(SHORT), PATIENT)
    closed.set()
    with pytest.raises(DatabaseError):
        await asyncio.wait_for(holder, PATIENT)


async def test_a_loan_that_comes_back_while_closing(
    heart: Database, pool: Pool, admin: asyncpg.Connection
) -> None:
    """Its holder finishes in peace, closing ends with it, and no session is left at the server."""
    lent, finish = asyncio.Event(), asyncio.Event()

    async def hold() -> int:
        async with pool.lend(Deadline.after(PATIENT)) as link:
            lent.set()
            await finish.wait()
            return int(await link.fetchval(PID))

    holder = asyncio.create_task(hold())
    await asyncio.wait_for(lent.wait(), PATIENT)
    started = time.monotonic()
    closing = asyncio.create_task(heart.close(PATIENT))
    done, _ = await asyncio.wait([closing], timeout=SHORT)
    assert not done
    finish.set()
    assert await holder > 0
    await closing
    assert time.monotonic() - started < PATIENT / 2
    left = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name LIKE 'under-test/%'"
    )

    async def none_left() -> bool:
        return bool(await admin.fetchval(left) == 0)

    await eventually("every session to be gone", none_left)


async def test_whoever_waits_while_closing_is_told(heart: Database, pool: Pool) -> None:
    """At once, not when its wait would have ended; and so is whoever comes later."""
    async with lent(pool), lent(pool):
        waiter = asyncio.create_task(backend(pool))
        await eventually("somebody to wait", lambda: pool.waiting == 1)
        closing = asyncio.create_task(heart.close(SHORT))
        with pytest.raises(Unavailable):
            await asyncio.wait_for(waiter, PATIENT)
        await closing
    with pytest.raises(Unavailable):
        await backend(pool)


async def test_who_waited_long_takes_no_session_along(
    stack: EmbeddedStack, database: str, proxy: FaultProxy
) -> None:
    """A wait leaves time for the work: a session whose bound fires costs the others a login."""
    async with warm_database(stack, database, proxy.port, 1) as heart:
        pool = heart.pools[0]
        async with pool.lend(Deadline.after(PATIENT)) as link:
            before = await link.fetchval(PID)

        async def work() -> None:
            async with pool.lend(Deadline.after(2.0)) as link:
                await link.fetchval("SELECT pg_sleep(0.3)")

        ends = await asyncio.gather(*(work() for _ in range(20)), return_exceptions=True)
        assert {type(end) for end in ends} == {type(None), PoolExhausted}
        async with pool.lend(Deadline.after(PATIENT)) as link:
            assert await link.fetchval(PID) == before


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.005])
async def test_no_session_is_lent_for_less_than_an_answer_takes(pool: Pool, seconds: float) -> None:
    """However many ask: sessions are there for others."""
    idle = pool.idle
    for _ in range(50):
        with pytest.raises(PoolExhausted):
            async with pool.lend(Deadline.after(seconds)):
                pass
    assert (pool.idle, pool.size) == (idle, SESSIONS)
