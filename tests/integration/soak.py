"""A soak: two instances, and everything around them that fails at random.

Their clients are in soak_client.py.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from tests.integration.fault_proxy import FaultProxy
from tests.integration.faults import Ending, Fault, Way
from tests.integration.scenarios import fail_over, hand_over
from tests.integration.service_client import running_service
from tests.integration.twins import Twins

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from random import Random

    from ops.embedded import EmbeddedStack
    from tests.integration.service_client import Service

QUIET = (0.1, 1.0)  # seconds between two disturbances, at least and at most
TROUBLE = (0.05, 0.8)  # seconds that one lasts
EXCHANGE = 2000  # bytes: more than a login and a request have
ROLES_EVERY = 12.0  # seconds
RESTART_EVERY = 9.0
GLANCE = 0.005
# Few sessions for many clients, so that they wait for each other; background work all the time.
SETTINGS: dict[str, object] = {
    "db_write_pool_min": 1,
    "db_write_pool_max": 2,
    "db_read_pool_min": 1,
    "db_read_pool_max": 2,
    "db_probe_interval": 0.3,
    "idempotency_purge_interval": 0.5,
    "retry_backoff_first": 0.005,
}


class Instance:
    """An instance of the service that can be ended and begun again."""

    def __init__(self, name: str, database: str, write_port: int, read_port: int) -> None:
        self.service: Service
        self.up = False
        self.name = name
        self._where = (database, write_port, read_port)
        self._running = AsyncExitStack()

    async def begin(self) -> None:
        """Start it."""
        running = running_service(*self._where, app_name=self.name, **SETTINGS)
        self.service = await self._running.enter_async_context(running)
        self.up = True

    async def end(self) -> None:
        """End it, whatever requests it has; nothing stays open."""
        self.up = False
        await asyncio.sleep(0)  # who has chosen it begins to ask it now
        await self._running.aclose()
        for pool in self.service.app.state.database.pools:
            assert (pool.size, pool.idle, pool.waiting) == (0, 0, 0)
        assert not any(task.alive for task in self.service.app.state.database.tasks)


class Soak:
    """Two instances behind two fault proxies, and what was done to them."""

    def __init__(self, pair: Twins, instances: list[Instance], rng: Random) -> None:
        self.pair = pair
        self.instances = instances
        self.rng = rng
        self.seen: Counter[str] = Counter()
        self._begun: set[asyncio.Task[None]] = set()  # what must not be left half-done

    def service(self) -> Service:
        """Return an instance that a client may ask."""
        return self.rng.choice([each for each in self.instances if each.up]).service

    # ------------------------------------------------------------ what happens to the instances
    async def disturb(self) -> None:
        """Disturb the ways to the database, again and again."""
        proxies = (self.pair.write, self.pair.write, self.pair.read)
        for kind in self._shuffled("cut", "refuse", "reset", "deafen", "trap", "byte", "byte"):
            await asyncio.sleep(self.rng.uniform(*QUIET))
            proxy = self.rng.choice(proxies)
            if kind == "trap":
                proxy.trap(b"COMMIT", self.rng.choice(list(Fault)[:4]), self.rng.randint(1, 3))
            elif kind == "byte":
                way, ending = self.rng.choice(list(Way)), self.rng.choice(list(Ending))
                proxy.end_after(self.rng.randrange(EXCHANGE), way, ending)
            elif kind == "deafen":
                proxy.deafen()
            else:
                await getattr(proxy, kind)()
            await asyncio.sleep(self.rng.uniform(*TROUBLE))
            await proxy.forward()
            self.seen[kind] += 1

    async def swap_roles(self) -> None:
        """Swap the nodes' roles, in order or by loss."""
        kinds: dict[str, Callable[[EmbeddedStack], None]] = {
            "switchover": hand_over,
            "failover": fail_over,
        }
        for kind in self._shuffled(*kinds):
            await asyncio.sleep(self.rng.uniform(0.5, 1) * ROLES_EVERY)
            await self._to_the_end(self._swap(kinds[kind]))
            self.seen[kind] += 1

    async def _swap(self, swap: Callable[[EmbeddedStack], None]) -> None:
        await asyncio.to_thread(swap, self.pair.stack)
        await self.pair.follow_roles()

    async def restart(self) -> None:
        """End an instance and begin it again, one after the other."""
        for instance in itertools.cycle(self.instances):
            await asyncio.sleep(self.rng.uniform(0.5, 1) * RESTART_EVERY)
            await self._to_the_end(self._restart(instance))
            self.seen["restart"] += 1

    async def _restart(self, instance: Instance) -> None:
        await instance.end()
        await instance.begin()

    async def watch(self) -> None:
        """Hold the pools to their rule: at no time does anybody wait while a session is idle."""
        while True:
            await asyncio.sleep(GLANCE)
            for instance in self.instances:
                for pool in instance.service.app.state.database.pools:
                    idle = [each for each in pool._idle if pool._fit(each)]
                    assert not (idle and pool._queue.first()), f"{pool.role}: waits for nothing"

    async def recover(self) -> None:
        """End all trouble: both ways are free, and what had begun is done."""
        for proxy in (self.pair.write, self.pair.read):
            await proxy.forward()
        await asyncio.gather(*self._begun)
        await asyncio.to_thread(self.pair.stack.restore)
        await self.pair.follow_roles()

    async def _to_the_end(self, work: Coroutine[None, None, None]) -> None:
        """Do something that goes on though this task is cancelled; `recover` waits for it."""
        task = asyncio.create_task(work)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        await asyncio.shield(task)

    def _shuffled(self, *kinds: str) -> Iterator[str]:
        """Yield all kinds in some order, and again in another."""
        while True:
            yield from self.rng.sample(kinds, len(kinds))


@asynccontextmanager
async def soaked(stack: EmbeddedStack, database: str, rng: Random) -> AsyncIterator[Soak]:
    """Run two instances that can be ended."""
    async with (
        FaultProxy(stack.write_port) as write,
        FaultProxy(stack.standby.serving_port) as read,
    ):
        instances = [Instance(f"soak{n}", database, write.port, read.port) for n in (1, 2)]
        for instance in instances:
            await instance.begin()
        services = (instances[0].service, instances[1].service)
        soak = Soak(Twins(stack, database, (write, read), services), instances, rng)
        try:
            yield soak
        finally:
            for instance in instances:
                await instance.end()
