"""SQL goes to the database as it stands in the source, values beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.sql_lint import built

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for folder in ("service", "examples", "alembic") for path in (ROOT / folder).rglob("*.py")
)
AROUND = """QUERY = "SELECT a FROM t"
async def f(c, column, value, n, x):
    {body}
"""


def test_no_sql_is_built() -> None:
    """Neither here nor in what is meant to be copied."""
    found = [
        (str(path.relative_to(ROOT)), function)
        for path in SOURCES
        for function, _ in built(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "body",
    [
        'await c.fetch(f"SELECT {column} FROM t")',
        'await c.fetchrow("SELECT * FROM t ORDER BY " + column)',
        'await c.execute("DELETE FROM t WHERE a = %s" % value)',
        'await c.fetchval("SELECT {}".format(column))',
        'sql = f"{QUERY} LIMIT {n}"; await c.fetch(sql)',
        'part = f"{QUERY} LIMIT {n}"; await c.fetch(f"{part} OFFSET 1")',
        'await c.fetch(",".join(columns))',
        'await work(c.fetch, f"SELECT {column}")',
        'await c.fetch(A if x else f"SELECT {column}")',
    ],
)
def test_built_sql_is_found(body: str) -> None:
    """Whatever way it is built and whatever way it goes."""
    assert built(AROUND.format(body=body)) == [("f", 3)]


@pytest.mark.parametrize(
    "body",
    [
        "await c.fetch(QUERY, value)",
        'await c.fetch(QUERY + " LIMIT 1")',
        'await c.fetch(f"{QUERY} LIMIT 1")',
        'part = f"{QUERY} LIMIT 1"; await c.fetch(f"{part} OFFSET 1")',
        'await c.fetch(QUERY if x else "SELECT 1", f"{value}%")',
    ],
)
def test_constants_are_constants(body: str) -> None:
    """Also when they are made of constants; and values beside the SQL may be anything."""
    assert built(AROUND.format(body=body)) == []
