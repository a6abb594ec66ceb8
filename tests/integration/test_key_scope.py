"""A key is one write, whoever sends it, as that may be another when the request is repeated.

An operator turns ACCESS on while instances are replaced one by one, renames a token's holder, or
gives a client another token. None of that is the client's doing, and none makes a second write.
"""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from service.api import access
from tests.integration.service_client import running_service
from tests.integration.support import superuser
from tests.integration.twins import (
    IMPATIENT,
    KEY,
    Twins,
    assert_replay,
    create,
    new_user,
    problem,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from tests.integration.service_client import Service

WHO = "SELECT client FROM audit_log WHERE action = 'insert' ORDER BY id OFFSET $1"


@pytest.fixture
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of tokens, which takes effect at once."""
    monkeypatch.setattr(access, "LOOK", 0.0)
    file = tmp_path / "tokens"
    hold(file, ann="a-token", bob="b-token")
    return file


def hold(file: Path, **tokens: str) -> None:
    """Let these holders write, and nobody else."""
    digests = {name: hashlib.sha256(token.encode()).hexdigest() for name, token in tokens.items()}
    file.write_text("".join(f"{name} write {digest}\n" for name, digest in digests.items()))


@asynccontextmanager
async def asking(pair: Twins, tokens: Path) -> AsyncIterator[Service]:
    """Run an instance that asks for tokens, beside those that do not."""
    settings = {**IMPATIENT, "access": "writes", "access_tokens_file": tokens}
    async with running_service(pair.database, pair.write.port, pair.read.port, **settings) as one:
        yield one


async def send(service: Service, name: str, token: str, key: str = "k") -> httpx.Response:
    """Create a user with a key and a token."""
    headers = {KEY: key, "Authorization": f"Bearer {token}"}
    return await service.client.post("/api/users", json=new_user(name), headers=headers)


async def authors(pair: Twins, before: int) -> list[str | None]:
    """Return who has created users, in order, after the first `before`."""
    async with superuser(pair.stack, pair.database) as admin:
        return [row["client"] for row in await admin.fetch(WHO, before)]


async def test_access_changes_between_two_instances(pair: Twins, tokens: Path) -> None:
    """The repetition meets an instance with another ACCESS, either way: it is a repetition."""
    before = len(await authors(pair, 0))
    async with asking(pair, tokens) as closed:
        first = await create(pair.first, "opened", "one")
        assert_replay(first, await send(closed, "opened", "a-token", "one"))
        second = await send(closed, "closed", "a-token", "two")
        assert_replay(second, await create(pair.second, "closed", "two"))
    assert await pair.names() == ["opened", "closed"]
    assert await authors(pair, before) == [None, "ann"]


async def test_a_holder_is_renamed(pair: Twins, tokens: Path) -> None:
    """The same token under another name: the same client. The audit has the name it had then."""
    before = len(await authors(pair, 0))
    async with asking(pair, tokens) as closed:
        first = await send(closed, "once", "a-token")
        hold(tokens, lovelace="a-token")
        assert_replay(first, await send(closed, "once", "a-token"))
    assert await pair.names() == ["once"]
    assert await authors(pair, before) == ["ann"]


async def test_a_client_gets_another_token(pair: Twins, tokens: Path) -> None:
    """Two tokens, one write: the audit says who was first."""
    before = len(await authors(pair, 0))
    async with asking(pair, tokens) as closed:
        first = await send(closed, "once", "a-token")
        assert_replay(first, await send(closed, "once", "b-token"))
    assert await pair.names() == ["once"]
    assert await authors(pair, before) == ["ann"]


async def test_another_request_is_refused_whoever_sends_it(pair: Twins, tokens: Path) -> None:
    """A key is used up for everybody; what was done under it is told to nobody else."""
    async with asking(pair, tokens) as closed:
        assert (await send(closed, "first", "a-token")).status_code == 201
        refused = await send(closed, "second", "b-token")
        assert (refused.status_code, problem(refused)) == (422, "idempotency-key-reused")
        assert "first" not in refused.text
    assert await pair.names() == ["first"]
