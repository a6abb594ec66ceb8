"""The stack's own SQL and settings (deploy/) are right for this PostgreSQL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import yaml

from ops.embedded import EmbeddedError
from ops.embedded.majors import chosen
from tests.functions import THERE, executable, unknown
from tests.integration.support import ROOT, through

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.embedded import EmbeddedStack

POSTGRES = ROOT / "deploy" / "postgres"
WATCHER = "holdfast_monitoring"
QUERIES: dict[str, dict[str, Any]] = yaml.safe_load(
    (ROOT / "deploy" / "monitoring" / "queries.node.yml").read_text()
)
FILES = ["postgresql.holdfast.conf", "postgresql.monitor.conf", "postgresql.log.conf"]
_INCLUDE = re.compile(r"^include \'/etc/holdfast/(.*)\'", re.MULTILINE)


@pytest.fixture
def watched(stack: EmbeddedStack, database: str) -> Iterator[str]:
    """A database with what the image's entry point makes in each."""
    for file in ("database.sql", "watched.sql"):
        stack.primary.psql("--file", str(POSTGRES / file), database=database)
    stack.wait_replayed()
    yield database
    # The superuser's own objects, for others to find the cluster as it was.
    stack.primary.sql("DROP SCHEMA watched CASCADE", database)


@pytest.mark.parametrize("name", QUERIES)
async def test_what_watches_a_node_is_answered(
    stack: EmbeddedStack, watched: str, name: str
) -> None:
    """Each question of the exporter has the columns of its metrics, on primary and standby."""
    wanted = {column for metric in QUERIES[name]["metrics"] for column in metric}
    for node in stack.nodes:
        connection = await through(node.port, watched, WATCHER)
        try:
            statement = await connection.prepare(QUERIES[name]["query"])
            assert {each.name for each in statement.get_attributes()} == wanted
            await statement.fetch()
        finally:
            await connection.close()


async def test_a_second_run_of_the_stacks_sql_changes_nothing(
    stack: EmbeddedStack, watched: str
) -> None:
    """An entry point runs it at every start."""
    for file in ("roles.sql", "database.sql", "watched.sql"):
        stack.primary.psql("--file", str(POSTGRES / file), database=watched)
    asked = f"SELECT has_schema_privilege('{WATCHER}', 'watched', 'USAGE')"
    assert stack.primary.sql(asked, watched) == "t"


@pytest.mark.parametrize("role", ["holdfast_app", "holdfast_read", WATCHER])
def test_all_that_a_role_may_execute_is_known(
    stack: EmbeddedStack, watched: str, role: str
) -> None:
    """As on the real stack, of each major release: what a new one brings is looked at first."""
    found, there = (set(stack.primary.sql(q, watched).split()) for q in (executable(role), THERE))
    assert len(there) > 2000
    assert unknown(role, found, there) == set()


@pytest.mark.parametrize("role", ["holdfast_app", "holdfast_read", WATCHER])
@pytest.mark.parametrize(
    "call",
    [
        "pg_clear_relation_stats('public', 'users')",
        "pg_clear_attribute_stats('public', 'users', 'email', false)",
        "pg_restore_relation_stats('schemaname', 'public', 'relname', 'users', 'relpages', 1)",
    ],
)
async def test_nobody_changes_statistics(
    stack: EmbeddedStack, watched: str, role: str, call: str
) -> None:
    """Which 18 has functions for, and everybody may execute: they look at the table's rights."""
    connection = await through(stack.primary.port, watched, role)
    try:
        with pytest.raises(
            asyncpg.InsufficientPrivilegeError
            if chosen().number >= 18
            else asyncpg.UndefinedFunctionError
        ):
            await connection.execute(f"SELECT {call}")
    finally:
        await connection.close()


@pytest.mark.parametrize("file", FILES)
def test_every_setting_is_one_of_this_server(stack: EmbeddedStack, file: str) -> None:
    """By its name and its value, as a server that starts would read them."""
    text = (POSTGRES / file).read_text()
    text = _INCLUDE.sub(lambda found: (POSTGRES / found[1]).read_text(), text)
    written = stack.directory / "read.conf"
    written.write_text(text)
    written.chmod(0o644)
    node = stack.primary
    settings = ("-D", str(node.data), f"--config-file={written}")
    assert node._tool("postgres", *settings, "-C", "authentication_timeout")


def test_a_setting_that_is_none_is_found(stack: EmbeddedStack) -> None:
    """The test before would see it."""
    written = stack.directory / "wrong.conf"
    written.write_text("log_connections = perhaps\n")
    written.chmod(0o644)
    node = stack.primary
    with pytest.raises(EmbeddedError, match="log_connections"):
        node._tool("postgres", "-D", str(node.data), f"--config-file={written}", "-C", "port")
