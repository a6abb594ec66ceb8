"""The fault proxy does what its table says; else the tests that use it show nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.http_server import reset_on_close
from tests.integration.faults import Ending, Fault, Way
from tests.integration.support import eventually, superuser, through

if TYPE_CHECKING:
    from ops.embedded import EmbeddedStack
    from tests.integration.fault_proxy import FaultProxy

CONNECTION_LOST = (ConnectionError, asyncpg.ConnectionDoesNotExistError, asyncpg.InterfaceError)
SILENCE = 0.3  # seconds after which a healthy loopback database would long have answered


async def test_forwards_queries(proxy: FaultProxy) -> None:
    """Without a fault the database answers."""
    connection = await through(proxy.port)
    assert await connection.fetchval("SELECT repeat('x', 1000000)") == "x" * 1_000_000
    assert proxy.open_connections == 1
    await connection.close()


async def test_refuses_and_forwards_again(proxy: FaultProxy) -> None:
    """Refusing resets what is open and refuses what is new; the port stays the same."""
    connection = await through(proxy.port)
    await proxy.refuse()
    with pytest.raises(CONNECTION_LOST):
        await connection.fetchval("SELECT 1")
    with pytest.raises(ConnectionRefusedError):
        await through(proxy.port)
    await proxy.forward()
    connection = await through(proxy.port)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def test_resets_new_connections(proxy: FaultProxy) -> None:
    """A connection is accepted, and reset before it is any use."""
    await proxy.reset()
    with pytest.raises(CONNECTION_LOST):
        await through(proxy.port)
    assert proxy.accepted == 1


async def test_deaf_answers_nobody(proxy: FaultProxy) -> None:
    """Open and new connections alike hear nothing: no answer, no end."""
    connection = await through(proxy.port)
    proxy.deafen()
    with pytest.raises(TimeoutError):
        await connection.fetchval("SELECT 1", timeout=SILENCE)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), SILENCE)
    writer.close()
    connection.terminate()


async def test_cut_spares_the_listener(proxy: FaultProxy) -> None:
    """Cutting resets open connections; a new one works at once."""
    before = await through(proxy.port)
    await proxy.cut()
    after = await through(proxy.port)
    with pytest.raises(CONNECTION_LOST):
        await before.fetchval("SELECT 1")
    assert await after.fetchval("SELECT 1") == 1
    await after.close()


STARTUP = (196608).to_bytes(4) + b"user\0postgres\0database\0postgres\0\0"
LOGIN = (len(STARTUP) + 4).to_bytes(4) + STARTUP


async def test_ends_after_a_number_of_bytes_of_the_client(proxy: FaultProxy) -> None:
    """A client that sends less than the limit is served, and reset once it sends more."""
    cut = proxy.end_after(1000, Way.TO_SERVER)
    connection = await through(proxy.port)
    assert await connection.fetchval("SELECT 1") == 1
    with pytest.raises(CONNECTION_LOST):
        await connection.fetchval(f"SELECT {'1 + ' * 300} 0")
    assert cut.struck
    assert len(cut.seen) == 1000


@pytest.mark.parametrize("ending", Ending)
@pytest.mark.parametrize("count", [0, 5])
async def test_ends_after_a_number_of_bytes_of_the_server(
    proxy: FaultProxy, count: int, ending: Ending
) -> None:
    """The client gets as many bytes, and then an end, a reset or nothing."""
    cut = proxy.end_after(count, Way.TO_CLIENT, ending)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(LOGIN)
    assert await reader.readexactly(count) == b"R\0\0\0\x08"[:count]
    if ending is Ending.FIN:
        assert await reader.read() == b""
    else:
        with pytest.raises(ConnectionResetError if ending is Ending.RST else TimeoutError):
            await asyncio.wait_for(reader.read(), SILENCE)
    writer.close()
    assert cut.struck


@pytest.mark.parametrize("ending", Ending)
async def test_the_server_learns_of_an_end(
    stack: EmbeddedStack, proxy: FaultProxy, ending: Ending
) -> None:
    """A message that is cut never runs, and the session ends at the server, too."""
    connection = await through(proxy.port)
    pid = connection.get_server_pid()
    proxy.end_after(10, Way.TO_SERVER, ending)  # on the open connection, from here on
    with pytest.raises((TimeoutError, *CONNECTION_LOST)):
        await connection.execute("SELECT pg_sleep(10)", timeout=SILENCE)
    connection.terminate()
    async with superuser(stack, "postgres") as admin:
        query = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1"

        async def gone() -> bool:
            return await admin.fetchval(query, pid) == 0

        await eventually("the server's session to end", gone)
    await eventually("the proxy to be rid of it", lambda: proxy.open_connections == 0)


@pytest.mark.uvloop
async def test_cut_ends_the_server_side_of_a_client_that_has_gone(
    stack: EmbeddedStack, proxy: FaultProxy
) -> None:
    """Nothing is left of a silent connection whose client was reset before the cut."""
    connection = await through(proxy.port)
    pid = connection.get_server_pid()
    proxy.end_after(10, Way.TO_SERVER, Ending.SILENCE)
    with pytest.raises(TimeoutError):
        await connection.execute("SELECT 1", timeout=SILENCE)
    (silent,) = proxy._connections
    reset_on_close(connection._transport.get_extra_info("socket"))
    connection.terminate()
    await eventually("the proxy to hear of it", silent._client[1].transport.is_closing)
    await proxy.cut()
    async with superuser(stack, "postgres") as admin:
        query = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1"

        async def gone() -> bool:
            return await admin.fetchval(query, pid) == 0

        await eventually("the server's session to end", gone)


async def test_an_end_is_for_the_first_that_moves(proxy: FaultProxy) -> None:
    """An end that was asked for meets one connection alone, and `forward` takes it back."""
    quiet, busy = await through(proxy.port), await through(proxy.port)
    proxy.end_after(1, Way.TO_CLIENT)
    with pytest.raises(CONNECTION_LOST):
        await busy.fetchval("SELECT 1")
    assert await quiet.fetchval("SELECT 1") == 1
    cut = proxy.end_after(1000, Way.TO_CLIENT)
    assert await quiet.fetchval("SELECT 1") == 1
    await proxy.forward()
    assert len(await quiet.fetchval("SELECT repeat('x', 2000)")) == 2000
    assert not cut.struck
    await quiet.close()


@pytest.mark.parametrize(
    ("fault", "applied"),
    [
        pytest.param(Fault.CUT_BEFORE, False, id="cut before"),
        pytest.param(Fault.LOSE_ANSWER, True, id="answer lost"),
        pytest.param(Fault.CUT_ANSWER, True, id="answer cut"),
        pytest.param(Fault.SWALLOW_ANSWER, True, id="answer swallowed"),
    ],
)
async def test_trap_on_commit(
    stack: EmbeddedStack, empty_database: str, proxy: FaultProxy, fault: Fault, applied: bool
) -> None:
    """A trap decides whether the server gets COMMIT; the client hears of no success."""
    async with superuser(stack, empty_database) as admin:
        await admin.execute("CREATE TABLE t (n int)")
        connection = await through(proxy.port, empty_database, user="postgres")
        await connection.execute("BEGIN")
        await connection.execute("INSERT INTO t VALUES (1)")
        trap = proxy.trap(b"COMMIT", fault)
        with pytest.raises((TimeoutError, *CONNECTION_LOST)):
            await connection.execute("COMMIT", timeout=SILENCE)
        connection.terminate()
        assert trap.count == 1
        assert await admin.fetchval("SELECT count(*) FROM t") == int(applied)


async def test_cuts_an_answer_in_the_middle(proxy: FaultProxy) -> None:
    """The client gets as many bytes of the answer as were let through, and then a reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    trap = proxy.trap(b"user", Fault.CUT_ANSWER, answer=5)
    writer.write(LOGIN)
    assert await reader.readexactly(5) == b"R\0\0\0\x08"
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    assert trap.count == 1


