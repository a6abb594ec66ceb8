"""What HAProxy knows of the nodes, by the session that nodes.lua keeps to each."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from itertools import cycle, repeat
from typing import TYPE_CHECKING

import pytest

from ops.embedded.haproxy import CONFIGURATION, NODES
from tests.integration.support import eventually, superuser, through

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from ops.embedded import EmbeddedStack
    from ops.embedded.postgres import Node

BOTH = {"postgres1", "postgres2"}
ROLE = "holdfast_check"
AGE = 5.0  # seconds that a session of nodes.lua lasts at most
GRACE = 5.0  # seconds that an answer may take on a busy machine
SESSION = "SELECT pid FROM pg_stat_activity WHERE usename = 'holdfast_check'"
LOGINS = "SELECT sessions FROM pg_stat_database WHERE datname = 'postgres'"


async def looks(seconds: float) -> AsyncIterator[None]:
    """Look again and again, for so long."""
    until = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < until:
        yield
        await asyncio.sleep(0.02)


@contextmanager
def no_more_logins(node: Node, attribute: str, otherwise: str) -> Iterator[None]:
    """Change the check's role at the primary, and back."""
    node.sql(f"ALTER ROLE {ROLE} {attribute}")
    try:
        yield
    finally:
        node.sql(f"ALTER ROLE {ROLE} {otherwise}")


def test_it_tells_what_a_node_says_of_itself(stack: EmbeddedStack) -> None:
    """Writable is who accepts writes; the other one answers; of other names nothing is known."""
    stack.wait_write_route()
    assert stack.haproxy.known(stack.primary.name) == "writable"
    assert stack.haproxy.known(stack.standby.name) == "read-only"
    assert stack.haproxy.known("postgres9") == "down: nothing is known"
    assert stack.haproxy.known("") == "down: nothing is known"


async def test_a_check_is_no_login(stack: EmbeddedStack) -> None:
    """A session is kept and asked, and is a new one after AGE.

    Two backends with a login for each check had four a second, each a process of the server's.
    """
    async with superuser(stack, "postgres") as onlooker:

        async def another() -> bool:
            return await onlooker.fetchval(SESSION) not in {first, None}

        first = await onlooker.fetchval(SESSION)
        await eventually("a new session", another)
        before = await onlooker.fetchval(LOGINS)
        await asyncio.sleep(2 * AGE)  # the span in which they are counted
        assert await onlooker.fetchval(LOGINS) - before <= 4


def test_who_is_logged_in_says_nothing_of_who_would_be(disturbed_stack: EmbeddedStack) -> None:
    """A node that lets nobody log in is down, though the session that is open answers."""
    stack = disturbed_stack
    with no_more_logins(stack.primary, "NOLOGIN", "LOGIN"):
        stack.haproxy.wait_up("pg_any", set())  # the standby's roles are the primary's
        stack.haproxy.wait_up("pg_primary", set())  # it asks at moments of its own
        found = stack.haproxy.statistics("pg_primary")[stack.primary.name]
        assert found["check_status"] == "L7RSP"
        assert f'role "{ROLE}" is not permitted to log in' in found["last_chk"]
    stack.haproxy.wait_up("pg_any", BOTH)
    stack.wait_write_route()


async def test_no_place_for_one_more_is_not_down(disturbed_stack: EmbeddedStack) -> None:
    """Where no session can be added (53300) the one that is open tells; without one, it is busy.

    A busy node answers reads. Whether it accepts writes nobody knows.
    """
    stack = disturbed_stack
    node = stack.primary
    with no_more_logins(node, "CONNECTION LIMIT 0", "CONNECTION LIMIT 20"):
        async with superuser(stack, "postgres") as onlooker:
            first = await onlooker.fetchval(SESSION)
            async for _ in looks(2 * AGE):
                assert await asyncio.to_thread(stack.haproxy.known, node.name) == "writable"
            assert await onlooker.fetchval(SESSION) == first
        assert stack.haproxy.up("pg_primary") == {node.name}
        assert stack.haproxy.up("pg_any") == BOTH
        stack.haproxy.stop()
        stack.haproxy.start()
        stack.haproxy.wait_up("pg_primary", set())
        stack.haproxy.wait_up("pg_any", BOTH)
        assert stack.haproxy.known(node.name) == "busy"
    stack.wait_write_route()


NOT_POSTGRESQL: dict[str, Iterable[bytes]] = {
    "nothing": [],
    "another protocol": [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
    "a message without an end": [b"D" + struct.pack(">I", 2**31)],
    "a length that cannot be": [b"D" + struct.pack(">I", 0)],
    "half a message": [b"R" + struct.pack(">I", 8) + b"\0\0"],
    "a row without a column": [b"D" + struct.pack(">I", 6) + b"\0\0"],
    "notices for ever": repeat(b"N" + struct.pack(">I", 5) + b"\0"),
}
"""What somebody else may say to a login, in turn."""

READY = b"Z" + struct.pack(">I", 5) + b"I"
GREETING = b"R" + struct.pack(">II", 8, 0) + READY
ROW = b"D" + struct.pack(">IHI", 12, 1, 2) + b"on" + READY
"""What PostgreSQL says to a login, and a standby to the question."""


@asynccontextmanager
async def somebody(
    said: Iterable[bytes], refuses: Iterable[bool] | None = None
) -> AsyncIterator[int]:
    """Listen, and say this to everyone; yields the port.

    With `refuses` (by whose turn it is, over and over) it is said as PostgreSQL would: after a
    greeting, and again to each question.
    """
    turns = cycle(refuses or [False])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.append(asyncio.current_task())
        with suppress(ConnectionError):
            await reader.read(1000)
            if not next(turns):
                if refuses:
                    writer.write(GREETING)
                for part in said:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)  # a drain that need not wait lets nobody else run
                while await reader.read(1000):
                    writer.writelines(said if refuses else [])
        writer.close()

    callers: list[asyncio.Task[None] | None] = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    await asyncio.wait([task for task in callers if task is not None], timeout=GRACE)


