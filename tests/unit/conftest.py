"""What unit tests stand on: nothing. No engine is in reach, whatever a test forgets to replace."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from tests.unit.shells import Node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_engine() -> Iterator[None]:
    """A stack may run on this machine, with somebody's data.

    What a test adopts of a checkout's kept settings (ops.settings) ends with the test.
    """
    with patch.dict(os.environ, {"DOCKER_HOST": "unix:///nowhere/docker.sock"}):
        for name in ("NAME", "YES", "ADOPT"):
            os.environ.pop(name, None)
        yield


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
