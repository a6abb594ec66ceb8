"""service.database.statements: what a pooled connection runs, and what it refuses."""

import inspect

import pytest

from service.database import statements
from service.users import queries


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "  \n  select 1",
        "(SELECT 1) UNION (SELECT 2)",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "INSERT INTO users (name) VALUES ($1)",
        "UPDATE users SET name = $1",
        "DELETE FROM users",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT offset_config(1)",
    ],
)
def test_data_statements_pass(sql: str) -> None:
    """Whatever reads or changes rows runs; a lock that ends with its transaction does as well."""
    assert statements.check(sql) == sql


@pytest.mark.parametrize(
    "sql",
    [
        "BEGIN",
        "commit",
        "ROLLBACK",
        "SAVEPOINT a",
        "SET search_path = x",
        "SET LOCAL statement_timeout = 0",
        "RESET ALL",
        "LISTEN channel",
        "PREPARE TRANSACTION 'a'",
        "CREATE TEMP TABLE t (a int)",
        "DO $$ BEGIN END $$",
        "COPY users TO STDOUT",
        "",
        "-- SELECT",
        ";COMMIT",
    ],
)
def test_control_statements_are_refused(sql: str) -> None:
    """Transaction control is routing's, and what changes the session would outlive the loan."""
    with pytest.raises(ValueError, match="pooled connection"):
        statements.check(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT set_config('role', 'x', false)",
        "SELECT pg_advisory_lock(1)",
        "SELECT PG_TRY_ADVISORY_LOCK (1)",
        "SELECT pg_advisory_lock_shared(1)",
    ],
)
def test_functions_that_leave_traces_are_refused(sql: str) -> None:
    """Settings and locks of the session are refused inside of a SELECT too."""
    with pytest.raises(ValueError, match="outlive"):
        statements.check(sql)


def test_our_own_queries_pass() -> None:
    """Every statement of the users slice is accepted, before a request finds out."""
    found = [
        value
        for name, value in inspect.getmembers(queries)
        if name.isupper() and not name.startswith("_") and isinstance(value, str)
    ]
    sql = [each for each in found if " " in each]

    assert len(sql) == 7
    assert all(statements.check(each) for each in sql)
