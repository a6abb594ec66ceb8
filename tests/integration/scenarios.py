"""What happens to the service, and what must hold afterwards.

For the tests that show it, and for the negative controls, which take a guarantee away and show that
the same assertion fails.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from service.database import Database, retry_on_failover
from service.database.failures import is_transient
from tests.integration.fault_proxy import FaultProxy
from tests.integration.service_client import running_service
from tests.integration.support import eventually
from tests.integration.twins import IF_MATCH, TOKEN, create, recorded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import httpx

    from ops.embedded import EmbeddedStack
    from ops.embedded.postgres import Node
    from tests.integration.service_client import Service
    from tests.integration.twins import Twins

FORGETFUL = """
    CREATE OR REPLACE FUNCTION idempotency_claim(wanted bytea, client text, request_id text)
        RETURNS void LANGUAGE plpgsql VOLATILE AS 'BEGIN END'
"""
STORES_NOTHING = """
    CREATE OR REPLACE FUNCTION idempotency_record(
        wanted bytea, used_for bytea, answer text, lifetime double precision
    ) RETURNS void LANGUAGE plpgsql VOLATILE AS 'BEGIN END'
"""
AT_ONCE = 10  # clients
PINNED = 5  # sessions of a pool whose node is demoted


# ---------------------------------------------------------------- COMMIT sent, answer lost
async def lose_every_commit(pair: Twins, count: int) -> list[httpx.Response]:
    """Create `count` users, losing the answer of the COMMIT of each, on both instances."""
    trap = pair.lose_commits(count, recorded("lost-"))
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> httpx.Response:
        key = f"lost-{number}" if number % 2 else None  # without one the service makes its own
        async with turn:
            return await create(pair.services[number // 2 % 2], f"lost-{number}", key)

    responses = await asyncio.gather(*(one(number) for number in range(count)))
    assert trap.count == count
    return responses


async def lose_conditional_commit(pair: Twins) -> httpx.Response:
    """Change version 1 of a user, losing the answer of its COMMIT."""
    created = await create(pair.first, "conditional")
    trap = pair.lose_commits(1)
    response = await pair.first.client.patch(
        created.headers["Location"],
        json={"name": "changed"},
        headers={IF_MATCH: created.headers["ETag"]},
    )
    assert trap.count == 1
    return response


async def assert_each_once(pair: Twins, responses: list[httpx.Response]) -> None:
    """Every client was told of success, and what it was told of is there, once."""
    refused = [each.text for each in responses if each.status_code != 201]
    assert refused == [], f"{len(refused)} writes were refused"
    names = await pair.names()
    assert len(names) == len(set(names)), "a write was applied twice"
    told = {(each.json()["id"], each.json()["name"]) for each in responses}
    assert told == {(row["id"], row["name"]) for row in await pair.users()}


async def forget_keys(pair: Twins) -> None:
    """Take the look-up of keys away: every attempt is taken for the first."""
    await pair.sql(FORGETFUL)


async def store_nothing(pair: Twins) -> None:
    """Let no key be stored."""
    await pair.sql(STORES_NOTHING)


# ---------------------------------------------------------------- a write without a key
class Ledger:
    """A slice that writes without a key, as `Database.write` allows."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @retry_on_failover(on=is_transient)
    async def add(self, entry: str) -> None:
        """Add an entry: nothing keeps it from being there twice."""
        async with self.database.write() as connection:
            await connection.execute("INSERT INTO ledger (entry) VALUES ($1)", entry)


async def lose_unkeyed_commit(pair: Twins) -> tuple[BaseException | None, int]:
    """Lose the answer of a COMMIT without a key; return the outcome and how often it is there."""
    await pair.sql("CREATE TABLE ledger (entry text NOT NULL)")
    await pair.sql("GRANT INSERT ON ledger TO holdfast_app")
    trap = pair.lose_commits(1)
    ledger = Ledger(pair.first.app.state.database)
    (outcome,) = await asyncio.gather(ledger.add("once"), return_exceptions=True)
    assert trap.count == 1
    return outcome, int(await pair.sql("SELECT count(*) FROM ledger"))


# ---------------------------------------------------------------- roles
def fail_over(stack: EmbeddedStack) -> None:
    """Lose the primary; it comes back as a standby."""
    stack.failover()
    stack.rejoin()


def hand_over(stack: EmbeddedStack) -> None:
    """Swap the roles in order."""
    stack.switchover()


# ---------------------------------------------------------------- a server that is busy
@contextmanager
def stopped(node: Node, kind: str) -> Iterator[None]:
    """Stop one of a server's own processes; it may be killed while it is."""
    every = node.sql("SELECT backend_type, pid FROM pg_stat_activity").splitlines()
    (pid,) = (int(each.split("|")[1]) for each in every if each.split("|")[0] == kind)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


# ---------------------------------------------------------------- a demoted primary
@asynccontextmanager
async def demoted(
    stack: EmbeddedStack, database: str, **settings: object
) -> AsyncIterator[Service]:
    """Run a service whose pool is full of sessions with a node that no longer takes writes."""
    old = stack.primary
    async with (
        FaultProxy(old.port) as proxy,
        # A keeper that sleeps: only requests may notice.
        running_service(
            database,
            proxy.port,
            stack.standby.serving_port,
            db_write_pool_min=PINNED,
            db_probe_interval=60,
            **settings,
        ) as service,
    ):
        await eventually("the pool to fill", lambda: service.pool("write")["size"] == PINNED)
        stack.promote_standby()
        old.sql("ALTER SYSTEM SET default_transaction_read_only = on")
        old.reload("default_transaction_read_only", "on")
        proxy.retarget(stack.primary.serving_port)
        yield service


async def assert_leaves_the_demoted_node(service: Service) -> None:
    """One attempt meets the demoted node, and no later one does."""
    response = await service.create("pinned")
    assert response.status_code == 201, response.text
    assert response.headers["X-Attempts"] == "2"
    assert service.metric("holdfast_database_retries_total", kind="read-only") == 1
    for number in range(PINNED):
        assert (await service.create(f"more-{number}")).headers["X-Attempts"] == "1"


# ---------------------------------------------------------------- a standby that is behind
@asynccontextmanager
async def replay_paused(stack: EmbeddedStack) -> AsyncIterator[None]:
    """Let the standby receive, and show nothing new, until the block ends."""
    standby = stack.standby
    standby.sql("SELECT pg_wal_replay_pause()")
    try:
        state = "SELECT pg_get_wal_replay_pause_state()"
        await eventually("replay to pause", lambda: standby.sql(state) == "paused")
        yield
    finally:
        standby.sql("SELECT pg_wal_replay_resume()")


async def read_what_was_written(pair: Twins, name: str) -> tuple[Any, httpx.Response]:
    """Write on one instance and read on the other with the token; return both."""
    written = await create(pair.first, name)
    assert written.status_code == 201, written.text
    read = await pair.second.client.get(
        written.headers["Location"], headers={TOKEN: written.headers[TOKEN]}
    )
    return written.json(), read


def assert_not_stale(written: Any, read: httpx.Response) -> None:  # noqa: ANN401 - JSON
    """The read shows what was written before it."""
    assert read.status_code == 200, f"stale: {read.text}"
    assert read.json() == written
