"""What a pooler is for: 2,000 clients with sessions of their own, at a PostgreSQL that takes 100.

    python -m benchmarks.connections

Each client does as a serverless function does: it logs in, makes a request, goes on with something
else for a few seconds with its session open, makes another one, and leaves; then another begins.
On the embedded pair, at the write port, three times: PostgreSQL itself, HAProxy as deployed before
it, and HAProxy with PgBouncer behind it. Logins are in clear text and without passwords here.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncpg
import uvloop

from benchmarks.machine import raise_file_limit
from ops.embedded import EmbeddedStack, scratch_directory
from ops.embedded.pair import APP, DATABASE
from ops.settings import POOLED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_CONNECTIONS = 100
STAY = (4.0, 6.0)  # seconds that a client keeps its session between its two requests
PATIENCE = 10.0  # seconds for a login and a request
PAUSE = 1.0  # seconds until the next client comes where one was refused
TABLE = f"CREATE TABLE visits (client int, at timestamptz); GRANT ALL ON visits TO {APP}"
WRITE = "INSERT INTO visits VALUES ($1, now())"
READ = "SELECT count(*) FROM visits WHERE client = $1"
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'"


@dataclass
class Told:
    """What clients were told."""

    served: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    first: list[float] = field(default_factory=list)  # seconds for a login and its first request
    second: list[float] = field(default_factory=list)  # for another request on that session
    most: int = 0  # sessions of PostgreSQL at a time, as sampled


async def client(number: int, port: int, end: float, told: Told) -> None:
    """Come, ask, stay, ask, leave; and again, until the end."""
    await asyncio.sleep(random.uniform(0, STAY[1]))  # noqa: S311 - they do not come at once
    while time.monotonic() < end:
        begun, connection = time.monotonic(), None
        try:
            async with asyncio.timeout(PATIENCE):
                connection = await asyncpg.connect(
                    host="127.0.0.1", port=port, user=APP, database=DATABASE, ssl=False
                )
                await connection.execute(WRITE, number)
            told.first.append(time.monotonic() - begun)
            told.served += 1
            await asyncio.sleep(random.uniform(*STAY))  # noqa: S311
            begun = time.monotonic()
            async with asyncio.timeout(PATIENCE):
                await connection.fetchval(READ, number)
            told.second.append(time.monotonic() - begun)
            told.served += 1
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            told.refused[getattr(error, "sqlstate", None) or type(error).__name__] += 1
            await asyncio.sleep(PAUSE)
        finally:
            if connection is not None:
                connection.terminate()


async def load(port: int, clients: int, seconds: float, sessions: Callable[[], int]) -> Told:
    """Let them come for so long."""
    told, end = Told(), time.monotonic() + seconds

    async def watch() -> None:
        while True:
            told.most = max(told.most, await asyncio.to_thread(sessions))
            await asyncio.sleep(1)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(client(number, port, end, told) for number in range(clients)))
    watching.cancel()
    return told


def measure(
    *, pooler: bool, clients: int, seconds: float, ports: tuple[str, ...]
) -> Iterator[tuple[str, Told]]:
    """Measure one stack at each of these ports, by the names that they have here."""
    with scratch_directory() as directory, EmbeddedStack(directory, pooler=pooler) as stack:
        stack.primary.sql(f"ALTER SYSTEM SET max_connections = {MAX_CONNECTIONS}")
        stack.primary.stop()
        stack.primary.start()
        stack.primary.sql(TABLE, DATABASE)
        if pooler:
            stack.haproxy.stop()
            stack.haproxy.start(variables={"PG_PLACES": POOLED["NODE_PLACES"]})
        stack.wait_write_route()
        there = {"PostgreSQL": stack.primary.port, "HAProxy": stack.write_port}

        def sessions() -> int:
            try:
                return int(stack.primary.sql(SESSIONS.format(APP)))
            except Exception:  # noqa: BLE001 - no place for one more: all are taken
                return MAX_CONNECTIONS

        for name in ports:
            yield name, uvloop.run(load(there[name], clients, seconds, sessions))


def row(name: str, told: Told, seconds: float) -> str:
    """Return a line of the table."""
    refused = ", ".join(f"{kind} {count:,}" for kind, count in told.refused.most_common(3))
    return (
        f"| {name} | {told.served / seconds:,.0f} | {sum(told.refused.values()):,} | {told.most} | "
        f"{_times(told.first)} | {_times(told.second)} | {refused or '-'} |"
    )


def _times(seconds: list[float]) -> str:
    if len(seconds) < 2:  # noqa: PLR2004 - a quantile needs them
        return "-"
    cuts = statistics.quantiles(seconds, n=100)
    return f"{cuts[49] * 1000:,.0f} / {cuts[98] * 1000:,.0f}"


def main() -> None:
    """Measure all three ways."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.connections", description=__doc__)
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=30)
    asked = parser.parse_args()
    raise_file_limit()
    print(f"{asked.clients} clients, max_connections {MAX_CONNECTIONS}, {asked.seconds:g} s each")
    print("| at | requests/s | refused | sessions | login and request, ms p50 / p99 | on it | by |")
    print("|---|---|---|---|---|---|---|")
    for pooler, ports in ((False, ("PostgreSQL", "HAProxy")), (True, ("HAProxy",))):
        found = measure(pooler=pooler, clients=asked.clients, seconds=asked.seconds, ports=ports)
        for name, told in found:
            print(row(f"{name} and PgBouncer" if pooler else name, told, asked.seconds), flush=True)


if __name__ == "__main__":
    main()
