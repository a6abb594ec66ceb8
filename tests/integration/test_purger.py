"""The purger: what has expired goes, in small batches, and nothing that lives notices."""

from __future__ import annotations

import asyncio
import struct
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from service.database import purger
from tests.integration.fault_proxy import Fault
from tests.integration.scenarios import stopped
from tests.integration.support import eventually
from tests.integration.twins import REPLAYED, Twins, assert_replay, create, twins

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from ops.embedded import EmbeddedStack
    from tests.integration.fault_proxy import Trap
    from tests.integration.service_client import Service

BATCH = 500  # keys at most: a batch takes milliseconds
EXPIRED = 1200  # keys: three batches
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
EXPIRE = "UPDATE idempotency_keys SET expires_at = now() - interval '1 second'"
PURGED_AT = "holdfast_database_keys_purged_timestamp_seconds"
LAST_TURN = "holdfast_database_background_last_turn_timestamp_seconds"
AT_ONCE = 1.0  # seconds in which a write that nothing holds up is answered, on a busy machine
# Seconds for a purge that nothing holds up; far below its own bound, after which it gives up.
UNHINDERED = 3.0

# The database itself counts the batches and the keys of each, and knows how old these were.
COUNT_BATCHES = """
    CREATE TABLE batches (id serial, keys bigint, oldest timestamptz, newest timestamptz);
    CREATE FUNCTION count_batch() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS
        'BEGIN INSERT INTO batches (keys, oldest, newest)
               SELECT count(*), min(expires_at), max(expires_at) FROM gone; RETURN NULL; END';
    CREATE TRIGGER batches AFTER DELETE ON idempotency_keys
        REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION count_batch();
"""


OLDEST_FIRST = """
    SELECT bool_and(before IS NULL OR oldest > before)
      FROM (SELECT oldest, lag(newest) OVER (ORDER BY id) AS before FROM batches) AS each
"""


def purger_of(service: Service) -> purger.Purger:
    """Return an instance's purger, which sleeps for a minute by itself."""
    (found,) = (
        task for task in service.app.state.database.tasks if isinstance(task, purger.Purger)
    )
    return found


async def with_expired(pair: Twins) -> purger.Purger:
    """Store a living key, and many that have expired; return an instance's purger."""
    assert (await create(pair.first, "living", "living")).status_code == 201
    await pair.sql(
        "INSERT INTO idempotency_keys SELECT sha256(n::text::bytea), '', '', now() - n * interval"
        " '1 second' FROM generate_series(1, $1::int) AS n",
        EXPIRED,
    )
    assert await pair.keys() == EXPIRED + 1
    return purger_of(pair.first)


def hold_batch(pair: Twins) -> Trap:
    """Hold the COMMIT of the next batch: its message follows the only one with its size."""
    return pair.write.trap(b"COMMIT", Fault.HOLD, after=struct.pack(">iq", 8, BATCH))


# ---------------------------------------------------------------- what goes
async def test_purger_removes_what_has_expired(pair: Twins) -> None:
    """All that has expired goes, in batches; what has not stays good."""
    found = await with_expired(pair)
    pair.stack.primary.sql(COUNT_BATCHES, pair.database)
    assert await found.purge() == EXPIRED
    assert 0 <= time.time() - pair.first.metric(PURGED_AT) < UNHINDERED
    batches = await pair.sql("SELECT array_agg(keys ORDER BY keys DESC) FROM batches")
    assert batches == [BATCH, BATCH, EXPIRED - 2 * BATCH]
    assert await pair.sql(OLDEST_FIRST)
    assert await pair.keys() == 1
    assert (await create(pair.second, "living", "living")).headers[REPLAYED] == "true"


