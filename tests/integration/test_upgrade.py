"""From PostgreSQL 17 to 18, as docs/upgrade.md says: nothing is lost, and nobody is refused."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import pytest

from ops.embedded import EmbeddedStack, scratch_directory
from ops.embedded.majors import MAJORS
from tests.integration.service_process import Running, started
from tests.integration.support import alembic, eventually
from tests.integration.twins import KEY, REPLAYED, TOKEN, problem
from tests.integration.upgrade import Upgrade, migrations_at, statements, upgraded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ops.embedded import Node
    from ops.embedded.pair import Pair
CLIENTS = 4
ROWS = """
SELECT json_agg(u ORDER BY id)::text FROM users AS u;
SELECT sequencename, last_value FROM pg_sequences ORDER BY 1;
SELECT id FROM database_history
"""
RIGHTS = """
WITH owned AS (
    SELECT relname AS name, relowner AS owner, relnamespace AS space,
           coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char",
                                       relowner)) AS acl
      FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'S')
    UNION ALL
    SELECT oid::regprocedure::text, proowner, pronamespace,
           coalesce(proacl, acldefault('f', proowner)) FROM pg_proc
)
SELECT name, owner::regrole, grantee::regrole, privilege_type
  FROM owned CROSS JOIN LATERAL aclexplode(acl)
 WHERE space IN ('public'::regnamespace, 'audit'::regnamespace) OR name LIKE 'pg_stat_file(%'
 ORDER BY 1, 2, 3, 4
