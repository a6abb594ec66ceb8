"""Two instances of the service on one database: what one was told, the other must know.

Both write through a fault proxy and HAProxy, so they follow the roles as in production; both read
through a fault proxy from the standby itself, never from the primary while there is a standby.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.integration.fault_proxy import Fault, FaultProxy, Trap
from tests.integration.service_client import running_service
from tests.integration.support import superuser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from ops.embedded import EmbeddedStack
    from tests.integration.service_client import Service

KEY = "Idempotency-Key"
IF_MATCH = "If-Match"
REPLAYED = "Idempotency-Replayed"
TOKEN = "Consistency-Token"
PROBLEM = "urn:holdfast:problem:"

# Tests that cut connections on purpose need not wait as long as in production to try again. A
# keeper would spring traps that are meant for requests.
IMPATIENT = {
    "retry_backoff_first": 0.002,
    "retry_backoff_most": 0.01,
    "db_write_pool_min": 0,
    "db_read_pool_min": 0,
    "db_probe_interval": 600,
}


class Twins:
    """The two instances, and what can be done to the connections of both."""

    def __init__(
        self,
        stack: EmbeddedStack,
        database: str,
        proxies: tuple[FaultProxy, FaultProxy],
        services: tuple[Service, Service],
    ) -> None:
        self.stack = stack
        self.database = database
        self.write, self.read = proxies
        self.services = services
        self.first, self.second = services

    def lose_commits(
        self, times: int, pattern: bytes = b"COMMIT", *, fault: Fault | None = None
    ) -> Trap:
        """Lose the answers of COMMITs, or of those alone whose message has `pattern`."""
        return self.write.trap(pattern, fault or Fault.LOSE_ANSWER, times)

    async def follow_roles(self) -> None:
        """Read from whichever node is the standby now."""
        self.read.retarget(self.stack.standby.serving_port)
        await self.read.cut()

    async def users(self) -> list[dict[str, Any]]:
        """Return all users as the primary has them, in order."""
        async with superuser(self.stack, self.database) as admin:
            return [dict(row) for row in await admin.fetch("SELECT * FROM users ORDER BY id")]

    async def names(self) -> list[str]:
        """Return all users' names."""
        return [str(row["name"]) for row in await self.users()]

    async def keys(self) -> int:
        """Return the number of keys that are known."""
        return int(await self.sql("SELECT count(*) FROM idempotency_keys"))

    async def sql(self, statement: str, *arguments: object) -> Any:  # noqa: ANN401 - SQL decides
        """Run one statement on the primary as superuser, and return its first value."""
        async with superuser(self.stack, self.database) as admin:
            return await admin.fetchval(statement, *arguments)


@asynccontextmanager
async def twins(stack: EmbeddedStack, database: str, **settings: object) -> AsyncIterator[Twins]:
    """Run two instances; `settings` override."""
    chosen = {**IMPATIENT, **settings}
    async with (
        FaultProxy(stack.write_port) as write,
        FaultProxy(stack.standby.serving_port) as read,
        running_service(database, write.port, read.port, **chosen) as first,
        running_service(database, write.port, read.port, **chosen) as second,
    ):
        pair = Twins(stack, database, (write, read), (first, second))
        await pair.sql("TRUNCATE users, idempotency_keys")  # the sample users
        yield pair


async def create(service: Service, name: str, key: str | None = None) -> httpx.Response:
    """Create the user NAME@example.com, with a key if there is one."""
    headers = {} if key is None else {KEY: key}
    return await service.client.post("/api/users", json=new_user(name), headers=headers)


def new_user(name: str) -> dict[str, str]:
    """Return the body that creates a user."""
    return {"email": f"{name}@example.com", "name": name}


def recorded(name: str) -> bytes:
    """Return what the message has that stores a user's creation and commits, and no other."""
    return f'"email":"{name}'.encode()


def problem(response: httpx.Response) -> str:
    """Return the name of a problem; empty when the response is none."""
    return str(response.json().get("type", "")).removeprefix(PROBLEM) if response.content else ""


def assert_replay(first: httpx.Response, again: httpx.Response) -> None:
    """Check that `again` is the first response, and says that it is not the first."""
    assert again.status_code == first.status_code, again.text
    assert again.content == first.content
    for name in ("Location", "ETag"):
        assert again.headers.get(name) == first.headers.get(name)
    assert again.headers.get(REPLAYED) == "true"
    assert REPLAYED not in first.headers
