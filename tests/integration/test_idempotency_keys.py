"""`Idempotency-Key`: what a key is, what it may be used for, how long, and who waits for whom."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.integration.support import eventually, superuser
from tests.integration.twins import (
    KEY,
    REPLAYED,
    Twins,
    assert_replay,
    create,
    new_user,
    problem,
    twins,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import httpx

    from ops.embedded import EmbeddedStack

EXPIRE = "UPDATE idempotency_keys SET expires_at = now() - interval '1 second'"
JSON = {"Content-Type": "application/json"}


# ---------------------------------------------------------------- one key, one request
@pytest.mark.parametrize("other", ["body", "method", "path"])
async def test_key_reused_for_a_different_request(pair: Twins, other: str) -> None:
    """A key stands for one request: for another one it is refused, and nothing is applied."""
    users = [(await create(pair.first, name)).json()["id"] for name in ("one", "two")]
    path, body = f"/api/users/{users[0]}", {"name": "first"}
    first = await pair.first.client.patch(path, json=body, headers={KEY: "k"})
    assert first.status_code == 200
    before = await pair.users()
    method = "DELETE" if other == "method" else "PATCH"
    path = f"/api/users/{users[1]}" if other == "path" else path
    changed = {"name": "second"} if other == "body" else body
    refused = await pair.second.client.request(
        method, path, json=None if method == "DELETE" else changed, headers={KEY: "k"}
    )
    assert (refused.status_code, problem(refused)) == (422, "idempotency-key-reused")
    assert REPLAYED not in refused.headers
    assert await pair.users() == before


async def test_json_is_compared_by_value(pair: Twins) -> None:
    """Other whitespace and another order of members make the same request."""
    body = new_user("spelt")
    spellings = [
        json.dumps(body),
        json.dumps(dict(reversed(body.items())), separators=(" ,", " :")),
        json.dumps(body, indent=4) + "\n",
    ]
    first, *others = [
        await pair.first.client.post("/api/users", content=text, headers={KEY: "k", **JSON})
        for text in spellings
    ]
    assert first.status_code == 201
    for other in others:
        assert_replay(first, other)
    assert await pair.names() == ["spelt"]


# ---------------------------------------------------------------- a key in flight
@dataclass
class InFlight:
    """Two equal requests, the first of which is held by a lock on its table."""

    pair: Twins
    first: asyncio.Task[httpx.Response]
    second: asyncio.Task[httpx.Response]
    free: Callable[[], Awaitable[None]]


@asynccontextmanager
async def two_in_flight(
    stack: EmbeddedStack, database: str, wait: float
) -> AsyncIterator[InFlight]:
    """Hold a request, and send it again on another instance; at the end it was applied once."""
    patient = {"db_statement_timeout": 15, "db_tcp_timeout": 15, "idempotency_wait": wait}
    async with twins(stack, database, **patient) as pair, AsyncExitStack() as lock:
        admin = await lock.enter_async_context(superuser(stack, database))
        # Somebody else is about to have the address: in the effect, which holds the key by then.
        await admin.execute("BEGIN")
        lock.push_async_callback(admin.execute, "ROLLBACK")
        await admin.execute(
            "INSERT INTO users (email, name) VALUES ($1, 'other')", new_user("held")["email"]
        )
        first = asyncio.create_task(create(pair.first, "held", "k"))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"

        async def held() -> bool:
            return bool(await pair.sql(waiting) == 1)

        await eventually("the first request to be held", held)
        second = asyncio.create_task(create(pair.second, "held", "k"))
        yield InFlight(pair, first, second, lock.aclose)
        assert (await first).status_code == 201, (await first).text
        assert_replay(await first, await create(pair.second, "held", "k"))
        assert await pair.names() == ["held"]


async def test_request_in_flight_is_waited_for(stack: EmbeddedStack, database: str) -> None:
    """The same request meanwhile waits for the first, and gets its answer."""
    async with two_in_flight(stack, database, wait=10) as held:
        retries = "holdfast_database_retries_total"
        await eventually(
            "the second request to meet the first",
            lambda: held.pair.second.metric(retries, kind="key-in-flight") > 0,
        )
        done, _ = await asyncio.wait([held.first, held.second], timeout=0.3)
        assert not done
        await held.free()
        assert_replay(await held.first, await held.second)


async def test_request_in_flight_is_not_waited_for_for_ever(
    stack: EmbeddedStack, database: str
) -> None:
    """After IDEMPOTENCY_WAIT the repetition is told to come back; the first is unharmed."""
    async with two_in_flight(stack, database, wait=0.4) as held:
        started = time.monotonic()
        refused = await held.second
        assert 0.2 < time.monotonic() - started < 3
        assert (refused.status_code, problem(refused)) == (409, "idempotency-key-in-flight")
        assert int(refused.headers["Retry-After"]) > 0
        assert not held.first.done()
        await held.free()


# ---------------------------------------------------------------- spelling
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([(KEY, "")], id="empty"),
        pytest.param([(KEY, '""')], id="empty in quotes"),
        pytest.param([(KEY, "k" * 256)], id="too long"),
        pytest.param([(KEY, f'"{"k" * 256}"')], id="too long in quotes"),
        pytest.param([(KEY, "one"), (KEY, "two")], id="two"),
        pytest.param([(KEY, "same"), (KEY, "same")], id="the same twice"),
        pytest.param([(KEY.encode(), "ключ".encode())], id="non-ASCII"),
        pytest.param([(KEY.encode(), '"ключ"'.encode())], id="non-ASCII in quotes"),
        pytest.param([(KEY, '"open')], id="unbalanced"),
        pytest.param([(KEY, 'a"b')], id="quote within"),
        pytest.param([(KEY, "two words")], id="space without quotes"),
    ],
)
async def test_malformed_key(pair: Twins, headers: list[tuple[str, str]]) -> None:
    """What is no key is refused before anything is applied."""
    response = await pair.first.client.post("/api/users", json=new_user("bad"), headers=headers)
    assert (response.status_code, problem(response)) == (400, "bad-idempotency-key")
    assert await pair.names() == []
    assert await pair.keys() == 0


@pytest.mark.parametrize(
    ("one", "other"), [("bare-key", '"bare-key"'), ("k" * 255, f'"{"k" * 255}"'), ("k", ' "k" ')]
)
async def test_quotes_are_not_part_of_the_key(pair: Twins, one: str, other: str) -> None:
    """A key means the same with quotes and without."""
    first = await create(pair.first, "quoted", one)
    assert first.status_code == 201
    assert_replay(first, await create(pair.second, "quoted", other))
    assert await pair.keys() == 1


# ---------------------------------------------------------------- lifetime
async def test_expired_key_is_unknown(pair: Twins) -> None:
    """Once it has expired a key may be used again: the write is applied, its result stored."""
    first = await create(pair.first, "again", "k")
    assert (await pair.first.client.delete(first.headers["Location"])).status_code == 204
    assert_replay(first, await create(pair.second, "again", "k"))
    assert await pair.names() == []
    await pair.sql(EXPIRE)
    second = await create(pair.second, "again", "k")
    assert second.status_code == 201
    assert second.json()["id"] > first.json()["id"]
    assert_replay(second, await create(pair.first, "again", "k"))
    assert await pair.names() == ["again"]


async def test_failure_stores_no_key(pair: Twins) -> None:
    """A request that changed nothing leaves its key unused: it may succeed later, or another."""
    await create(pair.first, "taken")
    before = await pair.keys()
    for _ in range(2):
        refused = await create(pair.first, "taken", "k")
        assert (refused.status_code, problem(refused)) == (409, "email-in-use")
        assert REPLAYED not in refused.headers
        missing = await pair.first.client.delete("/api/users/4711", headers={KEY: "k"})
        assert (missing.status_code, problem(missing)) == (404, "not-found")
    assert await pair.keys() == before
    assert (await create(pair.first, "free", "k")).status_code == 201