@pytest.mark.parametrize("said", NOT_POSTGRESQL.values(), ids=NOT_POSTGRESQL.keys())
async def test_who_is_no_postgresql_is_down(
    disturbed_stack: EmbeddedStack, said: Iterable[bytes]
) -> None:
    """Whatever a stranger at a node's address says, he is down, and the others are looked at."""
    stack = disturbed_stack
    async with somebody(said) as port:
        stack.haproxy.stop()
        stack.haproxy.start(variables={"POSTGRES3_ADDRESS": f"127.0.0.1:{port}"})
        await eventually("a word on him", lambda: asked_is_down(stack, "postgres3"))
        stack.wait_write_route()
        stack.haproxy.wait_up("pg_any", BOTH)
        stack.haproxy.stop()  # `disturbed_stack` starts it anew, as it is deployed


async def test_who_accepts_writes_is_known_at_once(disturbed_stack: EmbeddedStack) -> None:
    """Who begins to gets them, who ceases to gets none, and not only after the next check."""
    stack = disturbed_stack
    often = "fastinter 50ms downinter 500ms fall 2"
    text = CONFIGURATION.read_text()
    assert text.count(often) == 1
    stack.haproxy.stop()
    stack.haproxy.start(text.replace(often, "fastinter 50ms downinter 1h fall 10000"))
    stack.wait_write_route()
    stack.haproxy.wait_up("pg_primary_guests", {stack.primary.name})
    session = await through(stack.write_port)
    stack.failover()
    stack.wait_write_route()
    stack.haproxy.wait_up("pg_primary_guests", {stack.primary.name})
    await eventually("the session's end", session.is_closed)
    session = await through(stack.write_port)
    stack.primary.sql("ALTER SYSTEM SET default_transaction_read_only = on")
    stack.primary.reload("default_transaction_read_only", "on")
    stack.haproxy.wait_up("pg_primary", set())
    await eventually("the session's end", session.is_closed)
    stack.primary.release()
    stack.wait_write_route()
    stack.haproxy.stop()


async def test_one_login_that_fails_is_not_down(disturbed_stack: EmbeddedStack) -> None:
    """Who refuses each second login stays known: the next one tells, and the session till then."""
    stack = disturbed_stack
    age = f"local AGE = {AGE}"
    text = NODES.read_text()
    assert text.count(age) == 1
    async with somebody([ROW], refuses=[False, True]) as port:
        stack.haproxy.stop()
        stack.haproxy.start(
            nodes=text.replace(age, "local AGE = 0.2"),
            variables={"POSTGRES3_ADDRESS": f"127.0.0.1:{port}"},
        )
        await eventually("a look at him", lambda: is_known(stack, "postgres3", "read-only"))
        async for _ in looks(AGE):
            assert await asyncio.to_thread(stack.haproxy.known, "postgres3") == "read-only"
        stack.haproxy.stop()


async def test_a_fault_of_its_own_ends_no_watch(disturbed_stack: EmbeddedStack) -> None:
    """It is logged, and the look at that node begins anew."""
    stack = disturbed_stack
    begin = "local function ask(socket)\n"
    text = NODES.read_text()
    assert text.count(begin) == 1
    planted = (
        f'local asked = 0\n{begin}asked = asked + 1; if asked % 30 == 0 then error("planted") end\n'
    )
    stack.haproxy.stop()
    stack.haproxy.start(nodes=text.replace(begin, planted))
    for _ in range(3):
        await eventually("it", lambda: is_known(stack, stack.primary.name, "down: a fault"))
        stack.wait_write_route()
    assert "planted" in stack.haproxy.log.read_text()
    stack.haproxy.stop()


async def is_known(stack: EmbeddedStack, node: str, beginning: str) -> bool:
    """Whether what is known of a node begins so."""
    return (await asyncio.to_thread(stack.haproxy.known, node)).startswith(beginning)


async def asked_is_down(stack: EmbeddedStack, node: str) -> bool:
    """Whether he was looked at, and is down."""
    said = await asyncio.to_thread(stack.haproxy.known, node)
    assert "fault" not in said
    return said.startswith("down: ") and said != "down: nothing is known"


async def test_a_proxy_that_is_full_knows_its_nodes(disturbed_stack: EmbeddedStack) -> None:
    """No connection is taken any more, and checks still see who accepts writes."""
    stack = disturbed_stack
    stack.haproxy.stop()
    stack.haproxy.start(variables={"MAXCONN": "20"})
    stack.wait_write_route()
    with ExitStack() as held:
        for _ in range(40):
            held.enter_context(socket.create_connection(("127.0.0.1", stack.http_port)))
        async for _ in looks(AGE):
            assert stack.haproxy.up("pg_primary") == {stack.primary.name}
        stack.failover()
        stack.wait_write_route()
    stack.haproxy.stop()
