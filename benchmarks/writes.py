"""What an idempotency key costs a write, side by side on the embedded pair.

Three ways to insert a user, by the same pool settings and through HAProxy, each round one after
the other, in an order that rotates, so that a machine that grows slower meets all three:

- `bare`: BEGIN, INSERT, COMMIT;
- `keyed`: the key claimed in BEGIN's message, and recorded with the result by one statement;
- `shipped`: the same, and the position that makes a consistency token asked for after COMMIT.

`make bench-writes` (ARGS="--rounds 5 --seconds 5"). Data lies in memory, where fsync costs nothing
and the key the most; `--directory DIR` puts it on a disk, with fsync.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import uvloop

from benchmarks.services import migrate
from benchmarks.workloads import rotated
from ops.console import say
from ops.embedded import EmbeddedStack, scratch_directory
from ops.embedded.pair import APP, DATABASE
from service.database import (
    Database,
    DatabaseOptions,
    EndpointOptions,
    IdempotencyKey,
    PlainJson,
    WriteConnection,
    is_transient,
    messages,
    retry_on_failover,
)
from service.database.commit import RECORD, UNTIMED_AHEAD, Commit, Position, Record
from service.database.link import Link
from service.users import queries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CLIENTS = 8
WARM_UP = 2.0
"""Seconds of each way before anything is measured."""

COUNTED = 200
"""Writes of each way whose statements are counted."""

# All but the questions whether an endpoint serves.
CALLS = f"""
    SELECT sum(calls) FROM pg_stat_statements
     WHERE userid = '{APP}'::regrole AND toplevel AND query NOT LIKE 'SHOW %'
"""  # noqa: S608 - a constant

_numbers = itertools.count(1)


class Writes:
    """The ways, each a unit of work like the service's own."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @retry_on_failover(on=is_transient)
    async def bare(self, _: IdempotencyKey) -> None:
        """Insert in a transaction of its own."""
        async with self.database.write() as connection:
            await _insert(connection)

    @retry_on_failover(on=is_transient)
    async def keyed(self, key: IdempotencyKey) -> None:
        """Insert once for the key."""
        await self.database.write_once(key, PlainJson(int), _insert)


@dataclass(frozen=True)
class Way:
    """One way to write; `position`: asked for after COMMIT, as shipped."""

    write: Callable[[IdempotencyKey], Awaitable[None]]
    position: bool
    latencies: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    async def run(self, seconds: float) -> list[float]:
        """Let all clients write for `seconds`; return every write's latency."""
        with ExitStack() as patches:
            if not self.position:
                patches.enter_context(patch.object(Link, "commit", _commit_alone))
            end = time.perf_counter() + seconds
            parts = await asyncio.gather(*(self._client(end) for _ in range(CLIENTS)))
        return [latency for part in parts for latency in part]

    async def measure(self, seconds: float) -> None:
        """Keep one round."""
        latencies = await self.run(seconds)
        self.latencies.extend(latencies)
        self.rates.append(len(latencies) / seconds)

    async def _client(self, end: float) -> list[float]:
        latencies = []
        while (started := time.perf_counter()) < end:
            await self.write(IdempotencyKey.made())
            latencies.append(time.perf_counter() - started)
        return latencies


async def _insert(connection: WriteConnection) -> int:
    number = next(_numbers)
    row = await queries.insert(connection, f"bench-{number}@example.org", "Bench")
    return int(row["id"])


async def _commit_alone(
    link: Link,
    record: Record | None = None,
    *,
    resolvable: bool = False,  # noqa: ARG001
) -> Commit:
    """Commit as `Link.commit` does, and ask for no position."""
    ahead = UNTIMED_AHEAD
    if record is not None:
        stored = await link._prepared(RECORD)  # noqa: SLF001 - what is measured
        ahead = messages.run(stored.get_name(), *record.arguments())
    link._ahead = ahead  # noqa: SLF001
    await link.fetch("COMMIT")
    return Commit(local=False, position=Position(1, 0))


async def count(stack: EmbeddedStack, way: Way) -> tuple[float, float]:
    """Return statements (by pg_stat_statements) and messages that one write takes."""
    sent = 0
    exchange = Link._exchange  # noqa: SLF001 - where every message passes

    async def counted(*args: object) -> object:
        nonlocal sent
        sent += 1
        return await exchange(*args)  # type: ignore[arg-type]

    stack.primary.sql("SELECT pg_stat_statements_reset()")
    with ExitStack() as patches:
        patches.enter_context(patch.object(Link, "_exchange", counted))
        if not way.position:
            patches.enter_context(patch.object(Link, "commit", _commit_alone))
        for _ in range(COUNTED):
            await way.write(IdempotencyKey.made())
    return int(stack.primary.sql(CALLS)) / COUNTED, sent / COUNTED


async def measure(stack: EmbeddedStack, rounds: int, seconds: float) -> None:
    """Measure all ways and print the table."""
    here = "127.0.0.1"
    options = DatabaseOptions(
        write=EndpointOptions(host=here, port=stack.write_port),
        read=EndpointOptions(host=here, port=stack.read_port),
        name=DATABASE,
        user=APP,
    )
    async with Database(options) as database:
        writes = Writes(database)
        ways = {
            "bare": Way(writes.bare, position=False),
            "keyed": Way(writes.keyed, position=False),
            "shipped": Way(writes.keyed, position=True),
        }
        for way in ways.values():
            await way.run(WARM_UP)
        for number in range(rounds):
            for name, way in rotated(list(ways.items()), number):
                await way.measure(seconds)
                say(f"round {number + 1}  {name:<8} {way.rates[-1]:7.0f} writes/s")
        counts = {name: await count(stack, way) for name, way in ways.items()}
    report(ways, counts)


def report(ways: dict[str, Way], counts: dict[str, tuple[float, float]]) -> None:
    """Print medians of the rounds, percentiles of all writes, and ratios to the bare write."""
    bare = ways["bare"]
    say("\n| write | writes/s | ratio | p50 ms | p99 ms | statements | messages |")
    say("|---|---|---|---|---|---|---|")
    for name, way in ways.items():
        ratios = [mine / its for mine, its in zip(way.rates, bare.rates, strict=True)]
        cuts = statistics.quantiles(way.latencies, n=100)
        statements, messages = counts[name]
        say(
            f"| {name} | {statistics.median(way.rates):.0f}"
            f" | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            f" | {cuts[49] * 1000:.2f} | {cuts[98] * 1000:.2f}"
            f" | {statements:.1f} | {messages:.1f} |"
        )


def prepare(stack: EmbeddedStack) -> None:
    """Migrate, and make the primary count statements."""
    migrate(stack)
    stack.primary.sql("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
    stack.primary.stop()
    stack.primary.start()
    stack.primary.wait_streaming(stack.standby)
    stack.set_synchronous(on=True)
    stack.wait_write_route()
    stack.primary.sql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="make bench-writes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each way in each round")
    parser.add_argument("--directory", type=Path, help="on a disk, with fsync; default: in memory")
    options = parser.parse_args()
    with ExitStack() as life:
        durable = options.directory is not None
        directory = options.directory or life.enter_context(scratch_directory())
        stack = life.enter_context(EmbeddedStack(directory, durable=durable))
        prepare(stack)
        uvloop.run(measure(stack, options.rounds, options.seconds))


if __name__ == "__main__":
    main()
