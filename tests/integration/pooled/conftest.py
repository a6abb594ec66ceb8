"""Tests with PgBouncer on each node: a stack of their own, which starts when it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ops.embedded import EmbeddedStack, scratch_directory
from ops.embedded.pooler import MISSING, program
from tests.integration.support import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def stack() -> Iterator[EmbeddedStack]:
    """Run a stack whose nodes have poolers."""
    if program() is None:
        pytest.skip(f"not run: {MISSING}")
    with scratch_directory() as directory, EmbeddedStack(directory, pooler=True) as running:
        yield running


@pytest.fixture(scope="session")
def migrated(stack: EmbeddedStack) -> str:
    """Name the database that the real migrations made, through the pooler as in a deployment."""
    return migrate(stack)