"""
SEGMENT = "SELECT pg_walfile_name(pg_current_wal_flush_lsn())"
DEADLINE = 15.0  # seconds that a request waits at most for a node that takes writes


@dataclass
class Client:
    """Creates users and renames each once, one request after the other, never sending one again."""

    name: str
    url: str
    stop: asyncio.Event
    answers: dict[str, httpx.Response] = field(default_factory=dict)  # by key
    longest: float = 0.0  # seconds

    async def run(self) -> None:
        """Write until it is told to stop."""
        async with httpx.AsyncClient(base_url=self.url, timeout=3 * DEADLINE) as http:
            while not self.stop.is_set():
                name = f"{self.name}-{len(self.answers)}"
                body = {"email": f"{name}@example.com", "name": name}
                made = await self._send(http, "POST", "/api/users", f"{name}-made", body)
                if made.status_code == 201:
                    await self._send(
                        http, "PATCH", f"/api/users/{made.json()['id']}", f"{name}-named",
                        {"name": f"{name} renamed"},
                    )  # fmt: skip

    async def again(self, key: str) -> httpx.Response:
        """Send the request of a key once more."""
        first = self.answers[key].request
        async with httpx.AsyncClient(timeout=DEADLINE) as http:
            return await http.request(
                first.method, first.url, content=first.content, headers=first.headers
            )

    async def _send(
        self, http: httpx.AsyncClient, method: str, path: str, key: str, body: dict[str, str]
    ) -> httpx.Response:
        begun = time.monotonic()
        answer = await http.request(method, path, json=body, headers={KEY: f'"{key}"'})
        self.longest = max(self.longest, time.monotonic() - begun)
        self.answers[key] = answer
        return answer


@pytest.fixture
def old() -> Iterator[EmbeddedStack]:
    """A pair of 17 behind HAProxy, migrated."""
    with scratch_directory() as directory, EmbeddedStack(directory, major=MAJORS[17]) as stack:
        done = alembic(stack, "upgrade", "head")
        assert done.returncode == 0, done.stderr
        yield stack


@pytest.fixture
def new() -> Iterator[Pair]:
    """A pair of 18 that no client knows, empty."""
    with scratch_directory() as directory, EmbeddedStack(directory, major=MAJORS[18]) as stack:
        yield stack


async def test_an_upgrade_loses_nothing_and_refuses_nobody(
    old: EmbeddedStack, new: Pair, tmp_path: Path
) -> None:
    """Clients that never retry write all the while; what they were told is so afterwards."""
    upgrade = Upgrade(old, new)
    await asyncio.to_thread(upgrade.log_logically)
    stop = asyncio.Event()
    async with started(old, "holdfast", tmp_path / "service.log") as service:
        await service.wait_health(200)
        clients = [Client(f"c{each}", service.url, stop) for each in range(CLIENTS)]
        async with asyncio.TaskGroup() as writing:
            for client in clients:
                writing.create_task(client.run())
            await written(clients, 20)
            await asyncio.to_thread(prepare, upgrade)
            await written(clients, 20)
            await asyncio.to_thread(cut_over, upgrade)
            before = {key: answer for each in clients for key, answer in each.answers.items()}
            await written(clients, 20)
            stop.set()
        assert [title for title in statements() if title not in upgrade.done] == []
        assert_nobody_refused(clients)
        assert_each_once(new, clients)
        await assert_known(clients, before)
        await assert_tokens(service, before)
    assert new.primary.sql("SHOW server_version_num")[:2] == "18"
    done = migrations_at(new.primary.port)
    assert done.returncode == 0, done.stderr


def prepare(upgrade: Upgrade) -> None:
    """What takes as long as it takes, while clients write."""
    upgrade.copy_schema()
    old, new = (pair.primary.sql(RIGHTS, "holdfast") for pair in (upgrade.old, upgrade.new))
    assert old == new
    upgrade.follow("publish")
    upgrade.follow("subscribe", source=f"host=127.0.0.1 port={upgrade.old.primary.port}")
    upgrade.wait("is all copied?")
    upgrade.follow("statistics")


def cut_over(upgrade: Upgrade) -> None:
    """What clients wait for."""
    upgrade.follow("no more writes")
    upgrade.follow("end the sessions of before")
    upgrade.wait("are they gone?")
    upgrade.wait("is all over there?")
    upgrade.copy_sequences()
    there, here = upgrade.counted()
    assert there == here
    upgrade.follow("on its own")
    upgrade.take_the_place()


async def written(clients: list[Client], number: int) -> None:
    """Wait until each client has so many more answers."""
    enough = {client.name: len(client.answers) + number for client in clients}
    await eventually(
        f"{number} more answers for each",
        lambda: all(len(client.answers) >= enough[client.name] for client in clients),
    )


def assert_nobody_refused(clients: list[Client]) -> None:
    """Every write was applied, and none took longer than a failover may."""
    refused = {
        key: (answer.status_code, answer.text)
        for client in clients
        for key, answer in client.answers.items()
        if answer.status_code not in {200, 201}
    }
    assert refused == {}
    longest = max(client.longest for client in clients)
    print(f"longest wait of a client: {longest:.1f} s")
    assert longest < DEADLINE


def assert_each_once(new: Pair, clients: list[Client]) -> None:
    """Of every acknowledged write there is one change in the audit, and no other is there."""
    acknowledged = sorted(
        f"{answer.json()['id']}|{'insert' if key.endswith('-made') else 'update'}"
        for client in clients
        for key, answer in client.answers.items()
    )
    text = "SELECT entity_id, action FROM audit_log WHERE request_id IS NOT NULL"
    assert sorted(new.primary.sql(text, "holdfast").splitlines()) == acknowledged
    renamed = "SELECT count(*) FROM users WHERE name LIKE '% renamed'"
    assert int(new.primary.sql(renamed, "holdfast")) == sum(
        each.endswith("|update") for each in acknowledged
    )


async def assert_known(clients: list[Client], before: dict[str, httpx.Response]) -> None:
    """A key of before is known: the write is answered as the first time, and not applied again."""
    for client in clients:
        for key in [key for key in client.answers if key in before][-6:]:
            again = await client.again(key)
            assert again.headers.get(REPLAYED) == "true", again.text
            assert again.json() == before[key].json()


async def assert_tokens(service: Running, before: dict[str, httpx.Response]) -> None:
    """A token of before is of another history, and refused as such; a new one is good."""
    token = next(reversed(before.values())).headers[TOKEN]
    refused = await service.client.get(f"{service.url}/api/users", headers={TOKEN: token})
    assert (refused.status_code, problem(refused)) == (409, "consistency-token-of-another-history")
    body = {"email": "after@example.com", "name": "after"}
    made = await service.client.post(f"{service.url}/api/users", json=body)
    assert made.status_code == 201
    good = {TOKEN: made.headers[TOKEN]}
    read = await service.client.get(f"{service.url}/api/users/{made.json()['id']}", headers=good)
    assert read.status_code == 200


def test_pg_upgrade_keeps_what_there_is_and_leaves_the_timeline(old: EmbeddedStack) -> None:
    """Rows, sequences, rights, migrations are as before; tokens have to end, on timeline 1."""
    old.switchover()  # to timeline 2
    before, segment = kept(old.primary), old.primary.sql(SEGMENT)
    old.standby.stop()
    old.primary.stop()
    new = upgraded(old)
    new.start()
    try:
        assert new.sql("SHOW server_version_num")[:2] == "18"
        assert kept(new) == before
        assert migrations_at(new.port).returncode == 0
        assert (segment[:8], new.sql(SEGMENT)[:8]) == ("00000002", "00000001")
    finally:
        new.stop("immediate")


def kept(node: Node) -> str:
    """Describe what is in the database: rows, where sequences stand, who may do what."""
    return f"{node.sql(ROWS, 'holdfast')}\n{node.sql(RIGHTS, 'holdfast')}"
