"""What nobody expected ends nothing: it is in the console's log, and all goes on."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from ops import names
from ops.panel import log
from ops.panel.changes import Changes
from ops.panel.errand import Errand
from ops.panel.hub import Hub
from ops.panel.journal import Journal
from ops.panel.part import Part
from ops.panel.timeline import Timeline
from tests.console_replay import whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ops.panel.facts import Facts

LIMIT = 10.0
"""Seconds for what is waited for here."""


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], list[str]]:
    """What is in the log."""
    monkeypatch.setattr(names, "ROOT", tmp_path)
    monkeypatch.setattr(log, "_last", {})
    file = tmp_path / ".holdfast" / "logs" / "console.log"
    return lambda: file.read_text().splitlines() if file.exists() else []


class Twice:
    """Fails twice, and then does what it should."""

    def __init__(self) -> None:
        self.count = 0
        self.well = threading.Event()

    def __call__(self) -> int:
        """Do it."""
        self.count += 1
        if self.count <= 2:
            raise KeyError("unexpected")
        self.well.set()
        return self.count


def test_a_part_is_asked_again(lines: Callable[[], list[str]]) -> None:
    """The same error is one line, however often."""
    ask = Twice()
    part = Part("postgres1", ask, 0.01, 60.0)
    part.start()
    assert ask.well.wait(LIMIT)
    part.stop()
    part.wait(LIMIT)
    assert [each.partition(" ")[2] for each in lines()] == [
        "part postgres1: KeyError: 'unexpected'"
    ]


def test_the_hub_looks_again(lines: Callable[[], list[str]]) -> None:
    """Those who look on are sent what is new afterwards."""
    again, fails = threading.Event(), [False]

    def facts() -> Facts:
        if fails[0]:
            again.set()
            raise RuntimeError("unexpected")
        return whole()

    hub = Hub(facts, Journal(), Timeline(), None, threading.Event())
    hub.start()
    try:
        fails[0] = True
        assert again.wait(LIMIT)
        fails[0] = False
        stream = hub.subscribe()
        stream.get(timeout=LIMIT)
        assert stream.get(timeout=LIMIT) is not None
        assert "hub: RuntimeError: unexpected" in lines()[0]
    finally:
        hub.stop()


def test_a_process_is_heard_to_its_end(lines: Callable[[], list[str]]) -> None:
    """Else it would wait for its pipe for ever."""
    twice, heard = Twice(), []
    ended = threading.Event()

    def hear(said: dict[str, object]) -> None:
        twice()
        heard.append(said)

    words = "import sys; [print('{\"a\": %d}' % n) for n in range(20000)]; sys.exit(0)"
    errand = Errand(("load",), hear, ended.set, (sys.executable, "-c", words))
    errand.start()
    assert ended.wait(LIMIT)
    assert len(heard) == 19998
    assert len(lines()) == 1


def test_docker_is_listened_to_again(
    lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever an event brought about."""
    monkeypatch.setattr("ops.panel.changes.AGAIN", 0.01)
    twice = Twice()
    changes = Changes(lambda *_: None)
    monkeypatch.setattr(changes, "_listen", lambda: (twice(), time.sleep(0.05)))
    changes.start()
    assert twice.well.wait(LIMIT)
    changes.stop()
    assert len(lines()) == 1
