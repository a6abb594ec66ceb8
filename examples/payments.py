"""A ledger on `service.database`: each order is paid once, and a payer sees the payment."""

from service.database import (
    ConsistencyToken,
    Database,
    IdempotencyKey,
    PlainJson,
    WriteConnection,
    Written,
    is_transient,
    retry_on_failover,
)

PAY = "INSERT INTO payments (account, cents) VALUES ($1, $2) RETURNING id"
BALANCE = "SELECT coalesce(sum(cents), 0)::bigint FROM payments WHERE account = $1"


class Ledger:
    """Payments and balances. Each method is one unit of work, which may run more than once."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @retry_on_failover(on=is_transient)
    async def pay(self, order: str, account: str, cents: int) -> Written[int]:
        """Pay an order, once however often it is sent; the value is the payment's id."""
        request = f"{account} {cents}".encode()  # under this order nothing else is paid
        key = IdempotencyKey.of(order, scope="payments", request=request)

        async def insert(connection: WriteConnection) -> int:
            return int(await connection.fetchval(PAY, account, cents))

        return await self.database.write_once(key, PlainJson(int), insert)

    @retry_on_failover(on=is_transient)
    async def balance(self, account: str, seen: ConsistencyToken | None = None) -> int:
        """Sum an account's payments up, among them at least what the token `seen` stands for."""
        async with self.database.read(seen) as connection:
            return int(await connection.fetchval(BALANCE, account))
