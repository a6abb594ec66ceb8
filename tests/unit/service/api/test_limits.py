"""service.api.limits: a body over the limit is refused, declared or not."""

from collections.abc import AsyncIterator

import httpx
import pytest

LIMIT = 1000  # as the fixture `settings` has it
JSON = {"content-type": "application/json"}


async def pieces(size: int) -> AsyncIterator[bytes]:
    """Send `size` bytes without saying how many there will be."""
    for _ in range(size // 100):
        yield b" " * 100


@pytest.mark.parametrize("content", [b" " * (LIMIT + 1), pieces(LIMIT + 100)])
async def test_too_large(client: httpx.AsyncClient, content: bytes | AsyncIterator[bytes]) -> None:
    """413, as a problem, and the connection ends: the rest of the body stays unread."""
    response = await client.post("/api/users", content=content, headers=JSON)

    assert response.status_code == 413
    assert response.json()["type"] == "urn:holdfast:problem:too-large"
    assert str(LIMIT) in response.json()["detail"]
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize("content", [b" " * LIMIT, pieces(LIMIT)])
async def test_just_fits(client: httpx.AsyncClient, content: bytes | AsyncIterator[bytes]) -> None:
    """A body of exactly the limit is read: what is wrong with it is found by validation."""
    response = await client.post("/api/users", content=content, headers=JSON)

    assert response.status_code == 422
