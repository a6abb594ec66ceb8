"""Read your writes: a read with a token is never older than the token, and waits only so long."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from service.database import ConsistencyToken, consistency
from service.database.consistency import WHERE
from service.database.link import Link
from service.errors import ConnectionLost
from tests.integration.scenarios import replay_paused
from tests.integration.service_client import running_service
from tests.integration.support import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from ops.embedded import EmbeddedStack
    from tests.integration.service_client import Service

TOKEN = "Consistency-Token"
AHEAD = "urn:holdfast:problem:consistency-token-ahead"
BAD = "urn:holdfast:problem:bad-consistency-token"


@pytest.fixture
async def service(stack: EmbeddedStack, database: str) -> AsyncIterator[Service]:
    """Run the service with writes on the primary and reads on the standby alone."""
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port, consistency_wait=0.1
    ) as running:
        yield running


async def change(service: Service, path: str, name: str) -> str:
    """Rename a user; return the write's token."""
    response = await service.client.patch(path, json={"name": name})
    assert response.status_code == 200, response.text
    return response.headers[TOKEN]


async def read(service: Service, path: str, token: str | None) -> httpx.Response:
    """Read a user, with a token or without."""
    return await service.client.get(path, headers={TOKEN: token} if token else {})


async def stale_reads(service: Service, stack: EmbeddedStack, count: int, *, tokens: bool) -> int:
    """Change a user while replay is paused, and count the reads that did not see the change."""
    path = (await service.create("reader")).headers["Location"]
    stack.wait_replayed()
    stale = 0
    async with replay_paused(stack):
        for number in range(count // 10):
            name = f"version {number}"
            token = await change(service, path, name)
            reads = [read(service, path, token if tokens else None) for _ in range(10)]
            for response in await asyncio.gather(*reads):
                assert response.status_code == 200, response.text
                stale += response.json()["name"] != name
    return stale


async def test_reads_with_tokens_are_never_stale(service: Service, stack: EmbeddedStack) -> None:
    """A thousand reads while the standby does not replay: every one sees the write before it."""
    assert await stale_reads(service, stack, 1000, tokens=True) == 0
    assert service.metric("holdfast_database_readers_behind_total") == 1000


async def test_reads_without_tokens_are_stale(service: Service, stack: EmbeddedStack) -> None:
    """The same without tokens: all are stale, so the test above can fail."""
    assert await stale_reads(service, stack, 100, tokens=False) == 100


async def test_a_replica_that_has_the_write_answers(service: Service, stack: EmbeddedStack) -> None:
    """In sync the token costs no way to the primary: the standby catches up within the wait."""
    path = (await service.create("in-sync")).headers["Location"]
    routes = set()
    for number in range(20):
        token = await change(service, path, f"version {number}")
        response = await read(service, path, token)
        assert response.json()["name"] == f"version {number}"
        routes.add(response.headers["X-Route"])
    assert "read" in routes
    stack.wait_replayed()
    assert (await read(service, path, token)).headers["X-Route"] == "read"


async def test_the_replica_is_waited_for(stack: EmbeddedStack, database: str) -> None:
    """A replica that catches up within the bound answers itself."""
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port, consistency_wait=20
    ) as service:
        path = (await service.create("waited")).headers["Location"]
        async with replay_paused(stack):
            token = await change(service, path, "later")
            request = asyncio.create_task(read(service, path, token))
            done, _ = await asyncio.wait([request], timeout=0.3)
            assert not done
        response = await request
        assert response.json()["name"] == "later"
        assert response.headers["X-Route"] == "read"


