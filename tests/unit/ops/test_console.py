"""Steps: their result, their failure with the end of the log, and their bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ops.console import CommandFailedError, Progress, StackError, read_tail, run_step

if TYPE_CHECKING:
    from pathlib import Path


def test_a_step_returns_the_last_line_it_printed(tmp_path: Path) -> None:
    """What a script prints last is its result; empty lines do not count."""
    command = ["sh", "-c", "echo one; echo two; echo"]
    assert run_step("Step", command, tmp_path / "log", limit=10) == "two"


def test_a_failed_step_shows_the_end_of_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the step, the exit code and the log, and quotes the log's end."""
    log = tmp_path / "log"
    with pytest.raises(CommandFailedError) as caught:
        run_step("Building", ["sh", "-c", "echo no such package >&2; exit 7"], log, limit=10)
    text = str(caught.value)
    assert "Building failed (exit code 7)" in text
    assert "no such package" in text
    assert str(log) in text
    assert "✗ Building" in capsys.readouterr().out


def test_a_step_is_bounded(tmp_path: Path) -> None:
    """A command that takes too long is ended, and the error says how long was allowed."""
    with pytest.raises(StackError, match="took longer than 0 s"):
        run_step("Waiting", ["sleep", "60"], tmp_path / "log", limit=0.3)


def test_a_watched_step_shows_what_the_watch_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Off a terminal a line appears every HEARTBEAT seconds, with the watch's words."""
    monkeypatch.setattr("ops.console.HEARTBEAT", 0.0)

    def watch(progress: Progress) -> str:
        return f"waiting for postgres1 in {progress.title}"

    run_step("Start", ["sleep", "0.5"], tmp_path / "log", limit=10, watch=watch)
    assert "waiting for postgres1 in Start" in capsys.readouterr().out


def test_the_tail_of_a_file_that_is_not_there_is_empty(tmp_path: Path) -> None:
    """A step that failed before it printed anything still has an error to show."""
    assert read_tail(tmp_path / "none", 5) == []
