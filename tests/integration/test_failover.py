"""The service rides out what happens to the pair behind HAProxy: a pause, no error, no loss."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.integration.service_client import running_service
from tests.integration.support import eventually, superuser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ops.embedded import EmbeddedStack
    from tests.integration.service_client import Service

CLIENTS = 4
BEFORE = 25  # acknowledged writes before something happens, and again after it
LONGEST_PAUSE = 8.0  # seconds; about 1 on an idle machine, and below the deadline
IN_DOUBT = "urn:holdfast:problem:commit-in-doubt"


@dataclass
class History:
    """What clients were told about their writes, by the name they wrote."""

    acknowledged: list[str] = field(default_factory=list)
    in_doubt: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    longest: float = 0.0  # seconds that one request took

    async def write(self, service: Service, client: int, stop: asyncio.Event) -> None:
        """Write one name after the other, as fast as answers come."""
        number = 0
        while not stop.is_set():
            number += 1
            name = f"client-{client}-{number}"
            started = time.monotonic()
            response = await service.create(name)
            self.longest = max(self.longest, time.monotonic() - started)
            if response.status_code == 201:
                self.acknowledged.append(name)
            elif response.json()["type"] == IN_DOUBT:
                self.in_doubt.append(name)
            else:
                self.errors.append(f"{name}: {response.text}")

    async def more(self, count: int) -> None:
        """Wait for that many more acknowledged writes."""
        target = len(self.acknowledged) + count
        await eventually(f"{count} more writes", lambda: len(self.acknowledged) >= target)


@asynccontextmanager
async def writing(service: Service) -> AsyncIterator[History]:
    """Write with several clients until the block ends."""
    history, stop = History(), asyncio.Event()
    clients = [asyncio.create_task(history.write(service, n, stop)) for n in range(CLIENTS)]
    try:
        yield history
    finally:
        stop.set()
        await asyncio.gather(*clients)


async def check(history: History, stack: EmbeddedStack, database: str, *, losses: int = 1) -> None:
    """No error but an honest doubt; acknowledged is there once, in doubt at most once."""
    assert history.errors == []
    # Only a COMMIT that was on its way at that moment can be in doubt: one for each client, each
    # time that something is lost.
    assert len(history.in_doubt) <= CLIENTS * losses
    assert history.longest < LONGEST_PAUSE
    async with superuser(stack, database) as admin:
        rows = await admin.fetch("SELECT name FROM users WHERE name LIKE 'client-%'")
    names = [row["name"] for row in rows]
    assert len(names) == len(set(names))
    assert set(history.acknowledged) <= set(names)
    assert set(names) <= set(history.acknowledged) | set(history.in_doubt)


@pytest.fixture
async def service(disturbed_stack: EmbeddedStack, database: str) -> AsyncIterator[Service]:
    """Run the service behind HAProxy, as in production."""
    stack = disturbed_stack
    async with running_service(database, stack.write_port, stack.read_port) as running:
        yield running


def kill_primary(stack: EmbeddedStack) -> None:
    """Lose the primary's machine; its node comes back as a standby."""
    stack.failover()
    stack.rejoin()


def kill_twice(stack: EmbeddedStack) -> None:
    """Lose the primary, and later the new one."""
    for _ in range(2):
        kill_primary(stack)
        stack.wait_write_route()


def hold_back(stack: EmbeddedStack) -> None:
    """Lose the primary; the promoted node stays read-only until HAProxy has seen it."""
    stack.failover(held=True)
    stack.haproxy.wait_up("pg_primary", set())
    stack.primary.release()


def hand_over(stack: EmbeddedStack) -> None:
    """Swap the roles in order."""
    stack.switchover()


def freeze_primary(stack: EmbeddedStack) -> None:
    """Lose the primary without a word: nothing is closed, nothing answers."""
    stack.primary.pause()
    stack.haproxy.wait_up("pg_primary", set())
    stack.primary.kill()  # fenced, before the standby takes over
    stack.promote_standby()


def restart_haproxy(stack: EmbeddedStack) -> None:
    """Lose the proxy with all its connections."""
    stack.haproxy.process.kill()
    stack.haproxy.start()


def lose_standby(stack: EmbeddedStack) -> None:
    """Lose the standby; commits wait until it is said that there is none."""
    stack.standby.kill()
    stack.set_synchronous(on=False)
    stack.rejoin()


@pytest.mark.parametrize(
    "disturb",
    [
        kill_primary,
        kill_twice,
        hold_back,
        hand_over,
        freeze_primary,
        restart_haproxy,
        lose_standby,
    ],
)
async def test_writes_ride_it_out(
    disturbed_stack: EmbeddedStack,
    database: str,
    service: Service,
    disturb: Callable[[EmbeddedStack], None],
) -> None:
    """Clients that write all the time see a pause; what was acknowledged is there, once."""
    async with writing(service) as history:
        await history.more(BEFORE)
        await asyncio.to_thread(disturb, disturbed_stack)
        await history.more(BEFORE)
    losses = 2 if disturb is kill_twice else 1
    await check(history, disturbed_stack, database, losses=losses)


async def test_without_synchronous_replication_writes_are_lost(
    disturbed_stack: EmbeddedStack, database: str, service: Service
) -> None:
    """Negative control: the check above notices a lost write."""
    stack = disturbed_stack
    await asyncio.to_thread(stack.set_synchronous, on=False)
    stack.standby.sql("ALTER SYSTEM SET primary_conninfo = ''")  # it gets nothing from here on
    stack.standby.reload("primary_conninfo", "")
    receivers = "SELECT count(*) FROM pg_stat_wal_receiver"
    await eventually("replication to end", lambda: stack.standby.sql(receivers) == "0")
    async with writing(service) as history:
        await history.more(BEFORE)
        await asyncio.to_thread(stack.failover)
        await history.more(BEFORE)
    with pytest.raises(AssertionError, match="client-"):
        await check(history, stack, database)


async def test_reads_ride_out_the_loss_of_the_standby(
    disturbed_stack: EmbeddedStack, service: Service
) -> None:
    """Reads go on, on the same route, with what is left."""
    responses = []
    for number in range(60):
        if number == 20:
            disturbed_stack.standby.kill()
        responses.append(await service.get("/api/users"))
        await asyncio.sleep(0.02)
    assert {response.status_code for response in responses} == {200}
    assert responses[-1].headers["X-Route"] == "read"
