"""service.api.last_resort: a request that an instance cannot finish is answered all the same."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI, Header
from fastapi.responses import StreamingResponse

from service.api.idempotency import Key
from service.lifecycle import Lifecycle
from tests.unit.service.api.test_problems import check

BOUND = 5.0  # seconds for what takes none


class Held:
    """An endpoint that never ends by itself."""

    def __init__(self, app: FastAPI) -> None:
        self.reached = asyncio.Event()
        self._observer = app.state.database.observer
        app.add_api_route("/held", self.hold, methods=["POST"])

    async def hold(self, key: Key, steps: Annotated[str, Header()] = "") -> None:  # noqa: ARG002
        """Tell the observer what the header names, then wait for ever."""
        for step in filter(None, steps.split(",")):
            getattr(self._observer, step)()
        self.reached.set()
        await asyncio.Event().wait()

    async def cut(self, client: httpx.AsyncClient, steps: str = "") -> httpx.Response:
        """Send a request, and cancel it where it is held, as the server does in the end."""
        headers = {"Idempotency-Key": '"mine"', "Steps": steps}
        task = asyncio.create_task(client.post("/held", headers=headers))
        async with asyncio.timeout(BOUND):
            await self.reached.wait()
            task.cancel()
            return await task


@pytest.fixture
def held(app: FastAPI) -> Held:
    """The endpoint."""
    return Held(app)


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ("", "unavailable"),
        ("commit_sent", "commit-in-doubt"),
        ("commit_sent,not_applied", "unavailable"),
        ("commit_sent,commit_sent,not_applied", "commit-in-doubt"),
    ],
)
async def test_a_request_that_the_end_cuts_is_told_what_is_known(
    client: httpx.AsyncClient, held: Held, lifecycle: Lifecycle, steps: str, name: str
) -> None:
    """503, with the key to send it again by, and whether something may have been applied."""
    lifecycle.draining = True
    response = await held.cut(client, steps)

    body = check(response, 503, name)
    assert "This instance stopped" in str(body["detail"])
    assert ("Nothing was applied" in str(body["detail"])) == (name == "unavailable")
    assert response.headers["idempotency-key"] == '"mine"'
    assert int(response.headers["retry-after"]) >= 1
    assert response.headers["connection"] == "close"
    assert response.headers["x-instance"] == "app-under-test"


async def test_a_request_that_is_cancelled_otherwise_is_not_answered(
    client: httpx.AsyncClient, held: Held
) -> None:
    """A cancellation is for whoever asked for it, unless the instance stops."""
    with pytest.raises(asyncio.CancelledError):
        await held.cut(client)


async def test_a_response_that_has_begun_is_cut(
    app: FastAPI, client: httpx.AsyncClient, lifecycle: Lifecycle
) -> None:
    """There is nothing else to say any more."""
    begun = asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        yield b"begun"
        begun.set()
        await asyncio.Event().wait()

    app.add_api_route("/parts", lambda: StreamingResponse(parts()))
    lifecycle.draining = True
    task = asyncio.create_task(client.get("/parts"))
    async with asyncio.timeout(BOUND):
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_it_is_logged(
    client: httpx.AsyncClient,
    held: Held,
    lifecycle: Lifecycle,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As any other answer in doubt is."""
    lifecycle.draining = True
    await held.cut(client, "commit_sent")

    assert "commit-in-doubt" in capsys.readouterr().out