async def test_one_instance_purges_at_a_time(pair: Twins) -> None:
    """While another instance purges, this one leaves it to it, and does not say that it did."""
    found = await with_expired(pair)
    batch = hold_batch(pair)
    purging = asyncio.create_task(found.purge())
    await asyncio.wait_for(batch.sprung.wait(), 5)
    await purger_of(pair.second).turn()
    assert pair.second.metric(LAST_TURN, task="purger") > 0
    assert pair.second.metric(PURGED_AT) == 0
    assert await pair.keys() == EXPIRED + 1
    batch.release()
    assert await purging == EXPIRED


async def test_keys_that_are_not_removed_are_told_of(pair: Twins) -> None:
    """While the database is away turns end all the same: the time of the last purge stands."""
    found = await with_expired(pair)
    await pair.write.refuse()
    await found.turn()
    assert pair.first.metric(LAST_TURN, task="purger") > 0
    assert pair.first.metric(PURGED_AT) == 0
    await pair.write.forward()
    await found.turn()
    assert 0 <= time.time() - pair.first.metric(PURGED_AT) < UNHINDERED


# ---------------------------------------------------------------- who is in nobody's way
async def test_purge_holds_up_no_write(pair: Twins) -> None:
    """Writes, keyed and replayed, go on in the middle of a batch that takes its time."""
    found = await with_expired(pair)
    batch = hold_batch(pair)
    purging = asyncio.create_task(found.purge())
    await asyncio.wait_for(batch.sprung.wait(), 5)
    started = time.monotonic()
    written = await create(pair.first, "meanwhile", "new")
    again = await create(pair.second, "meanwhile", "new")
    assert time.monotonic() - started < AT_ONCE
    assert written.headers["X-Attempts"] == "1"
    assert_replay(written, again)
    assert not purging.done()
    batch.release()
    assert await purging == EXPIRED
    assert await pair.keys() == 2


@asynccontextmanager
async def renewing(pair: Twins) -> AsyncIterator[asyncio.Task[httpx.Response]]:
    """Use an expired key again; give the write that renews it, whose COMMIT waits in the block."""
    first = await create(pair.first, "renewed", "k")
    assert (await pair.first.client.delete(first.headers["Location"])).status_code == 204
    await pair.sql(EXPIRE)
    with stopped(pair.stack.primary, "walsender"):
        write = asyncio.create_task(create(pair.first, "renewed", "k"))

        async def commit_waits() -> bool:
            return bool(await pair.sql(WAITING) == 1)

        await eventually("COMMIT to wait for the standby", commit_waits)
        yield write


async def test_a_purge_waits_for_no_write(disturbed_stack: EmbeddedStack, database: str) -> None:
    """A key that a write has locked is left for the next time."""
    async with twins(disturbed_stack, database) as pair:
        async with renewing(pair) as write:
            assert await asyncio.wait_for(purger_of(pair.second).purge(), UNHINDERED) == 1
            assert not write.done()
        assert (await write).status_code == 201


async def test_a_key_that_is_just_renewed_stays(
    disturbed_stack: EmbeddedStack, database: str
) -> None:
    """The purge meets a write that uses an expired key anew: its repetition is not applied."""
    async with twins(disturbed_stack, database) as pair:
        await renewed_while_purged(pair)


async def renewed_while_purged(pair: Twins) -> None:
    """Purge in the middle of a write that renews its key, and repeat that."""
    async with renewing(pair) as write:
        purging = asyncio.create_task(purger_of(pair.second).purge())
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"

        async def met() -> bool:
            return purging.done() or await pair.sql(waiting) > 0

        await eventually("the purge to be done with the key, or to wait for it", met)
    renewed = await write
    assert renewed.status_code == 201, renewed.text
    await purging
    assert_replay(renewed, await create(pair.second, "renewed", "k"))


async def test_a_purge_waits_for_no_standby(disturbed_stack: EmbeddedStack, database: str) -> None:
    """Nobody misses a key that has expired: while commits wait for a standby, purges go on."""
    async with twins(disturbed_stack, database) as pair:
        found = await with_expired(pair)
        disturbed_stack.standby.kill()
        assert await asyncio.wait_for(found.purge(), UNHINDERED) == EXPIRED
