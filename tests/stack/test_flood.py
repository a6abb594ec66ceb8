"""One address that sends all it can, without a rate at the edge: others have their share."""

from __future__ import annotations

import ast

import pytest

from tests.stack.support import docker
from tests.stack.test_hostile import ATTACK_LIMIT, unmoved

REFUSED_MOST = 500
"""Of 2,500 requests at once: an address has 2,000 connections."""

EVEN = 0.9
"""Jain's index of what each of many gets: 1 where all get the same, 1/n where one gets all."""

FLOOD = """
import asyncio, itertools, os
HEAD = b" HTTP/1.1\\r\\nHost: flood\\r\\nContent-Type: application/json\\r\\n"
NUMBERS = itertools.count()
def request(pretends):
    head = HEAD + (b"Authorization: Bearer %d\\r\\n" % pretends if pretends else b"")
    if not WRITES:
        return b"GET /api/users?limit=1" + head + b"\\r\\n"
    who = b"flood-%d-%d" % (os.getpid(), next(NUMBERS)) + os.urandom(4).hex().encode()
    body = b'{"email": "%s@example.org", "name": "Flood"}' % who
    return b"POST /api/users" + head + b"Content-Length: %d\\r\\n\\r\\n" % len(body) + body
async def one(pretends):
    while True:
        try:
            reader, writer = await asyncio.open_connection("vip-access", 8080)
            while True:
                writer.write(b"".join(request(pretends) for _ in range(50)))
                await writer.drain()
                if not await reader.read(1 << 20):
                    break
        except OSError:
            await asyncio.sleep(0.1)
async def main():
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*(one(n if n % 2 else 0) for n in range(200)))
print("begun", flush=True)
asyncio.run(main())
"""
"""Half of it as itself, half as a crowd: with a token a connection, which nobody has made."""

CROWD = """
import asyncio, collections
REQUEST = b"GET /api/users?limit=1 HTTP/1.1\\r\\nHost: crowd\\r\\nConnection: close\\r\\n\\r\\n"
async def one(answers, together):
    reader, writer = await asyncio.open_connection("vip-access", 8080)
    await together.wait()
    writer.write(REQUEST)
    head, _, body = (await reader.read(-1)).partition(b"\\r\\n\\r\\n")
    writer.close()
    answers[int(head.split()[1]), b"application/problem+json" in head] += 1
async def main():
    answers, together = collections.Counter(), asyncio.Barrier(2500)
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*(one(answers, together) for _ in range(2500)))
    print(sorted(answers.items()))
asyncio.run(main())
"""

THOUSAND = """
import asyncio
REQUEST = b"GET /api/users?limit=1 HTTP/1.1\\r\\nHost: thousand\\r\\n\\r\\n"
served = [0] * 1000
async def one(number, together):
    reader, writer = await asyncio.open_connection("vip-access", 8080)
    await together.wait()
    while True:
        writer.write(REQUEST)
        head = (await reader.readuntil(b"\\r\\n\\r\\n")).lower()
        assert head.split()[1] == b"200", head
        length = int(head.partition(b"content-length: ")[2].split(b"\\r\\n")[0])
        await reader.readexactly(length)
        served[number] += 1
async def main():
    together = asyncio.Barrier(1001)
    try:
        async with asyncio.timeout(LIMIT) as limit, asyncio.TaskGroup() as group:
            for number in range(1000):
                group.create_task(one(number, together))
            await together.wait()
            limit.reschedule(asyncio.get_running_loop().time() + SECONDS)
    except TimeoutError:
        print(served)
asyncio.run(main())
"""


def flood(*, writes: bool) -> str:
    """Return the script of a flood of reads or of writes."""
    return FLOOD.replace("WRITES", str(writes))


@pytest.mark.parametrize(
    ("writes", "worst"),
    # A flood of writes takes both cores, PostgreSQL's part among them, whoever gets the answers.
    [(False, 3.0), (True, 5.0)],
    ids=["reads", "writes"],
)
def test_a_flood_is_not_noticed(writes: bool, worst: float) -> None:
    """200 connections of one address, which always have a next request: a neighbour's p99."""
    unmoved(flood(writes=writes), f"a flood of {'writes' if writes else 'reads'}", worst)


def test_a_thousand_clients_share_evenly() -> None:
    """All of them ask again as soon as they are answered: none gets much more than another."""
    code = THOUSAND.replace("LIMIT", str(ATTACK_LIMIT)).replace("SECONDS", "15")
    served: list[int] = ast.literal_eval(docker("exec", "psql-client", "python3", "-c", code))
    index = sum(served) ** 2 / (len(served) * sum(one * one for one in served))
    print(f"{sum(served)} answers, {min(served)} to {max(served)} each, Jain's index {index:.3f}")
    assert min(served) > 0
    assert index > EVEN


def test_of_too_many_at_once_only_the_surplus_is_refused() -> None:
    """2,500 requests of one address at the same time: 2,000 are let in, others may get 429."""
    code = CROWD.replace("LIMIT", str(ATTACK_LIMIT))
    answers = dict(ast.literal_eval(docker("exec", "psql-client", "python3", "-c", code)))
    assert set(answers) <= {(200, False), (429, True)}, answers
    assert answers.get((429, True), 0) <= REFUSED_MOST, answers
