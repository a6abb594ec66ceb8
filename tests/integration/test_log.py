"""What the process's log says of errors that nobody expected: nothing of what a client sent."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.integration.failing_service import ROUTES
from tests.integration.service_process import started
from tests.integration.support import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from ops.embedded import EmbeddedStack

TOKEN = "bearer-token-of-somebody"
MARKER = "hunter2"
SECRET = f"{MARKER}@example.com"
LINE_MOST = 20_000  # characters
EXPECTED = {
    "ours": ("unexpected error", "_fail"),
    "argument": ("internal", "argument"),
    "refused": ("internal", "22P02"),
    "duplicate": ("internal", "23505"),
    "begun": ("Exception in ASGI application", "parts"),
}
NOBODYS = {
    "Task exception was never retrieved",
    "Exception in callback",
    "exception ignored",
}


async def test_nothing_of_a_request_is_in_the_log(
    stack: EmbeddedStack, database: str, tmp_path: Path
) -> None:
    """Ours, uvicorn's, asyncio's and the interpreter's lines: types and places, and short."""
    log = tmp_path / "service.log"
    module = "tests.integration.failing_service"
    headers = {"Authorization": f"Bearer {TOKEN}", "Idempotency-Key": f'"{MARKER}"'}

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in log.read_text().splitlines()]

    async with started(stack, database, log, module=module, LOG_LEVEL="DEBUG") as service:
        await service.wait_health(200)
        for route in (route.__name__ for route in ROUTES):
            request = service.client.post(
                f"{service.url}/{route}",
                json={"email": SECRET, "body": MARKER},
                headers=headers | {"X-Request-Id": route},
            )
            if route == "begun":
                with pytest.raises(httpx.RemoteProtocolError):
                    await request
            else:
                answer = await request
                assert answer.status_code == (200 if route == "background" else 500), answer.text
                assert MARKER not in answer.text
        await eventually(
            "the lines of what failed in the background",
            lambda: {line["event"] for line in lines()} >= NOBODYS,
        )
        os.kill(service.process.pid, signal.SIGINT)
        assert await service.ended() == 0

    text = log.read_text()
    assert MARKER not in text
    assert TOKEN not in text
    assert all(len(line) < LINE_MOST for line in text.splitlines())
    for route, (event, told) in EXPECTED.items():
        (line,) = [
            line
            for line in lines()
            if (line["request_id"], line["event"]) == (route, event)
            or (line["event"] == event == EXPECTED["begun"][0])
        ]
        assert told in json.dumps(line["exception"]), route
    for event in NOBODYS:
        (line,) = [line for line in lines() if line["event"] == event]
        assert "LookupError" in json.dumps(line["exception"])
