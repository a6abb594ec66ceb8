"""service.users.table: what queries rely on. That migrations make it so needs a database."""

from typing import Any

from service.users.queries import _COLUMNS, _ETAG, fields
from service.users.schemas import User
from service.users.table import EMAIL_INDEX, users


def test_queries_return_every_column_and_the_schema_shows_it() -> None:
    """The table, the queries' columns and the schema of the answer are the same list.

    But for the revision, which clients see as part of the entity tag.
    """
    *columns, revision = [column.name for column in users.columns]
    named = _COLUMNS.replace(_ETAG, "").split(", ")

    names = [each.rpartition(" ")[2] for each in named]
    row: Any = range(len(names))
    assert names == [*columns, "etag"]
    assert fields([row]) == [dict(zip(names, row, strict=True))]
    assert [*columns, "etag"] == list(User.model_fields)
    assert revision in _ETAG


def test_addresses_are_unique_without_case() -> None:
    """The index that refuses a second user with an address compares in lower case."""
    (index,) = users.indexes

    assert index.name == EMAIL_INDEX
    assert index.unique
    assert [str(expression) for expression in index.expressions] == ["lower(email)"]
