"""`python -m service` with two workers: one port, one set of pools, one answer to each question."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import time
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import httpx
import pytest

from ops.embedded.processes import Stat, children
from service.workers import supervisor
from service.workers.board import SILENT_AFTER
from service.workers.peers import ANSWER
from tests.integration.service_process import DRAIN_DELAY, Running, started
from tests.integration.support import eventually, superuser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import asyncpg

    from ops.embedded import EmbeddedStack

ALONE = {"Connection": "close"}
PROMPT = 2.0  # seconds for an answer that waits for nobody
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


def workers(service: Running) -> list[int]:
    """Return the process ids of the workers."""
    return children(service.process.pid)


@asynccontextmanager
async def two(
    stack: EmbeddedStack, database: str, log: Path, **settings: str
) -> AsyncIterator[Running]:
    """Run an instance with two workers, both of which serve."""
    with TemporaryDirectory(prefix="holdfast-test-") as folder:  # of those killed at the end
        chosen = {"WORKERS": "2", "TMPDIR": folder, **settings}
        async with started(stack, database, log, **chosen) as service:
            await all_serve(service)
            yield service


@pytest.fixture
async def running(stack: EmbeddedStack, database: str, tmp_path: Path) -> AsyncIterator[Running]:
    """Run an instance with two workers, both of which serve."""
    async with two(stack, database, tmp_path / "service.log") as service:
        yield service


async def ask(service: Running, path: str) -> httpx.Response:
    """GET on a connection of its own, which any worker may accept."""
    return await service.client.get(f"{service.url}{path}", headers=ALONE, timeout=PROMPT)


async def all_serve(service: Running) -> None:
    """Wait until each worker does."""

    async def ok() -> bool:
        try:
            health = (await ask(service, "/health")).json()
        except httpx.TransportError:
            return False
        return bool(health["workers"] == ["ok", "ok"])

    await eventually("both workers to serve", ok)


async def metrics(service: Running) -> dict[tuple[str, str], float]:
    """Return all samples of /metrics, by name and labels."""
    text = (await ask(service, "/metrics")).text
    return {(name, labels): float(value) for name, labels, value in SAMPLE.findall(text)}


async def total(service: Running, name: str, label: str = "") -> float:
    """Return the sum of a metric's samples with such a label."""
    found = await metrics(service)
    return sum(value for (each, labels), value in found.items() if each == name and label in labels)


async def test_either_serves_on_the_one_port(running: Running) -> None:
    """While one stands still the other takes new connections, whichever it is."""
    first, second = workers(running)
    for pid in (first, second):
        os.kill(pid, signal.SIGSTOP)
        try:
            for _ in range(5):
                assert (await ask(running, "/api/users")).status_code == 200
        finally:
            os.kill(pid, signal.SIGCONT)


async def test_metrics_are_the_instances(running: Running) -> None:
    """Any worker tells what both have done; what is of a process is told of each."""
    assert {(await ask(running, "/api/users")).status_code for _ in range(40)} == {200}
    for _ in range(10):
        count = "holdfast_http_request_duration_seconds_count"
        assert await total(running, count, 'route="/api/users"') == 40
    found = await metrics(running)
    assert found["holdfast_workers", ""] == 2
    assert found["holdfast_workers_replaced_total", ""] == 0
    assert found["holdfast_http_requests_in_flight", ""] == 1  # this one
    assert found["holdfast_database_endpoint_serving", 'role="write"'] == 1
    assert {labels for name, labels in found if name == "process_resident_memory_bytes"} == {
        'worker="0"',
        'worker="1"',
    }


async def test_one_worker_tells_what_it_always_told(
    stack: EmbeddedStack, database: str, tmp_path: Path
) -> None:
    """One process, no supervisor, no labels and fields that only several have."""
    async with started(stack, database, tmp_path / "log") as service:
        await service.wait_health(200)
        assert workers(service) == []
        assert "workers" not in (await ask(service, "/health")).json()
        found = await metrics(service)
        assert found["holdfast_workers", ""] == 1
        assert ("process_resident_memory_bytes", "") in found


