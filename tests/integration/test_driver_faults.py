"""Whatever the driver raises, and wherever: done, or tried again, or told as what it is.

Each call of the driver that a request makes raises once, before it does anything or after it has
done it; with errors that the driver documents and with those that it never should raise. The client
is told of success, there is one row, and nobody else is affected.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from asyncpg.exceptions import InternalClientError
from asyncpg.prepared_stmt import PreparedStatement

from service.database import session as session_module
from service.database.session import Session
from tests.integration.service_client import running_service
from tests.integration.support import eventually, eventually_whole, superuser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from ops.embedded import EmbeddedStack
    from tests.integration.service_client import Service

ERRORS: list[Callable[[], BaseException]] = [
    lambda: AttributeError("'NoneType' object has no attribute 'bind_execute'"),
    lambda: InternalClientError("got result for unknown protocol state 3"),
    lambda: OSError(9, "Bad file descriptor"),
    lambda: struct.error("unpack requires a buffer of 4 bytes"),
    lambda: ValueError("odd"),
    lambda: ConnectionResetError("reset"),
    asyncio.CancelledError,
]
IDS = [type(make()).__name__ for make in ERRORS]
# A call of the driver, and how often a keyed write and a read on new sessions make it.
AWAITED = {
    (Session, "prepare"): 5,  # the claim, what a write ends with, its effect; the page that is read
    (PreparedStatement, "fetchrow"): 1,
    (PreparedStatement, "fetchval"): 1,
    (PreparedStatement, "fetch"): 1,
}
CALLED = ("terminate", "add_log_listener", "is_in_transaction")
AFTERWARDS = 5  # requests that must find everything in order
NAME = "under-test"


class Saboteur:
    """Lets the n-th call of a function raise, before or after the real one."""

    def __init__(self, error: Callable[[], BaseException], call: int, *, after: bool) -> None:
        self._error = error
        self._left = call
        self._after = after
        self.struck = False

    def strikes(self) -> bool:
        """Say whether this call is the one; counts it."""
        self._left -= 1
        self.struck |= self._left == 0
        return self._left == 0

    def awaited(self, real: Any) -> Any:  # noqa: ANN401 - any method of the driver
        """Wrap a coroutine function."""

        async def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            strikes = self.strikes()
            if strikes and not self._after:
                raise self._error()
            result = await real(*args, **kwargs)
            if strikes:
                raise self._error()
            return result

        return call

    def called(self, real: Any) -> Any:  # noqa: ANN401 - as above
        """Wrap a plain function."""

        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            strikes = self.strikes()
            if strikes and not self._after:
                raise self._error()
            result = real(*args, **kwargs)
            if strikes:
                raise self._error()
            return result

        return call


@contextmanager
def patched(owner: object, name: str, wrapped: object) -> Iterator[None]:
    """Put something in the place of the driver's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, wrapped)
        yield


@asynccontextmanager
async def service_on(
    stack: EmbeddedStack, database: str, **settings: object
) -> AsyncIterator[Service]:
    """Run the service without probers that would meet the fault in place of a request."""
    quiet = {"db_write_pool_min": 0, "db_read_pool_min": 0, "db_probe_interval": 600}
    async with running_service(
        database,
        stack.primary.serving_port,
        stack.standby.serving_port,
        **{"retry_backoff_first": 0.002, "retry_backoff_most": 0.01, **quiet, **settings},
    ) as service:
        yield service


async def assert_survives(service: Service, saboteur: Saboteur, name: str, admin: Any) -> None:  # noqa: ANN401
    """Write and read while it strikes; everything is as if it had not."""
    for pool in service.app.state.database.pools:
        pool.expire()  # every case begins with a login
    created = await service.create(name)
    read = await service.get("/api/users?limit=1")
    assert created.status_code == 201, (saboteur.struck, created.text)
    assert read.status_code == 200, (saboteur.struck, read.text)
    rows = await admin.fetchval("SELECT count(*) FROM users WHERE name = $1", name)
    assert rows == 1


