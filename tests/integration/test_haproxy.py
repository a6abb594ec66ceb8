"""The deployed haproxy.cfg sends writes to the one writable node, whatever happens to the roles."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from typing import TYPE_CHECKING

import asyncpg
import pytest

from ops.embedded import CONFIGURATION
from tests.integration.support import eventually, through

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ops.embedded import EmbeddedStack

BOTH = {"postgres1", "postgres2"}
SPLIT_BRAIN_RULE = "tcp-request connection reject if { nbsrv(pg_primary) gt 1 }"


async def reached(port: int) -> int | None:
    """Which node, by its port, a new connection through HAProxy reaches; None when it is cut."""
    try:
        connection = await through(port)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return None
    try:
        return int(await connection.fetchval("SHOW port"))
    finally:
        await connection.close()


async def all_reached(port: int, attempts: int = 8) -> set[int | None]:
    """Which nodes several connections in a row reach."""
    return {await reached(port) for _ in range(attempts)}


async def test_write_port_reaches_only_the_primary(stack: EmbeddedStack) -> None:
    """Every connection to the write port ends at the primary."""
    assert await all_reached(stack.write_port) == {stack.primary.port}


async def test_read_port_reaches_both(stack: EmbeddedStack) -> None:
    """Reads are spread over primary and standby."""
    assert await all_reached(stack.read_port) == {stack.primary.port, stack.standby.port}


async def test_writes_follow_failovers_both_ways(disturbed_stack: EmbeddedStack) -> None:
    """After a failover writes reach the new primary, also once the old one is back, and again."""
    stack = disturbed_stack
    for _ in range(2):
        old = stack.primary
        stack.failover()
        stack.wait_write_route()
        assert await all_reached(stack.write_port) == {stack.primary.port}
        assert stack.rejoin() is old
        stack.haproxy.wait_up("pg_any", BOTH)
        assert await all_reached(stack.write_port) == {stack.primary.port}


async def test_open_session_ends_with_its_node(disturbed_stack: EmbeddedStack) -> None:
    """A pooled connection to a demoted primary is cut, not left to write into the past."""
    stack = disturbed_stack
    session = await through(stack.write_port)
    # Read-only without a word to its sessions, as a fenced node; only HAProxy can end them.
    stack.primary.sql("ALTER SYSTEM SET default_transaction_read_only = on")
    stack.primary.reload("default_transaction_read_only", "on")
    await eventually("HAProxy to cut the session", session.is_closed)
    stack.primary.release()


async def test_held_node_is_not_writable(disturbed_stack: EmbeddedStack) -> None:
    """A promoted node that is still held back gets no writes until it is released."""
    stack = disturbed_stack
    stack.failover(held=True)
    assert not stack.primary.in_recovery
    stack.haproxy.wait_up("pg_any", {stack.primary.name})
    stack.haproxy.wait_up("pg_primary", set())
    assert await all_reached(stack.write_port) == {None}
    stack.primary.release()
    stack.wait_write_route()
    assert await all_reached(stack.write_port) == {stack.primary.port}


async def test_two_writable_nodes_get_no_writes(disturbed_stack: EmbeddedStack) -> None:
    """An old primary that comes back writable makes a split brain: writes are refused."""
    stack = disturbed_stack
    stack.failover()
    stack.standby.start()  # as it was, a primary
    stack.haproxy.wait_up("pg_primary", BOTH)
    stack.haproxy.wait_up("pg_any", BOTH)  # checked by itself, less often
    assert await all_reached(stack.write_port) == {None}
    assert await all_reached(stack.read_port) == {stack.primary.port, stack.standby.port}


async def test_frozen_primary_gets_no_writes(disturbed_stack: EmbeddedStack) -> None:
    """A primary that accepts connections and answers nothing is taken out."""
    stack = disturbed_stack
    stack.primary.pause()
    stack.haproxy.wait_up("pg_primary", set())
    assert await all_reached(stack.write_port, attempts=2) == {None}


def role_blind() -> str:
    """Make a haproxy.cfg whose write check is the read check, which any answering node passes."""
    text = CONFIGURATION.read_text()
    checks = [line for line in text.splitlines() if line.strip().startswith("tcp-check expect")]
    assert len(checks) == 2
    assert "writable" in checks[0]
    return text.replace(*checks)


@pytest.fixture
def stack_run_with(disturbed_stack: EmbeddedStack) -> Iterator[Callable[[str], EmbeddedStack]]:
    """Run HAProxy with another configuration than the deployed one."""

    def run(configuration: str) -> EmbeddedStack:
        disturbed_stack.haproxy.stop()
        disturbed_stack.haproxy.start(configuration)
        disturbed_stack.haproxy.wait_up("pg_any", BOTH)
        return disturbed_stack

    yield run
    disturbed_stack.haproxy.stop()  # `disturbed_stack` starts it anew, with the deployed file


async def test_role_blind_check_is_found_out(
    stack_run_with: Callable[[str], EmbeddedStack],
) -> None:
    """Negative control: with a role-blind check, what the tests above assert is not true."""
    stack = stack_run_with(role_blind())
    stack.haproxy.wait_up("pg_primary", BOTH)
    assert await all_reached(stack.write_port) == {None}  # the split-brain rule took it for one


async def test_role_blind_check_writes_to_a_standby(
    stack_run_with: Callable[[str], EmbeddedStack],
) -> None:
    """Negative control: without the split-brain rule as well, writes reach the wrong node."""
    assert SPLIT_BRAIN_RULE in role_blind()
    stack = stack_run_with(role_blind().replace(SPLIT_BRAIN_RULE, ""))
    stack.haproxy.wait_up("pg_primary", BOTH)
    assert await all_reached(stack.write_port) == {stack.primary.port, stack.standby.port}


async def test_statistics_metrics_and_liveness(stack: EmbeddedStack) -> None:
    """The statistics port serves its page, Prometheus metrics, and liveness."""

    def get(path: str) -> str:
        url = f"http://127.0.0.1:{stack.stats_port}{path}"
        with urllib.request.urlopen(url, timeout=5) as response:
            return str(response.read().decode())

    assert "HAProxy" in await asyncio.to_thread(get, "/")
    metrics = await asyncio.to_thread(get, "/metrics")
    assert f'server="{stack.primary.name}"' in metrics
    assert "200 OK" in await asyncio.to_thread(get, "/healthz")
    nodes = {stack.primary.name: "writable", stack.standby.name: "read-only"}

    async def all_known() -> bool:
        told = await asyncio.to_thread(get, "/holdfast")
        return all(name in told for name in nodes)

    await eventually("an answer of each node", all_known)
    told = await asyncio.to_thread(get, "/holdfast")
    for node, said in nodes.items():
        # What it does not say is told as well: else what it said before would count, after a gap.
        assert set(re.findall(rf'{node}",answer="(.*)"}} (.)', told)) == {
            (answer, "01"[answer == said]) for answer in ("writable", "read-only", "busy", "down")
        }
    # There is none here.
    assert "virtual_ip" not in told
