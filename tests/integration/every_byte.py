"""Requests whose connection to the database ends after a given byte, and what must hold then."""

from __future__ import annotations

import itertools
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from tests.integration.fault_proxy import FaultProxy
from tests.integration.faults import Ending, Way
from tests.integration.service_client import running_service
from tests.integration.support import all_idle, eventually, eventually_whole
from tests.integration.twins import IMPATIENT, KEY, TOKEN, new_user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from random import Random

    import httpx

    from ops.embedded import EmbeddedStack
    from service.database import Database, Role
    from tests.integration.service_client import Service

HEAD = 5  # bytes of a message's head: its type and its length
LENGTH = 4  # of the length, which counts itself
SSL_REQUEST = (80877103).to_bytes(4)
NOWHERE = 10**9  # no exchange has as many bytes
# The session is the request's alone: it does not end by its age, and the purger stays away.
UNHURRIED: dict[str, object] = {
    **IMPATIENT,
    "db_connection_max_age": 3600,
    "idempotency_purge_interval": 3600,
    "db_connect_timeout": 10,
    "db_acquire_timeout": 10,
    "db_statement_timeout": 10,
    "request_deadline": 30,
}
# Silence is noticed by a bound of the service's own alone: where it is short, a busy machine passes
# it, too, and another attempt is needed.
HURRIED: dict[str, object] = {
    **UNHURRIED,
    "db_connect_timeout": 0.4,
    "db_statement_timeout": 0.4,
}


@dataclass(frozen=True)
class Case:
    """A cut, on a session that was used before (`warm`), or from the first byte of its login."""

    warm: bool
    way: Way
    count: int
    ending: Ending


class Lane:
    """An instance behind a fault proxy of its own; one request at a time."""

    def __init__(
        self, role: Role, proxy: FaultProxy, service: Service, onlooker: asyncpg.Connection
    ) -> None:
        self.role = role
        self.proxy = proxy
        self.service = service
        self.onlooker = onlooker
        self.name = service.app.state.settings.app_name
        self._database: Database = service.app.state.database
        self._pool = next(pool for pool in self._database.pools if pool.role is role)
        self._numbers = itertools.count()

    # ------------------------------------------------------------ the request that meets the cut
    async def request(self) -> str:
        """Write, or read with a token; return in how many attempts. One row, and no error."""
        response = await (self._write() if self.role == "write" else self._read())
        return response.headers["X-Attempts"]

    async def _write(self) -> httpx.Response:
        name = f"{self.name}-{next(self._numbers):06}"  # always as long: so is the exchange
        response = await self.service.client.post(
            "/api/users", json=new_user(name), headers={KEY: name}
        )
        assert response.status_code == 201, response.text
        query = "SELECT id FROM users WHERE name = $1"
        found = [row["id"] for row in await self.onlooker.fetch(query, name)]
        assert found == [response.json()["id"]]
        return response

    async def _read(self) -> httpx.Response:
        response = await self.service.client.get(self.path, headers={TOKEN: self.token})
        assert response.status_code == 200, response.text
        assert response.json()["name"] == self.name
        return response

    async def introduce(self) -> None:
        """Write the user that is read."""
        response = await self.service.create(self.name)
        assert response.status_code == 201, response.text
        self.path, self.token = response.headers["Location"], response.headers[TOKEN]

    # ------------------------------------------------------------ one case
    async def begin(self, *, warm: bool) -> None:
        """Have one idle session, or none."""
        await eventually("the endpoint to be found again", self._is_found)
        if warm and self._pool.size == 1:
            return
        await self.proxy.cut()
        await self._noticed()
        if warm:
            await self.request()

    async def record(self, *, warm: bool) -> dict[Way, bytes]:
        """Return what goes over the wire when nothing is cut."""
        await self.begin(warm=warm)
        cuts = {way: self.proxy.end_after(NOWHERE, way) for way in Way}
        await self.request()
        await self.proxy.forward()
        return {way: bytes(cut.seen) for way, cut in cuts.items()}

    async def run(self, case: Case) -> bool:
        """Send a request that is cut, and one more; say whether it was cut."""
        await self.begin(warm=case.warm)
        cut = self.proxy.end_after(case.count, case.way, case.ending)
        attempts = await self.request()
        silent = case.ending is Ending.SILENCE
        assert cut.struck or attempts == "1" or silent
        await self.proxy.forward()
        await self._assert_whole()
        if cut.struck and attempts == "1" and not silent:  # when the answer was there, or almost
            await self._noticed()
        assert await self.request() == "1" or silent
        await self._assert_whole()
        return cut.struck

    async def _noticed(self) -> None:
        await eventually("the pool to notice", lambda: self._pool.size == 0)

    async def _is_found(self) -> bool:
        """Whether nothing holds the next attempt to connect up; reads do without it meanwhile."""
        if self._pool.endpoint.paced:
            await self.request()
        return not self._pool.endpoint.paced

    async def _assert_whole(self) -> None:
        """Nothing is waited for or held, here or at the server."""
        assert all_idle([self._pool])  # at once: nobody else uses it
        assert all(task.alive for task in self._database.tasks)
        await eventually_whole([self._pool], self.onlooker, self.name)


