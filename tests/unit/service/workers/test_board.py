"""service.workers.board: what processes see of each other without asking."""

import os
import time

import pytest

from service.workers import board
from service.workers.board import Board


def test_what_one_process_says_another_sees() -> None:
    """A child of ours beats; a place that nobody has is only starting."""
    shared = Board(2)
    pid = os.fork()
    if pid == 0:
        shared.beat(1, "stale")
        os._exit(0)
    os.waitpid(pid, 0)

    assert shared.statuses() == ["starting", "stale"]
    assert shared.beaten(0) == 0
    assert shared.beaten(1) == pytest.approx(time.monotonic(), abs=10)


def test_who_does_not_beat_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it said last; its successor starts anew."""
    shared = Board(1)
    shared.beat(0, "ok")
    now = shared.beaten(0)
    monkeypatch.setattr(time, "monotonic", lambda: now + board.SILENT_AFTER - 0.01)
    assert shared.statuses() == ["ok"]
    monkeypatch.setattr(time, "monotonic", lambda: now + board.SILENT_AFTER + 0.01)
    assert shared.statuses() == ["silent"]

    shared.clear(0)

    assert shared.statuses() == ["starting"]


def test_draining_and_replacements_are_the_instances() -> None:
    """Neither is a worker's."""
    shared = Board(2)
    assert (shared.draining, shared.replaced) == (False, 0)

    shared.drain()
    shared.count_replaced()
    shared.count_replaced()

    assert (shared.draining, shared.replaced) == (True, 2)
