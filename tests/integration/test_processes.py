"""Waits name what they waited for, and only the right process is ever signalled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from ops.embedded import EmbeddedError, wait_until
from ops.embedded.leftovers import Claim
from ops.embedded.processes import LOG_TAIL, Process, Stat
from tests.processes import running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FAMILY = """
import subprocess, time
child = subprocess.Popen(["/bin/sleep", "60"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Process]]:
    """Start a Python program, and wait for its first line in the log."""
    started = []

    def run(code: str) -> Process:
        process = Process("program", tmp_path / f"{len(started)}.log")
        started.append(process)
        process.start([sys.executable, "-c", code], os.environ, tmp_path)
        log = process.log
        assert log is not None
        process.wait_ready(lambda: "\n" in log.read_text(), 10, "its first line")
        return process

    yield run
    for process in started:
        process.kill()


def test_wait_names_what_and_shows_the_log(tmp_path: Path) -> None:
    """A wait that fails says for what, for how long, and ends with the end of the log."""
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    started = time.monotonic()
    with pytest.raises(EmbeddedError) as error:
        wait_until(lambda: False, 0.1, "godot", log)
    assert time.monotonic() - started < 2
    lines = str(error.value).splitlines()
    assert lines[0] == "gave up after 0.1 s waiting for godot"
    assert lines[-1] == "line 99"
    assert len(lines) == LOG_TAIL + 2


def test_wait_ends_with_its_process(start: Callable[[str], Process]) -> None:
    """Nobody waits the whole time for a program that has ended already."""
    process = start("import time; print('only this', flush=True); time.sleep(0.5)")
    started = time.monotonic()
    with pytest.raises(EmbeddedError, match="ended with code 0"):
        process.wait_ready(lambda: False, 30, "the impossible")
    assert time.monotonic() - started < 10


def test_kill_takes_the_children(start: Callable[[str], Process]) -> None:
    """A child in a session of its own, as PostgreSQL's are, goes with its parent."""
    process = start(FAMILY)
    assert process.log is not None
    child = int(process.log.read_text())
    assert Stat.read(child) is not None
    process.kill()
    assert Stat.read(child) is None
    assert not process.running


def test_pause_and_resume_reach_the_children(start: Callable[[str], Process]) -> None:
    """A frozen tree is frozen as a whole, and thawed as a whole."""
    process = start(FAMILY)
    assert process.log is not None
    pids = [process.pid, int(process.log.read_text())]

    def states() -> set[str]:
        return {stat.state for stat in map(Stat.read, pids) if stat is not None}

    process.pause()
    wait_until(lambda: states() == {"T"}, 5, "both to be frozen")
    assert process.running
    process.resume()
    wait_until(lambda: "T" not in states(), 5, "both to be thawed")


def test_stop_kills_who_does_not_listen(start: Callable[[str], Process]) -> None:
    """A program that ignores SIGTERM is killed after its time, and that is told."""
    process = start(DEAF)
    assert not process.stop(signal.SIGTERM, timeout=0.3)
    assert not process.running
    assert process.stop()  # again: nothing to do


def test_stat_reads_any_name(tmp_path: Path) -> None:
    """Parentheses and spaces in a program's name do not shift the fields."""
    odd = tmp_path / "odd) S 1 (name"
    odd.symlink_to("/bin/sleep")
    with running(odd) as child:
        stat = Stat.read(child.pid)
    assert stat is not None
    assert stat.parent == os.getpid()


def test_reused_pid_is_spared(tmp_path: Path) -> None:
    """A process with the pid of a recorded one, but another start, is not ours to kill."""
    with subprocess.Popen(["/bin/sleep", "60"]) as bystander:
        stat = Stat.read(bystander.pid)
        assert stat is not None
        journal = tmp_path / "processes.json"
        journal.write_text(json.dumps({str(stat.pid): stat.started - 1}))
        claim = Claim(tmp_path)
        assert claim.orphans == []
        assert bystander.poll() is None
        claim.release()
        # Positive control: with the right start time it is taken for an orphan.
        journal.write_text(json.dumps({str(stat.pid): stat.started}))
        claim = Claim(tmp_path)
        assert claim.orphans == [stat.pid]
        claim.release()
        assert bystander.wait(5) == -signal.SIGKILL
