"""What integration tests stand on: one embedded stack a session, one database a test.

The stack is started once (about 2 s). A test that disturbs it asks for `disturbed_stack`, which
is whole again afterwards. Every test gets a database of its own, a file copy of one that the real
migrations made.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ops.embedded import EmbeddedError, EmbeddedStack, scratch_directory
from ops.embedded.majors import VARIABLE, chosen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import asyncpg

# Before any of them is imported.
pytest.register_assert_rewrite(
    *(
        f"tests.integration.{name}"
        for name in (
            "support",
            "twins",
            "scenarios",
            "model",
            "every_byte",
            "soak",
            "soak_client",
            "upgrade",
        )
    )
)

from tests.integration.fault_proxy import FaultProxy  # noqa: E402
from tests.integration.support import migrate, superuser, temporary_database  # noqa: E402
from tests.integration.twins import Twins, twins  # noqa: E402

WITHOUT_TLS = pytest.StashKey[int]()
"""How many tests were left out because this PostgreSQL has no TLS."""


def pytest_configure() -> None:
    """Keep a developer's own settings out of the tests; end where PG_MAJOR's server is not here."""
    for name in list(os.environ):
        if name.startswith(("DB_", "HTTP_", "MIGRATION_")):
            del os.environ[name]
    try:
        _ = chosen().programs
    except EmbeddedError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_report_header() -> str:
    """Say which PostgreSQL this session runs on."""
    return f"embedded pair: {chosen().version()} ({VARIABLE}={chosen().number})"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, and count, the tests that want TLS of a PostgreSQL that was built without."""
    left_out = [] if chosen().tls else [item for item in items if item.get_closest_marker("tls")]
    config.stash[WITHOUT_TLS] = len(left_out)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what was left out, and why."""
    if number := config.stash.get(WITHOUT_TLS, 0):
        package = chosen().package
        terminalreporter.write_line(f"{number} left out: {package} is built without TLS")


@pytest.fixture(scope="session")
def stack() -> Iterator[EmbeddedStack]:
    """Run the session's stack; tests that change its state take `disturbed_stack`.

    With POOLER=yes its nodes have PgBouncers: the long form of tests/integration/pooled.
    """
    pooler = os.environ.get("POOLER") == "yes"
    with scratch_directory() as directory, EmbeddedStack(directory, pooler=pooler) as running:
        yield running


@pytest.fixture
def disturbed_stack(stack: EmbeddedStack) -> Iterator[EmbeddedStack]:
    """Lend the session's stack to a test that breaks it."""
    stack.checkpoint()
    yield stack
    stack.restore()


@pytest.fixture(scope="session")
def migrated(stack: EmbeddedStack) -> str:
    """Name the database that the real migrations made; nobody connects to it."""
    return migrate(stack)


@pytest.fixture
def database(stack: EmbeddedStack, migrated: str) -> Iterator[str]:
    """Make a database for one test, on both nodes."""
    with temporary_database(stack, template=migrated) as name:
        yield name


@pytest.fixture
def empty_database(stack: EmbeddedStack) -> Iterator[str]:
    """Make a database that no migration has touched."""
    with temporary_database(stack, template="template1") as name:
        yield name


@pytest.fixture
async def proxy(stack: EmbeddedStack) -> AsyncIterator[FaultProxy]:
    """Put a fault proxy in front of the primary."""
    async with FaultProxy(stack.primary.serving_port) as running:
        yield running


@pytest.fixture
async def pair(stack: EmbeddedStack, database: str) -> AsyncIterator[Twins]:
    """Run two instances on the test's database."""
    async with twins(stack, database) as running:
        yield running


@pytest.fixture
async def admin(stack: EmbeddedStack, database: str) -> AsyncIterator[asyncpg.Connection]:
    """Arrange things in the test's database and look at it, past every proxy."""
    async with superuser(stack, database) as connection:
        yield connection


@pytest.fixture
async def onlooker(stack: EmbeddedStack, database: str) -> AsyncIterator[asyncpg.Connection]:
    """Watch, never in a transaction: inside one, statistics do not move."""
    async with superuser(stack, database) as connection:
        yield connection