async def test_names_are_the_same_with_one_and_with_two(
    stack: EmbeddedStack, database: str, tmp_path: Path, running: Running
) -> None:
    """Nothing that scrapes changes, nor the types."""

    async def types(service: Running) -> set[str]:
        lines = (await ask(service, "/metrics")).text.splitlines()
        return {line for line in lines if line.startswith("# ")}

    of_two = await types(running)
    os.kill(running.process.pid, signal.SIGINT)
    await running.ended()
    async with started(stack, database, tmp_path / "one.log") as service:
        await service.wait_health(200)
        assert await types(service) == of_two


@asynccontextmanager
async def waiting_writes(
    service: Running, admin: asyncpg.Connection, number: int
) -> AsyncIterator[list[asyncio.Task[httpx.Response]]]:
    """Send writes, each on its own connection, that wait for the block to end."""
    async with asyncio.TaskGroup() as group, httpx.AsyncClient(timeout=30) as client:
        transaction = admin.transaction()
        await transaction.start()
        await admin.execute("LOCK TABLE users IN EXCLUSIVE MODE")

        def write(each: int) -> asyncio.Task[httpx.Response]:
            body = {"email": f"waits-{each}@example.com", "name": "Waits"}
            return group.create_task(client.post(f"{service.url}/api/users", json=body))

        tasks = [write(each) for each in range(number)]
        try:
            await service.wait_in_flight(number)
            yield tasks
        finally:
            await transaction.rollback()
            await asyncio.wait(tasks)


async def test_pools_are_the_instances(
    stack: EmbeddedStack,
    database: str,
    tmp_path: Path,
    admin: asyncpg.Connection,
    onlooker: asyncpg.Connection,
) -> None:
    """Two workers have three connections for writes together, if three is what was said."""
    pools = {f"DB_{role}_POOL_{end}": "3" for role in ("WRITE", "READ") for end in ("MIN", "MAX")}

    async def sessions() -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'app1/write'"
        return int(await onlooker.fetchval(query))

    async def full() -> bool:
        return await sessions() == 3

    async with two(stack, database, tmp_path / "log", **pools) as service:
        for role in ("write", "read"):
            limit = "holdfast_database_pool_limit"
            assert await total(service, limit, f'role="{role}"') == 3
        await eventually("three sessions", full)
        async with waiting_writes(service, admin, 20) as tasks:
            assert await sessions() == 3
        assert {task.result().status_code for task in tasks} == {201}
        assert await sessions() == 3


async def test_a_killed_worker_is_replaced(running: Running, onlooker: asyncpg.Connection) -> None:
    """What was acknowledged is there, once; a scraper sees the end, and no counter go back."""
    done = asyncio.Event()
    acknowledged: list[str] = []

    async def write(each: int) -> None:
        for number in range(10_000):
            email = f"kept-{each}-{number}@example.com"
            while not await sent(running, email):
                pass
            acknowledged.append(email)
            if done.is_set():
                return

    async def until(count: int) -> None:
        await eventually(f"{count} writes", lambda: len(acknowledged) >= count)

    async with asyncio.TaskGroup() as group:
        for each in range(6):
            group.create_task(write(each))
        scraper = group.create_task(never_back(running, done))
        await until(50)
        for kills, pid in enumerate(workers(running), 1):
            os.kill(pid, signal.SIGKILL)

            async def replaced(kills: int = kills) -> bool:
                try:
                    return await total(running, "holdfast_workers_replaced_total") == kills
                except httpx.TransportError:
                    return False  # it had asked the one that was killed

            await eventually("the replacement to be counted", replaced)
            await all_serve(running)
            await until(len(acknowledged) + 50)
        done.set()
    assert scraper.result() > 10
    found = await onlooker.fetch("SELECT email FROM users WHERE email LIKE 'kept-%'")
    assert sorted(row["email"] for row in found) == sorted(acknowledged)
    assert await total(running, "holdfast_workers") == 2


