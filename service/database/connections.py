"""What a query gets to see of a connection: `ReadConnection` or `WriteConnection`.

Two types, so that the type checker stops a query that writes from taking a connection that reads.
Beneath both is a `Link`.
"""

from typing import Any

from service.database import statements
from service.database.link import Answer, Link, Row


class _Connection:
    """The statements that both kinds of connection run."""

    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def fetch(self, sql: str, *args: object) -> Answer[list[Row]]:
        """Return all rows of one data statement. Raises DatabaseError."""
        return self._link.fetch(statements.check(sql), *args)

    def fetchrow(self, sql: str, *args: object) -> Answer[Row | None]:
        """Return the first row of one data statement, or None. Raises DatabaseError."""
        return self._link.fetchrow(statements.check(sql), *args)

    def fetchval(self, sql: str, *args: object) -> Answer[Any]:
        """Return the first column of the first row, or None. Raises DatabaseError."""
        return self._link.fetchval(statements.check(sql), *args)


class ReadConnection(_Connection):
    """A connection that cannot write, wherever it leads; each statement has its own snapshot."""

    __slots__ = ()


class WriteConnection(_Connection):
    """A connection inside the transaction of one unit of work, on the primary."""

    __slots__ = ()

    async def execute(self, sql: str, *args: object) -> None:
        """Run one data statement whose rows do not matter. Raises DatabaseError."""
        await self._link.fetch(statements.check(sql), *args)
