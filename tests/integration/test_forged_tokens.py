"""A token from the future costs its sender a wait, the nodes few questions, and others nothing."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from service.database import ConsistencyToken, consistency
from service.database.commit import Position
from tests.integration.scenarios import replay_paused
from tests.integration.service_client import running_service
from tests.integration.twins import TOKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ops.embedded import EmbeddedStack
    from tests.integration.service_client import Service

AHEAD = "urn:holdfast:problem:consistency-token-ahead"
LONG = 5.0  # seconds for a reader, where a wait must be told from none
READER_WAIT = 0.25  # seconds for a reader, as shipped
SLACK = 5.0  # seconds for everything else, on busy cores
FAR = 2**40
QUESTIONS = 5  # to the primary, in TOKEN_WAIT; fewer on busy cores
TOKEN_WAIT = 1.0  # seconds


@pytest.fixture
async def service(stack: EmbeddedStack, database: str) -> AsyncIterator[Service]:
    """Run the service with writes on the primary and reads on the standby alone."""
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port
    ) as running:
        yield running


async def forged(service: Service, *, timelines: int) -> str:
    """Return a token that no write can have answered yet."""
    real = ConsistencyToken.parse((await service.create("now")).headers[TOKEN]).position
    ahead = Position(real.timeline + timelines, real.lsn + FAR, real.history)
    return ConsistencyToken(ahead).encode()


@pytest.mark.parametrize(
    ("timelines", "questions", "waits"),
    [
        pytest.param(0, 1, READER_WAIT, id="same timeline"),
        pytest.param(1000, QUESTIONS, READER_WAIT + TOKEN_WAIT, id="later timeline"),
    ],
)
async def test_it_is_refused_after_one_wait(
    service: Service, timelines: int, questions: int, waits: float
) -> None:
    """The readers are asked by one attempt, the primary by a handful."""
    token = await forged(service, timelines=timelines)
    started = time.monotonic()
    response = await service.client.get("/api/users", headers={TOKEN: token})
    passed = time.monotonic() - started
    assert (response.status_code, response.json()["type"]) == (400, AHEAD)
    assert int(response.headers["X-Attempts"]) <= questions
    assert service.metric("holdfast_database_readers_behind_total") == 1
    assert READER_WAIT <= passed < waits + SLACK


@pytest.mark.parametrize("timelines", [0, 1000], ids=["same timeline", "later timeline"])
async def test_others_are_waited_for_as_before(
    stack: EmbeddedStack, database: str, timelines: int
) -> None:
    """The reader that has not reached it is still waited for by whoever sends a smaller one."""
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port, consistency_wait=LONG
    ) as service:
        path = (await service.create("honest")).headers["Location"]
        token = await forged(service, timelines=timelines)
        refused = await service.client.get(path, headers={TOKEN: token, "Request-Timeout": "2"})
        assert refused.status_code == 400, refused.text
        async with replay_paused(stack):
            written = await service.client.patch(path, json={"name": "later"})
            read = service.client.get(path, headers={TOKEN: written.headers[TOKEN]})
            request = asyncio.create_task(read)
            done, _ = await asyncio.wait([request], timeout=0.3)
            assert not done
        response = await request
        assert (response.json()["name"], response.headers["X-Route"]) == ("later", "read")


async def test_it_hides_no_standby_that_is_behind(
    stack: EmbeddedStack, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standby that honest readers have waited for in vain is not waited for again after it."""
    monkeypatch.setattr(consistency, "MEMORY", 60.0)
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port, consistency_wait=LONG
    ) as service:
        path = (await service.create("lagging")).headers["Location"]
        far = await forged(service, timelines=0)
        async with replay_paused(stack):
            written = await service.client.patch(path, json={"name": "later"})
            honest = {TOKEN: written.headers[TOKEN]}
            first = asyncio.create_task(service.client.get(path, headers=honest))
            done, _ = await asyncio.wait([first], timeout=0.3)
            assert not done
            refused = await service.client.get(path, headers={TOKEN: far})
            assert (await first).headers["X-Route"] == "read-fallback"
            assert refused.status_code == 400, refused.text
            started = time.monotonic()
            again = await service.client.get(path, headers=honest)
            assert again.headers["X-Route"] == "read-fallback"
            assert time.monotonic() - started < LONG