async def sent(service: Running, email: str) -> bool:
    """Say whether a write with a key of its own was acknowledged."""
    body, headers = {"email": email, "name": "Kept"}, {"Idempotency-Key": email, **ALONE}
    try:
        answer = await service.client.post(f"{service.url}/api/users", json=body, headers=headers)
    except httpx.TransportError:
        return False  # its worker was killed
    assert answer.status_code == 201, answer.text
    return True


async def never_back(service: Running, done: asyncio.Event) -> int:
    """Scrape until `done`; return how often. What is of a process may end with it."""
    before: dict[tuple[str, str], float] = {}
    scrapes = 0
    while not done.is_set():
        try:
            found = await metrics(service)
        except httpx.TransportError:
            continue  # it had asked the one that was killed
        scrapes += 1
        for key, value in before.items():
            name = key[0]
            if name.endswith(("_total", "_count", "_bucket")) and not name.startswith("process_"):
                assert found.get(key, 0) >= value, key
        before |= found
    return scrapes


def refuses(where: tuple[str, int]) -> bool:
    """Whether nobody listens there."""
    try:
        socket.create_connection(where, timeout=2).close()
    except ConnectionRefusedError:
        return True
    return False


async def test_both_stop_in_order(
    stack: EmbeddedStack, database: str, running: Running, admin: asyncpg.Connection
) -> None:
    """SIGTERM: no worker is in rotation any more, both serve on, in-flight finished, code 0."""
    async with waiting_writes(running, admin, 8) as tasks:
        asked = time.monotonic()
        os.killpg(running.process.pid, signal.SIGTERM)  # to all of them, as systemd sends it
        await running.wait_health(503)
        for _ in range(20):
            assert (await ask(running, "/health")).json()["status"] == "draining"
            assert (await ask(running, "/api/users")).status_code == 200
        assert time.monotonic() - asked < DRAIN_DELAY, "too slow to see the delay"
        await running.wait_health(None)
        assert time.monotonic() - asked >= DRAIN_DELAY
        assert running.process.running
        # The first of them may have let one go that the other would still have taken.
        await eventually("the port to be closed", lambda: refuses(address(running)))
        assert not any(task.done() for task in tasks)
    assert {task.result().status_code for task in tasks} == {201}
    assert await running.ended() == 0
    async with superuser(stack, database) as onlooker:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'app1/%'"

        async def none_left() -> bool:
            return bool(await onlooker.fetchval(query) == 0)

        await eventually("its sessions to end", none_left)


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]])
async def test_impatience_skips_the_delay(
    stack: EmbeddedStack, database: str, tmp_path: Path, signals: list[signal.Signals]
) -> None:
    """Ctrl-C, or a second SIGTERM, in order all the same."""
    async with two(stack, database, tmp_path / "log", DRAIN_DELAY="3600") as service:
        for each in signals[:-1]:
            os.kill(service.process.pid, each)
            await service.wait_health(503)
        os.kill(service.process.pid, signals[-1])
        assert await service.ended() == 0


async def test_workers_end_with_their_supervisor(running: Running) -> None:
    """Killed, it can tell nobody: each notices, drains, and the port is free."""
    left = workers(running)
    folders = folders_of(left[0])
    assert len(folders) == 1
    os.kill(running.process.pid, signal.SIGKILL)
    await running.wait_health(503)
    assert (await ask(running, "/api/users")).status_code == 200
    await eventually("both to end", lambda: not any(Stat.read(pid) for pid in left))
    with socket.create_server(address(running)):
        pass
    assert not any(folder.exists() for folder in folders)


def address(service: Running) -> tuple[str, int]:
    """Return where the service listens."""
    return "127.0.0.1", int(service.url.rpartition(":")[2])


def folders_of(pid: int) -> set[Path]:
    """Return the folders of the sockets that a process has made."""
    inodes = {str(each.readlink())[8:-1] for each in descriptors(pid)}
    lines = (line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:])
    return {Path(line[7]).parent for line in lines if len(line) == 8 and line[6] in inodes}