async def assert_whole(service: Service, admin: Any) -> None:  # noqa: ANN401 - a connection
    """No session is missing, and none is left behind."""
    await eventually_whole(service.app.state.database.pools, admin, NAME)
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*(service.get("/api/users") for _ in range(AFTERWARDS)))
    assert {answer.status_code for answer in answers} == {200}
    assert all(task.alive for task in service.app.state.database.tasks)

    async def read_by_a_reader() -> bool:
        return bool((await service.get("/api/users?limit=1")).headers["X-Route"] == "read")

    await eventually("the read endpoint to serve again", read_by_a_reader)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", ERRORS, ids=IDS)
async def test_exchanges(
    stack: EmbeddedStack, database: str, error: Callable[[], BaseException], after: bool
) -> None:
    """Any exchange of a write or a read, COMMIT included: the outcome is found out."""
    async with service_on(stack, database) as service, superuser(stack, database) as admin:
        for (owner, method), calls in AWAITED.items():
            for call in range(1, calls + 1):
                saboteur = Saboteur(error, call, after=after)
                with patched(owner, method, saboteur.awaited(getattr(owner, method))):
                    await assert_survives(service, saboteur, f"{method}-{call}", admin)
                assert saboteur.struck, (method, call)
                await assert_whole(service, admin)


@pytest.mark.parametrize("error", ERRORS, ids=IDS)
async def test_connecting(
    stack: EmbeddedStack, database: str, error: Callable[[], BaseException]
) -> None:
    """Connecting, and setting the socket's options: the next attempt is made."""
    async with service_on(stack, database) as service, superuser(stack, database) as admin:
        for owner, name in ((asyncpg, "connect"), (session_module, "notice_silence")):
            for call in (1, 2):
                saboteur = Saboteur(error, call, after=False)
                wrap = saboteur.awaited if name == "connect" else saboteur.called
                with patched(owner, name, wrap(getattr(owner, name))):
                    await assert_survives(service, saboteur, f"{name}-{call}", admin)
                assert saboteur.struck
                await assert_whole(service, admin)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", ERRORS[:-1], ids=IDS[:-1])
async def test_endings(
    stack: EmbeddedStack, database: str, error: Callable[[], BaseException], after: bool
) -> None:
    """What is called on the way out fails as well: the session is closed all the same."""
    async with service_on(stack, database) as service, superuser(stack, database) as admin:
        for method in CALLED:
            saboteur = Saboteur(error, 1, after=after)
            lost = Saboteur(lambda: ConnectionResetError("reset"), 1, after=True)
            with (
                patched(Session, method, saboteur.called(getattr(Session, method))),
                patched(PreparedStatement, "fetchrow", lost.awaited(PreparedStatement.fetchrow)),
            ):
                await assert_survives(service, saboteur, method, admin)
            assert saboteur.struck, method
            await assert_whole(service, admin)


@pytest.mark.parametrize("error", ERRORS, ids=IDS)
async def test_background(
    stack: EmbeddedStack, database: str, error: Callable[[], BaseException]
) -> None:
    """A fault that a background task meets is told by a metric; the task goes on."""
    floor = {"db_write_pool_min": 2, "db_read_pool_min": 2, "db_probe_interval": 0.05}
    async with service_on(stack, database, **floor) as service, superuser(stack, database) as admin:
        tasks = service.app.state.database.tasks[1:]
        await eventually("the first probes", lambda: all(task.worked_at for task in tasks))
        for owner, name in ((PreparedStatement, "fetchval"), (Session, "prepare")):
            saboteur = Saboteur(error, 1, after=False)
            with patched(owner, name, saboteur.awaited(getattr(owner, name))):
                for pool in service.app.state.database.pools:
                    pool.expire()
                await eventually("a probe to meet it", lambda s=saboteur: s.struck)
            seen = [task.worked_at for task in tasks]
            await eventually(
                "both probers to go on",
                lambda seen=seen: all(
                    task.worked_at > at for task, at in zip(tasks, seen, strict=True)
                ),
            )
            await eventually(
                "both pools to have their floor",
                lambda: all(service.pool(role)["size"] >= 2 for role in ("write", "read")),
            )
        assert all(task.alive for task in tasks)
        assert (await service.create("afterwards")).status_code == 201
        await assert_whole(service, admin)
