"""What unit tests stand on: nothing. No engine is in reach, whatever a test forgets to replace."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack may run on this machine, with somebody's data."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    for name in ("NAME", "YES", "ADOPT"):
        monkeypatch.delenv(name, raising=False)
