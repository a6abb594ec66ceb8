"""What unit tests stand on: nothing. No engine is in reach, whatever a test forgets to replace."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.unit.shells import Node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack may run on this machine, with somebody's data."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    for name in ("NAME", "YES", "ADOPT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Connections are made, and never accepted."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def closed() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node's folder, with its first certificate mounted."""
    return Node(tmp_path)
