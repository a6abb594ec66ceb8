"""What can be done with users. Each method is one unit of work, which may run more than once."""

from service.codec import Json
from service.database import (
    ConsistencyToken,
    Database,
    IdempotencyKey,
    WriteConnection,
    Written,
    is_transient,
    retry_on_failover,
)
from service.errors import NotFound, PreconditionFailed, RequestError
from service.users import cursor, queries
from service.users.schemas import ETags, NewUser, Order, StoredUser, User, UserChange, UserPage

USER = Json[User](StoredUser)
NOTHING = Json[None](type(None))


class UserService:
    """Users, kept in the database.

    Every method raises NotFound or EmailInUse for what the client can mend, and Unavailable when
    the deadline passed. Those that write are applied once for each key; they raise KeyReused,
    KeyInFlight, and CommitInDoubt when the deadline passed before the key could be asked. Those
    that take `etags` raise PreconditionFailed when the user has none of them. Those that read see
    at least the state of the token `seen`, and raise TokenAhead.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    @retry_on_failover(on=is_transient)
    async def create(self, new: NewUser, key: IdempotencyKey) -> Written[User]:
        """Add a user and return it."""

        async def insert(connection: WriteConnection) -> User:
            return User(**await queries.insert(connection, new.email, new.name))

        return await self.database.write_once(key, USER, insert)

    @retry_on_failover(on=is_transient)
    async def get(self, user_id: int, seen: ConsistencyToken | None) -> User:
        """Return one user."""
        async with self.database.read(seen) as connection:
            row = await queries.select(connection, user_id)
        if row is None:
            raise _no_user(user_id)
        return User(**row)

    @retry_on_failover(on=is_transient)
    async def list(
        self, order: Order, limit: int, after: str | None, seen: ConsistencyToken | None
    ) -> UserPage:
        """Return a page of `limit` users; `after` is the `next` of the page before.

        Raises BadCursor.
        """
        last_id = None if after is None else cursor.decode(after, order)
        async with self.database.read(seen) as connection:
            rows = await queries.page(connection, order, last_id, limit + 1)
        more = len(rows) > limit
        following = cursor.encode(order, rows[limit - 1]["id"]) if more else None
        items = queries.fields(rows[:limit])
        return UserPage.model_validate({"items": items, "next": following})  # all rows in one call

    @retry_on_failover(on=is_transient)
    async def change(
        self, user_id: int, change: UserChange, etags: ETags, key: IdempotencyKey
    ) -> Written[User]:
        """Change what is given, and return the user."""

        async def update(connection: WriteConnection) -> User:
            row = await queries.update(connection, user_id, change.email, change.name, etags)
            if row is None:
                raise await _why_not(connection, user_id, etags)
            return User(**row)

        return await self.database.write_once(key, USER, update)

    @retry_on_failover(on=is_transient)
    async def delete(self, user_id: int, etags: ETags, key: IdempotencyKey) -> Written[None]:
        """Remove a user."""

        async def delete(connection: WriteConnection) -> None:
            if not await queries.delete(connection, user_id, etags):
                raise await _why_not(connection, user_id, etags)

        return await self.database.write_once(key, NOTHING, delete)


async def _why_not(connection: WriteConnection, user_id: int, etags: ETags) -> RequestError:
    """Return what kept a user from being written."""
    if etags is None or not await queries.exists(connection, user_id):
        return _no_user(user_id)
    return PreconditionFailed(
        f"User {user_id} has none of the ETags that If-Match names, and nothing was changed. "
        "Read the user again, and decide anew."
    )


def _no_user(user_id: int) -> NotFound:
    return NotFound(f"There is no user {user_id}.")