async def test_a_lagging_replica_is_asked_less_and_less(
    stack: EmbeddedStack, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Soon at first, as it is seldom far behind; then at a pace that costs it nothing."""
    pauses = []

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(seconds)

    monkeypatch.setattr(consistency, "asyncio", SimpleNamespace(sleep=noted))
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port, consistency_wait=0.5
    ) as service:
        path = (await service.create("asked")).headers["Location"]
        async with replay_paused(stack):
            token = await change(service, path, "ahead")
            await read(service, path, token)
    steady = pauses[:-1]  # the last one ends with the wait
    assert steady[0] == consistency.POLL_FIRST
    assert steady[-1] == consistency.POLL_MOST
    for before, after in pairwise(steady):
        assert after == min(2 * before, consistency.POLL_MOST)
    assert sum(pauses) <= 0.5


async def test_a_lagging_replica_is_not_waited_for_each_time(
    stack: EmbeddedStack, database: str
) -> None:
    """After one wait in vain the next reads ask once and go to the primary at once."""
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port, consistency_wait=0.5
    ) as service:
        path = (await service.create("lagging")).headers["Location"]
        async with replay_paused(stack):
            token = await change(service, path, "ahead")
            times = []
            for _ in range(3):
                started = time.monotonic()
                response = await read(service, path, token)
                times.append(time.monotonic() - started)
                assert response.headers["X-Route"] == "read-fallback"
        assert times[0] >= 0.5
        assert min(times[1:]) < 0.25


async def test_a_replica_that_lags_serves(stack: EmbeddedStack, database: str) -> None:
    """It has answered, though not what was asked for: it is not taken for down."""
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port, db_probe_interval=600
    ) as service:
        path = (await service.create("lags")).headers["Location"]
        _, reader = service.app.state.database.pools
        async with replay_paused(stack):
            token = await change(service, path, "ahead")
            await read(service, path, None)  # a session is open now
            reader.endpoint.failed(ConnectionLost("as another session was", kind="reset"))
            assert (await read(service, path, token)).headers["X-Route"] == "read-fallback"
            assert reader.endpoint.state.serves


async def test_a_primary_among_the_readers_answers_at_once(
    stack: EmbeddedStack, database: str
) -> None:
    """The read port leads to the primary as well: that one has the write, and replays nothing."""
    primary = stack.primary.serving_port
    async with running_service(database, primary, primary, consistency_wait=20) as service:
        created = await service.create("reader-is-primary")
        started = time.monotonic()
        response = await read(service, created.headers["Location"], created.headers[TOKEN])
        assert (response.status_code, response.headers["X-Route"]) == (200, "read")
        assert time.monotonic() - started < 2


async def test_a_token_survives_a_failover(disturbed_stack: EmbeddedStack, database: str) -> None:
    """A token of the old primary holds on its successor, and on the node that rejoins it."""
    stack = disturbed_stack
    async with running_service(database, stack.write_port, stack.read_port) as service:
        created = await service.create("survivor")
        path, token = created.headers["Location"], created.headers[TOKEN]
        await asyncio.to_thread(stack.failover)
        response = await read(service, path, token)
        assert response.status_code == 200, response.text
        later = await change(service, path, "after")
        old, new = ConsistencyToken.parse(token), ConsistencyToken.parse(later)
        assert new.position.timeline > old.position.timeline
        await asyncio.to_thread(stack.rejoin)
        for each in (token, later):
            response = await read(service, path, each)
            assert response.json()["name"] == "after"


@pytest.mark.parametrize(
    "text", ["x", "", "AAAA", "ä", "AQAAAAEAAAAAAwAAAAAAAAA", "A" * 23, "A" * 4000]
)
async def test_a_malformed_token_is_refused(service: Service, text: str) -> None:
    """What no write ever answered is 400, and says what to do."""
    response = await service.client.get("/api/users", headers={TOKEN: text.encode()})
    assert response.status_code == 400
    assert response.json()["type"] == BAD
    assert "Consistency-Token" in response.json()["detail"]


async def test_a_primary_of_the_past_is_not_believed(
    disturbed_stack: EmbeddedStack, database: str
) -> None:
    """A demoted primary that goes on by itself, and further, has not reached a later token."""
    stack = disturbed_stack
    past = stack.primary
    async with running_service(database, stack.write_port, stack.read_port) as service:
        path = (await service.create("branch")).headers["Location"]
        await asyncio.to_thread(stack.promote_standby)
        # The old primary is alive, and its history goes on where nobody will ever see it.
        past.sql("ALTER SYSTEM SET synchronous_standby_names = ''")
        past.reload("synchronous_standby_names", "")
        past.sql(
            "SELECT pg_logical_emit_message(true, 'x', repeat('x', 1000000))", database=database
        )

    async with (
        running_service(database, stack.primary.serving_port, past.port) as now,
        running_service(database, past.port, past.port, request_deadline=1.0) as lost,
    ):
        token = await change(now, path, "here")
        response = await read(now, path, token)
        assert (response.json()["name"], response.headers["X-Route"]) == ("here", "read-fallback")
        response = await read(lost, path, token)
        assert response.status_code == 400
        assert response.json()["type"] == AHEAD


async def test_a_standby_on_the_write_port_has_not_reached_it(
    stack: EmbeddedStack, database: str, service: Service
) -> None:
    """The write port leads to a node that is behind: the token is ahead, which is no surprise."""
    path = (await service.create("misled")).headers["Location"]
    stack.wait_replayed()
    standby = stack.standby.serving_port
    async with (
        running_service(database, standby, standby, consistency_wait=0.1) as misled,
        replay_paused(stack),
    ):
        token = await change(service, path, "later")
        response = await read(misled, path, token)
        assert (response.status_code, response.json()["type"]) == (400, AHEAD)


async def test_a_browser_asks_for_a_cookie(service: Service, stack: EmbeddedStack) -> None:
    """Asked for once, the cookie comes with every write, and counts where there is no header."""
    body = {"email": "browser@example.com", "name": "before"}
    plain = await service.client.post("/api/users", json={**body, "email": "plain@example.com"})
    assert "Set-Cookie" not in plain.headers
    asked = await service.client.post(
        "/api/users", json=body, headers={"Prefer": "consistency-cookie"}
    )
    assert asked.headers["Preference-Applied"] == "consistency-cookie"
    path = asked.headers["Location"]
    stack.wait_replayed()
    async with replay_paused(stack):
        await change(service, path, "after")  # the client keeps cookies: this renews it
        response = await service.client.get(path)
        assert (response.json()["name"], response.headers["X-Route"]) == ("after", "read-fallback")
        service.client.cookies.clear()
        assert (await service.client.get(path)).json()["name"] == "before"


async def test_an_unusable_cookie_is_taken_back(service: Service) -> None:
    """A browser cannot mend its cookie: the answer that refuses it also removes it."""
    response = await service.client.get(
        "/api/users", headers={"Cookie": "consistency_token=nonsense"}
    )
    assert response.status_code == 400
    assert 'consistency_token=""' in response.headers["Set-Cookie"]
    assert "Max-Age=0" in response.headers["Set-Cookie"]


async def test_a_session_that_ends_with_its_answer_is_a_lost_one(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bound fires, or the pool lets go of it, just as the reader has said where it is."""
    created = await service.create("ended")
    asked, ended = Link.fetchrow, []

    async def fetchrow(link: Link, sql: str, *args: object) -> object:
        row = await asked(link, sql, *args)
        if sql == WHERE and not ended:
            ended.append(link)
            link.session.drop()
        return row

    monkeypatch.setattr(Link, "fetchrow", fetchrow)
    response = await read(service, created.headers["Location"], created.headers[TOKEN])
    assert ended
    assert response.status_code == 200, response.text


async def test_without_a_reader_the_primary_answers(
    disturbed_stack: EmbeddedStack, database: str
) -> None:
    """A token needs no replica."""
    stack = disturbed_stack
    async with running_service(database, stack.write_port, stack.read_port) as service:
        created = await service.create("alone")
        await asyncio.to_thread(stack.standby.kill)
        await eventually("the read route to lose the standby", lambda: not stack.standby.running)
        response = await read(service, created.headers["Location"], created.headers[TOKEN])
        assert response.status_code == 200, response.text
