"""The SQL of users. A query that writes takes a WriteConnection, which only a primary gives."""

from service.database import ReadConnection, Row, WriteConnection
from service.errors import ConstraintViolated, EmailInUse
from service.users.schemas import BIGINT_MAX, Order, Versions
from service.users.table import EMAIL_INDEX

_COLUMNS = "id, email, name, created_at, updated_at, version"

INSERT = f"INSERT INTO users (email, name) VALUES ($1, $2) RETURNING {_COLUMNS}"  # noqa: S608
SELECT = f"SELECT {_COLUMNS} FROM users WHERE id = $1"  # noqa: S608 - a constant of this file
NEWEST = f"SELECT {_COLUMNS} FROM users WHERE id < $1 ORDER BY id DESC LIMIT $2"  # noqa: S608
OLDEST = f"SELECT {_COLUMNS} FROM users WHERE id > $1 ORDER BY id LIMIT $2"  # noqa: S608
UPDATE = f"""
    UPDATE users
       SET email = coalesce($2, email), name = coalesce($3, name), updated_at = now(),
           version = version + 1
     WHERE id = $1 AND ($4::bigint[] IS NULL OR version = ANY ($4))
 RETURNING {_COLUMNS}
"""  # noqa: S608
DELETE = """
    DELETE FROM users
     WHERE id = $1 AND ($2::bigint[] IS NULL OR version = ANY ($2))
 RETURNING id
"""
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
    versions: Versions,
) -> Row | None:
    """Change what is not None; return the user, if there is one in one of `versions`.

    None: in any. Of two at once with the same versions the later one waits for the first, and
    then looks again. Raises EmailInUse.
    """
    try:
        return await connection.fetchrow(UPDATE, user_id, email, name, versions)
    except ConstraintViolated as error:
        raise _meaning(error) from error


async def delete(connection: WriteConnection, user_id: int, versions: Versions) -> bool:
    """Remove a user; say whether there was one in one of `versions`. None: in any."""
    return await connection.fetchval(DELETE, user_id, versions) is not None


async def exists(connection: WriteConnection, user_id: int) -> bool:
    """Say whether there is a user, in whichever version."""
    return await connection.fetchval(EXISTS, user_id) is not None


def _meaning(error: ConstraintViolated) -> Exception:
    if error.constraint == EMAIL_INDEX:
        return EmailInUse("Another user has this email address; case makes no difference.")
    return error