@asynccontextmanager
async def lane(
    stack: EmbeddedStack, database: str, role: Role, name: str, **settings: object
) -> AsyncIterator[Lane]:
    """Run an instance whose `role` goes through a fault proxy."""
    node = stack.primary if role == "write" else stack.standby
    async with FaultProxy(node.serving_port) as proxy:
        ports = {
            "write": stack.primary.serving_port,
            "read": stack.standby.serving_port,
            role: proxy.port,
        }
        onlooker = await asyncpg.connect(
            host="127.0.0.1", port=node.port, user="postgres", database=database, timeout=5
        )
        try:
            async with running_service(
                database, ports["write"], ports["read"], app_name=name, **settings
            ) as service:
                running = Lane(role, proxy, service, onlooker)
                await running.introduce()
                yield running
        finally:
            await onlooker.close(timeout=5)


# ---------------------------------------------------------------- where to cut
def every_byte(warm: bool, wire: dict[Way, bytes]) -> Iterator[Case]:
    """Yield a case for each byte and each ending."""
    for way, data in wire.items():
        for count, ending in itertools.product(range(len(data) + 1), Ending):
            yield Case(warm, way, count, ending)


def sample(
    warm: bool, wire: dict[Way, bytes], rng: Random, *, others: int, odd: bool
) -> Iterator[Case]:
    """Yield cases around every end of a message, and a few `others`; endings by chance.

    At odd bytes or at even ones: whichever it is, each end has one beside it.
    """
    for way, data in wire.items():
        ends = boundaries(data, login=not warm)
        counts = {end + offset for end in ends for offset in (-1, 0, 1)}
        counts.update(rng.sample(range(len(data)), others))
        for count in sorted(counts & set(range(odd, len(data) + 1, 2))):
            yield Case(warm, way, count, rng.choice(list(Ending)))


def boundaries(data: bytes, *, login: bool) -> list[int]:
    """Return where PostgreSQL's messages end in what went one way; 0 is where the first begins.

    `login`: from the first byte of a connection. A client's first messages have no type, and the
    answer to its SSLRequest is a single byte.
    """
    ends = [0]
    if login and data[:1] == b"\0":
        ends.append(_length(data, 0))
        if data[LENGTH : 2 * LENGTH] == SSL_REQUEST:
            ends.append(ends[-1] + _length(data, ends[-1]))
    elif login:
        ends.append(1)
    while ends[-1] + HEAD <= len(data):
        ends.append(ends[-1] + 1 + _length(data, ends[-1] + 1))
    assert ends[-1] == len(data), "these are not whole messages"
    return ends


def _length(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + LENGTH])
