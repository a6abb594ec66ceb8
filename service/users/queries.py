"""The SQL of users. A query that writes takes a WriteConnection, which only a primary gives."""

from collections.abc import Iterable

from service.database import ReadConnection, Row, WriteConnection
from service.errors import ConstraintViolated, EmailInUse
from service.users.schemas import BIGINT_MAX, ETags, Order
from service.users.table import EMAIL_INDEX

# A revision is random, so no later history repeats a tag: not after the loss of what had it, with
# the same id and version. The version is in it for instances that change it alone (migration 0008).
_ETAG = "concat_ws('-', version, revision)"
# Times as text (RFC 3339): the driver takes six times as long to make a datetime as pydantic does
# to read this, and that was the greatest part of a page.
_CREATED = "(created_at AT TIME ZONE 'UTC')::text || 'Z' AS created_at"
_UPDATED = "(updated_at AT TIME ZONE 'UTC')::text || 'Z' AS updated_at"
_COLUMNS = f"id, email, name, {_CREATED}, {_UPDATED}, version, {_ETAG} AS etag"


def fields(rows: Iterable[Row]) -> list[dict[str, object]]:
    """Return rows of these columns by name. Written out it takes half the time."""
    return [
        {
            "id": user_id,
            "email": email,
            "name": name,
            "created_at": created,
            "updated_at": updated,
            "version": version,
            "etag": etag,
        }
        for user_id, email, name, created, updated, version, etag in rows
    ]


INSERT = f"INSERT INTO users (email, name) VALUES ($1, $2) RETURNING {_COLUMNS}"  # noqa: S608
SELECT = f"SELECT {_COLUMNS} FROM users WHERE id = $1"  # noqa: S608 - a constant of this file
NEWEST = f"SELECT {_COLUMNS} FROM users WHERE id < $1 ORDER BY id DESC LIMIT $2"  # noqa: S608
OLDEST = f"SELECT {_COLUMNS} FROM users WHERE id > $1 ORDER BY id LIMIT $2"  # noqa: S608
UPDATE = f"""
    UPDATE users
       SET email = coalesce($2, email), name = coalesce($3, name), updated_at = now(),
           version = version + 1, revision = gen_random_uuid()
     WHERE id = $1 AND ($4::text[] IS NULL OR {_ETAG} = ANY ($4))
 RETURNING {_COLUMNS}
"""  # noqa: S608
DELETE = f"""
    DELETE FROM users
     WHERE id = $1 AND ($2::text[] IS NULL OR {_ETAG} = ANY ($2))
 RETURNING id
"""  # noqa: S608
EXISTS = "SELECT true FROM users WHERE id = $1"


async def insert(connection: WriteConnection, email: str, name: str) -> Row:
    """Add a user. Raises EmailInUse."""
    try:
        row = await connection.fetchrow(INSERT, email, name)
    except ConstraintViolated as error:
        raise _meaning(error) from error
    assert row is not None  # noqa: S101 - INSERT ... RETURNING one row, or an error
    return row


async def select(connection: ReadConnection, user_id: int) -> Row | None:
    """Return a user, if there is one."""
    return await connection.fetchrow(SELECT, user_id)


async def page(
    connection: ReadConnection, order: Order, after: int | None, limit: int
) -> list[Row]:
    """Return up to `limit` users that follow the id `after` in `order`; None: from the start."""
    if order is Order.NEWEST:
        return await connection.fetch(NEWEST, BIGINT_MAX if after is None else after, limit)
    return await connection.fetch(OLDEST, 0 if after is None else after, limit)


async def update(
    connection: WriteConnection,
    user_id: int,
    email: str | None,
    name: str | None,
    etags: ETags,
) -> Row | None:
    """Change what is not None; return the user, if there is one with one of `etags`.

    None: with any. Of two at once with the same etags the later one waits for the first, and
    then looks again. Raises EmailInUse.
    """
    try:
        return await connection.fetchrow(UPDATE, user_id, email, name, etags)
    except ConstraintViolated as error:
        raise _meaning(error) from error


async def delete(connection: WriteConnection, user_id: int, etags: ETags) -> bool:
    """Remove a user; say whether there was one with one of `etags`. None: with any."""
    return await connection.fetchval(DELETE, user_id, etags) is not None


async def exists(connection: WriteConnection, user_id: int) -> bool:
    """Say whether there is a user, in whichever version."""
    return await connection.fetchval(EXISTS, user_id) is not None


def _meaning(error: ConstraintViolated) -> Exception:
    if error.constraint == EMAIL_INDEX:
        return EmailInUse("Another user has this email address; case makes no difference.")
    return error
