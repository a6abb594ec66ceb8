"""service.workers.peers: what a worker tells when it can keep nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.observability.metrics import Metrics
from service.workers.board import Board
from service.workers.peers import Peers

if TYPE_CHECKING:
    from pathlib import Path


async def test_metrics_are_told_without_a_place_to_keep_them(tmp_path: Path) -> None:
    """The volume is full, or the folder is gone: that is when they are looked at."""
    peers = Peers(Board(1), 0, tmp_path / "gone")
    peers.watch(Metrics())
    assert b"holdfast_workers 1.0" in await peers.metrics()


async def test_what_cannot_be_read_is_nothing(tmp_path: Path) -> None:
    """A worker starts all the same."""
    (tmp_path / "0.json").write_text("[half of")
    peers = Peers(Board(1), 0, tmp_path)
    peers.watch(Metrics())
    assert b"holdfast_workers 1.0" in await peers.metrics()
