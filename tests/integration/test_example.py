"""The example of docs/how-to-use-it.md, run on a database that fails on it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from examples.payments import PAY, Ledger
from ops.embedded.pair import APP, OWNER
from service.database import (
    Database,
    DatabaseOptions,
    EndpointOptions,
    IdempotencyKey,
    Observer,
    PlainJson,
    Route,
    WriteConnection,
    Written,
    is_transient,
    retry_on_failover,
)
from service.errors import KeyReused
from tests.integration.fault_proxy import Fault, FaultProxy
from tests.integration.guide import content
from tests.integration.scenarios import replay_paused
from tests.integration.support import ROOT, superuser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ops.embedded import EmbeddedStack

ORDERS = 50
TABLE = re.compile(r"^CREATE TABLE payments \(.*?^\);", re.MULTILINE | re.DOTALL)


class Watcher(Observer):
    """Keeps the routes that were taken, and what became of commits in doubt."""

    def __init__(self) -> None:
        self.routes: list[Route] = []
        self.resolved_as: list[bool] = []

    def routed(self, route: Route) -> None:
        """Keep it."""
        self.routes.append(route)

    def resolved(self, *, applied: bool) -> None:
        """Keep it."""
        self.resolved_as.append(applied)


class Careless(Ledger):
    """Makes its key where the guide says not to."""

    @retry_on_failover(on=is_transient)
    async def give(self, account: str, cents: int) -> Written[int]:
        """Pay, with another key each time this runs."""

        async def insert(connection: WriteConnection) -> int:
            return int(await connection.fetchval(PAY, account, cents))

        return await self.database.write_once(IdempotencyKey.made(), PlainJson(int), insert)


@pytest.fixture
async def payments(stack: EmbeddedStack, database: str) -> str:
    """Name a database with the guide's table, made by the guide's own statement."""
    async with superuser(stack, database) as admin:
        await admin.execute(f"SET ROLE {OWNER}")
        (statement,) = TABLE.findall(content("tables.sql"))
        await admin.execute(statement)
    return database


@pytest.fixture
def watcher() -> Watcher:
    """Watch the ledger's database."""
    return Watcher()


@pytest.fixture
async def ledger(
    stack: EmbeddedStack, payments: str, proxy: FaultProxy, watcher: Watcher
) -> AsyncIterator[Ledger]:
    """Open the example on the fault proxy and on the standby."""
    options = DatabaseOptions(
        write=EndpointOptions(host="127.0.0.1", port=proxy.port),
        read=EndpointOptions(host="127.0.0.1", port=stack.standby.serving_port),
        name=payments,
        user=APP,
    )
    async with Database(options, watcher) as database:
        yield Ledger(database)


def test_the_guide_shows_this_very_file() -> None:
    """The guide's service class is the file that is tested here, but for the package's name."""
    example = (ROOT / "examples" / "payments.py").read_text()
    renamed = re.sub(r"\bservice\.(database|errors)\b", r"ledger.\1", example)
    assert content("ledger/payments.py") == renamed


async def test_every_lost_commit_is_paid_once(
    ledger: Ledger, proxy: FaultProxy, watcher: Watcher
) -> None:
    """With every COMMIT's answer lost each order is paid once, and paying again changes nothing."""
    first = []
    for order in range(ORDERS):
        trap = proxy.trap(b"COMMIT", Fault.LOSE_ANSWER)
        first.append(await ledger.pay(f"order-{order}", "ada", 100 + order))
        assert trap.count == 1
    assert watcher.resolved_as == [True] * ORDERS
    assert not any(payment.replayed for payment in first)
    again = [await ledger.pay(f"order-{order}", "ada", 100 + order) for order in range(ORDERS)]
    assert all(payment.replayed for payment in again)
    assert [payment.value for payment in again] == [payment.value for payment in first]
    assert len({payment.value for payment in first}) == ORDERS
    balance = await ledger.balance("ada", again[-1].token)
    assert balance == sum(100 + order for order in range(ORDERS))


async def test_a_key_made_anew_for_each_attempt_is_refused(
    ledger: Ledger, proxy: FaultProxy
) -> None:
    """The mistake that would pay twice when COMMIT's answer is lost pays once, and is told."""
    proxy.trap(b"COMMIT", Fault.LOSE_ANSWER)
    with pytest.raises(ValueError, match="one idempotency key"):
        await Careless(ledger.database).give("ada", 100)
    seen = (await ledger.pay("order", "grace", 1)).token
    assert await ledger.balance("ada", seen) == 100


async def test_an_order_is_paid_once_whoever_pays(ledger: Ledger) -> None:
    """The request covers account and amount: another of either is refused, and pays nothing."""
    paid = await ledger.pay("order", "ada", 100)
    for account, cents in (("ada", 200), ("grace", 100), ("ada 1", 0), ("", 100)):
        with pytest.raises(KeyReused):
            await ledger.pay("order", account, cents)
    assert (await ledger.pay("order", "ada", 100)).value == paid.value
    other = await ledger.pay("another order", "grace", 300)
    assert await ledger.balance("ada", other.token) == 100
    assert await ledger.balance("grace", other.token) == 300


async def test_a_token_sees_past_a_paused_standby(
    disturbed_stack: EmbeddedStack, ledger: Ledger, watcher: Watcher
) -> None:
    """While the standby does not replay, a read with the token sees the payment; without it not."""
    await ledger.balance("ada")  # connected, so that the pause is the only thing amiss
    async with replay_paused(disturbed_stack):
        paid = await ledger.pay("order", "ada", 100)
        watcher.routes.clear()
        assert await ledger.balance("ada") == 0
        assert watcher.routes == [Route.READ]
        assert await ledger.balance("ada", paid.token) == 100
        assert watcher.routes[1:] == [Route.READ, Route.READ_FALLBACK]
