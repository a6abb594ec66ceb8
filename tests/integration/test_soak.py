"""A minute, or ten, of everything at once; afterwards all that was promised is there.

SOAK_SECONDS and SEED choose; HYPOTHESIS_PROFILE=long makes it ten minutes.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import asyncpg
import pytest
from hypothesis import settings

from tests.integration.soak import soaked
from tests.integration.soak_client import CLIENTS, Client
from tests.integration.support import eventually, left_behind, seeded, what_nobody_awaits

if TYPE_CHECKING:
    from random import Random

    from ops.embedded import EmbeddedStack
    from tests.integration.soak import Instance, Soak

LONG = settings.get_current_profile_name() == "long"
SECONDS = float(os.environ.get("SOAK_SECONDS") or (600 if LONG else 60))
REPEATED = 20  # keys of each client that are sent again at the end
EXPIRED = 2000  # keys that are there for the purger, more than one batch
HAPPENED = {
    *("cut", "refuse", "reset", "deafen", "trap", "byte"),
    *("switchover", "failover", "restart", "hang-up"),
    *("200", "201", "by read"),
}
OLD_KEYS = """
    INSERT INTO idempotency_keys (digest, fingerprint, result, expires_at)
    SELECT sha256(int8send(n)), sha256(''), '', now() - interval '1 hour'
      FROM generate_series(1, $1::bigint) AS n
"""


async def work_of(clients: list[Client], stop: asyncio.Event) -> None:
    """Run the clients; the first that finds something wrong ends all."""
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.run(stop))


async def soak_for(soak: Soak, clients: list[Client], seconds: float) -> None:
    """Let the clients work while all kinds of things happen; end with everything up."""
    stop = asyncio.Event()
    aside = (soak.disturb(), soak.swap_roles(), soak.restart(), soak.watch())
    trouble = [asyncio.create_task(each) for each in aside]
    work = asyncio.create_task(work_of(clients, stop))
    await asyncio.wait([*trouble, work], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    for task in trouble:
        task.cancel()
    ends = await asyncio.gather(*trouble, return_exceptions=True)
    await soak.recover()
    await work
    for end in ends:
        if isinstance(end, Exception):
            raise end


async def assert_each_once(soak: Soak, clients: list[Client], rng: Random) -> None:
    """Every answer stands: asked again, read again, and in the tables; and there is no more."""
    for client in clients:
        known = client.model.known
        for key in rng.sample(list(known), min(len(known), REPEATED)):
            await client.write(known[key][0], key)
        for user in client.model.users:
            await client.read(user)
    rows = await soak.pair.users()
    users = [user for client in clients for user in client.model.users.values()]
    assert {row["id"]: (row["email"], row["name"], row["version"]) for row in rows} == {
        user["id"]: (user["email"], user["name"], user["version"]) for user in users
    }
    known_keys = sum(len(client.model.known) for client in clients)

    async def no_other_key() -> bool:
        return await soak.pair.keys() == known_keys

    await eventually("the expired keys to be purged, and no other", no_other_key)


async def assert_whole(soak: Soak, instance: Instance) -> None:
    """Nobody waits, nothing is held, and every background task goes on."""
    database = instance.service.app.state.database
    for pool in database.pools:
        await eventually("no one to wait", lambda pool=pool: pool.waiting == 0)
        await eventually("all to be idle", lambda pool=pool: 0 < pool.idle == pool.size)
    worked_at = {task: task.worked_at for task in database.tasks}

    def moved_on() -> bool:
        return all(task.alive and task.worked_at > worked_at[task] for task in database.tasks)

    await eventually("every background task to work again", moved_on)
    assert instance.service.metric("holdfast_database_background_failures_total") == 0
    assert database.admission.held == 0
    for node in soak.pair.stack.nodes:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=node.port, user="postgres", database=soak.pair.database
        )
        try:

            async def nothing_left(connection: asyncpg.Connection = connection) -> bool:
                return await left_behind(connection, instance.name) == 0

            await eventually("the server to hold nothing", nothing_left)
        finally:
            await connection.close()


@pytest.mark.timeout(3 * SECONDS + 240)
async def test_soak(disturbed_stack: EmbeddedStack, database: str) -> None:
    """Whatever happens at once: each write once, no stale read, no 500, and all is whole after."""
    rng = seeded("soak")
    unheard = what_nobody_awaits()
    async with soaked(disturbed_stack, database, rng) as soak:
        await soak.pair.sql("TRUNCATE users, idempotency_keys")
        await soak.pair.sql(OLD_KEYS, EXPIRED)
        clients = [Client(number, soak, rng) for number in range(CLIENTS)]
        try:
            await soak_for(soak, clients, SECONDS)
        finally:
            print(f"seen: {dict(sorted(soak.seen.items()))}")
        await assert_each_once(soak, clients, rng)
        for instance in soak.instances:
            await assert_whole(soak, instance)
    assert unheard == []
    assert SECONDS < 60 or HAPPENED - set(soak.seen) == set()