def descriptors(pid: int) -> Iterator[Path]:
    """Return what a process has open, of sockets."""
    for each in Path(f"/proc/{pid}/fd").iterdir():
        if str(each.readlink()).startswith("socket:"):
            yield each


async def test_a_worker_that_stands_still_is_replaced(running: Running) -> None:
    """/health and /metrics are answered meanwhile, and say so; the instance stays in rotation."""
    stuck, other = workers(running)
    os.kill(stuck, signal.SIGSTOP)
    stopped = time.monotonic()

    async def silent() -> bool:
        health = await ask(running, "/health")
        assert health.status_code == 200
        assert health.elapsed.total_seconds() < ANSWER
        return sorted(health.json()["workers"]) == ["ok", "silent"]

    await eventually("it to be called silent", silent)
    assert time.monotonic() - stopped > SILENT_AFTER / 2
    assert (await ask(running, "/health")).json()["status"] == "degraded"
    found = await metrics(running)
    assert found["holdfast_workers", ""] == 1
    assert found["holdfast_workers_unanswered_total", ""] == 1
    await eventually("it to be killed", lambda: Stat.read(stuck) is None)
    assert time.monotonic() - stopped < (supervisor.SILENT_MOST + 3) * supervisor.LOOK
    await all_serve(running)
    assert other in workers(running)
    assert await total(running, "holdfast_workers_replaced_total") == 1


async def test_a_worker_that_stands_still_does_not_hold_up_the_end(
    stack: EmbeddedStack, database: str, tmp_path: Path
) -> None:
    """It is killed once its time is over, and the exit code says that not all ended well."""
    short = {"REQUEST_DEADLINE": "0.5", "SHUTDOWN_TIMEOUT": "2.5", "DRAIN_DELAY": "0"}
    async with two(stack, database, tmp_path / "log", **short) as service:
        os.kill(workers(service)[0], signal.SIGSTOP)
        os.kill(service.process.pid, signal.SIGTERM)
        assert await service.ended() != 0
    assert "worker does not answer: killed" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"WORKERS": "0"}, "WORKERS should be greater than or equal to 1."),
        ({"WORKERS": "many"}, "WORKERS should be a valid integer"),
        (
            {"WORKERS": "11", "DB_WRITE_POOL_MAX": "10", "DB_READ_POOL_MAX": "20"},
            "WORKERS (11) must not exceed DB_WRITE_POOL_MAX (10)",
        ),
        (
            {"WORKERS": "2", "ACCESS": "all", "ACCESS_TOKENS_FILE": "/nowhere/tokens"},
            "ACCESS is all, but ACCESS_TOKENS_FILE",
        ),
    ],
)
async def test_a_bad_setting_is_told_once(
    stack: EmbeddedStack, database: str, tmp_path: Path, settings: dict[str, str], sentence: str
) -> None:
    """One line, and exit code 2: no worker was started that could repeat it."""
    log = tmp_path / "log"
    async with started(stack, database, log, **settings) as service:
        assert await service.ended() == 2
    (line,) = log.read_text().splitlines()
    assert line.startswith(sentence)


async def test_a_port_that_is_taken_is_told_once(
    stack: EmbeddedStack, database: str, tmp_path: Path
) -> None:
    """As JSON, and the process ends."""
    log = tmp_path / "log"
    with socket.create_server(("127.0.0.1", stack.ports.app1)):
        async with started(stack, database, log, WORKERS="2") as service:
            assert await service.ended() == 1
    (line,) = log.read_text().splitlines()
    assert "in use" in json.loads(line)["error"]


async def test_lines_of_all_are_json(stack: EmbeddedStack, database: str, tmp_path: Path) -> None:
    """The supervisor's and the workers', to the last."""
    log = tmp_path / "log"
    async with two(stack, database, log) as service:
        await asyncio.gather(*(ask(service, "/api/users") for _ in range(50)))
        os.kill(service.process.pid, signal.SIGINT)
        await service.ended()
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert events.count("request") == 50
    assert [events.count(f"worker {what}") for what in ("started", "ended")] == [2, 2]
