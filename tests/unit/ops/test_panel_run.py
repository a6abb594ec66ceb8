"""The console as a whole: how it begins, and how it ends."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from ops import names
from ops.console import StackError
from ops.panel import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Leave signals as they were."""
    before = {each: signal.getsignal(each) for each in ENDS}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.parametrize("number", ENDS)
def test_the_first_signal_ends_it_and_the_next_one_is_told_why_it_lasts(
    number: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """A terminal that is closed ends it as Ctrl-C does; mending is not cut short by a second."""
    run.end_with_a_signal()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
    assert capfd.readouterr().err == ""
    os.kill(os.getpid(), number)
    os.kill(os.getpid(), signal.SIGINT)
    assert capfd.readouterr().err == 2 * run.MENDING


def test_nohup_is_respected() -> None:
    """Whoever wants it to outlive the terminal has said so."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    run.end_with_a_signal()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (None, "docker cannot be run: No such file"),
        ("echo permission denied >&2; exit 1", "permission denied"),
    ],
)
def test_without_docker_it_does_not_begin(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str | None, said: str
) -> None:
    """It says so, instead of showing a page on which nothing is known."""
    if program:
        (tmp_path / "docker").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(names, "ROOT", tmp_path)
    monkeypatch.setattr(run, "ROOT", tmp_path)
    with pytest.raises(StackError, match=said):
        run.start(0, read_only=True).close()
