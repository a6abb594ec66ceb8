"""service.api.application: what is added to it is outermost, and everything within is FastAPI's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from service.api.application import Application

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Receive, Scope, Send


class Layer:
    """Notes what comes through, and answers an error."""

    def __init__(self, app: ASGIApp, name: str, seen: list[str]) -> None:
        self._app = app
        self._name = name
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        self._seen.append(self._name)
        try:
            await self._app(scope, receive, send)
        except LookupError as error:
            self._seen.append(repr(error))
            start: Any = {"type": "http.response.start", "status": 418, "headers": []}
            await send(start)
            await send({"type": "http.response.body", "body": b"mine"})


def made(seen: list[str]) -> FastAPI:
    """Return an application with two layers."""
    app = Application()
    app.add_middleware(Layer, name="inner", seen=seen)
    app.add_middleware(Layer, name="outer", seen=seen)

    @app.get("/fine")
    async def fine() -> str:
        return "fine"

    @app.get("/lost")
    async def lost() -> str:
        raise LookupError("nobody expected it")

    return app


@pytest.mark.parametrize("times", [1, 2])
async def test_layers_are_met_in_their_order(times: int) -> None:
    """The one that was added last first; with the first request, and with those after it."""
    seen: list[str] = []
    transport = httpx.ASGITransport(made(seen))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        for _ in range(times):
            assert (await client.get("/fine")).json() == "fine"
            assert (await client.get("/none")).status_code == 404
    assert seen == ["outer", "inner"] * 2 * times


async def test_an_unexpected_error_is_the_layers_to_answer() -> None:
    """The framework's own answer to it does not come before."""
    seen: list[str] = []
    transport = httpx.ASGITransport(made(seen))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        answer = await client.get("/lost")
    assert (answer.status_code, answer.text) == (418, "mine")
    assert seen == ["outer", "inner", "LookupError('nobody expected it')"]
