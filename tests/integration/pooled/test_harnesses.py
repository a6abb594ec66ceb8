"""What is shown of the service, shown again with a pooler on each node: the same functions.

Here is a choice of them that takes a minute. All of a file: `POOLER=yes`, and pytest with it
(CONTRIBUTING.md names what differs there by its nature).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from service.database import Role
from tests.integration.scenarios import assert_each_once
from tests.integration.stepping import Moment
from tests.integration.support import through
from tests.integration.test_cancellation import test_unit_of_work as cancelled_unit_of_work
from tests.integration.test_consistency import test_a_token_survives_a_failover  # noqa: F401
from tests.integration.test_every_byte import cut_everywhere
from tests.integration.test_exactly_once import lose_every_commit
from tests.integration.test_failover import (
    BEFORE,
    check,
    freeze_primary,
    hand_over,
    hold_back,
    kill_primary,
    service,  # noqa: F401
    writing,
)
from tests.integration.test_read_role import test_it_cannot  # noqa: F401
from tests.integration.test_recovery import test_who_begins_a_history  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.embedded import EmbeddedStack
    from tests.integration.service_client import Service
    from tests.integration.twins import Twins

LOST_COMMITS = 100


@pytest.mark.parametrize("role", Role)
async def test_cut_at_any_byte(stack: EmbeddedStack, database: str, role: Role) -> None:
    """A keyed write and a read get their answers, wherever their connection ends, and however."""
    await cut_everywhere(stack, database, role, odd=False)


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("work", ["read", "write", "write_once"])
async def test_cancelled_at_any_wait(
    stack: EmbeddedStack, database: str, work: str, moment: Moment
) -> None:
    """Nothing is lost by it, at the pooler's sessions of PostgreSQL neither."""
    await cancelled_unit_of_work(stack, database, work, "cold", moment)


async def test_lost_commits_are_applied_once(pair: Twins) -> None:
    """COMMIT's answer, and only it, is lost again and again."""
    await assert_each_once(pair, await lose_every_commit(pair, LOST_COMMITS))


def kill_pooler(stack: EmbeddedStack) -> None:
    """Lose the primary's pooler alone, with all sessions through it; it is started again."""
    pooler = stack.primary.pooler
    assert pooler is not None
    pooler.process.kill()
    pooler.start()


def restart_postgresql(stack: EmbeddedStack) -> None:
    """PostgreSQL ends by itself and is there again at once; the pooler keeps its clients."""
    stack.primary.stop("immediate")
    stack.primary.start()


@pytest.mark.parametrize(
    "disturb",
    [kill_primary, hold_back, hand_over, freeze_primary, kill_pooler, restart_postgresql],
)
async def test_writes_ride_it_out(
    disturbed_stack: EmbeddedStack,
    database: str,
    service: Service,  # noqa: F811
    disturb: Callable[[EmbeddedStack], None],
) -> None:
    """Clients that write all the time see a pause; what was acknowledged is there, once."""
    async with writing(service) as history:
        await history.more(BEFORE)
        await asyncio.to_thread(disturb, disturbed_stack)
        await history.more(BEFORE)
    print(f"{disturb.__name__}: the longest write took {history.longest:.2f} s")
    await check(history, disturbed_stack, database)


async def test_a_session_is_not_read_only_for_the_next(stack: EmbeddedStack, database: str) -> None:
    """What the owner sets on a session, which is his until he leaves, goes with him."""
    for _ in range(3):
        owner = await through(stack.write_port, database, "holdfast_owner")
        assert await owner.fetchval("SHOW default_transaction_read_only") == "off"
        await owner.execute("SET default_transaction_read_only = on")
        await owner.close()