async def test_trap_after_a_message(proxy: FaultProxy) -> None:
    """A trap for what follows a message leaves the same text alone elsewhere."""
    connection = await through(proxy.port)
    trap = proxy.trap(b"SELECT", Fault.CUT_BEFORE, after=b"BEGIN")
    await connection.execute("SELECT 1")
    await connection.execute("BEGIN")
    assert trap.count == 0
    with pytest.raises(CONNECTION_LOST):
        await connection.execute("SELECT 1")
    assert trap.count == 1


async def test_trap_holds_until_released(proxy: FaultProxy) -> None:
    """A held message reaches the server when the test says so, and the answer comes back."""
    connection = await through(proxy.port)
    trap = proxy.trap(b"SELECT 42", Fault.HOLD)
    answer = asyncio.create_task(connection.fetchval("SELECT 42"))
    await trap.sprung.wait()
    done, _ = await asyncio.wait([answer], timeout=SILENCE)
    assert not done
    trap.release()
    assert await answer == 42
    await connection.close()


async def test_retargets_new_connections(stack: EmbeddedStack, proxy: FaultProxy) -> None:
    """An open connection stays where it is, a new one goes to the new target."""
    before = await through(proxy.port)
    proxy.retarget(stack.standby.port)
    after = await through(proxy.port)
    assert int(await before.fetchval("SHOW port")) == stack.primary.port
    assert int(await after.fetchval("SHOW port")) == stack.standby.port
    await before.close()
    await after.close()
