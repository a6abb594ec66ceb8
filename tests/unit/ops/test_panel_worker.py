"""The process of a load or a drill: what it says, and that it ends with whoever began it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from ops.load.null import null_server
from ops.load.operation import Kind, Mark, Operation, Outcome
from ops.load.plan import Plan
from ops.load.run import Run
from ops.panel.worker import Follower

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
LIMIT = 60.0
"""Seconds for a process to start, say something and end."""


@pytest.fixture
def service() -> Iterator[str]:
    """The port of a service that keeps nothing."""
    with null_server() as url:
        yield str(urlsplit(url).port)


def begin(where: Path, *words: str, port: str) -> subprocess.Popen[str]:
    """Start a worker, which finds the service there."""
    return subprocess.Popen(
        [sys.executable, "-m", "ops.panel.worker", *words],
        cwd=where, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "HTTP_PORT": port, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_a_load_says_what_its_clients_see_and_ends_with_its_input(
    service: str, tmp_path: Path
) -> None:
    """Real requests, in Unix time, until nobody is there to hear of them."""
    with begin(tmp_path, "load", port=service) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        seen: list[list[Any]] = []
        begun, phases = time.time(), []
        while len(seen) < 60:
            said = json.loads(worker.stdout.readline())
            phases += [said["phase"]] if "phase" in said else []
            seen += said.get("seen", [])
        assert phases == ["running"]
        assert {kind for kind, *_ in seen} == {"read", "write"}
        assert {outcome for *_, outcome in seen} == {"ok"}
        assert all(begun < due <= ended < time.time() + 1 for _, due, ended, _ in seen)
        worker.stdin.close()
        last = [json.loads(line) for line in worker.stdout][-1]
        assert last["error"].startswith("Stopped after ")
        assert worker.wait(LIMIT) == 1


def test_a_load_without_a_service_says_why(closed: int, tmp_path: Path) -> None:
    """In the words of `holdfast load`."""
    with begin(tmp_path, "load", port=str(closed)) as worker:
        assert worker.stdout is not None
        assert "no user could be created" in json.loads(worker.stdout.readline())["error"]
        assert worker.wait(LIMIT) == 1


def test_a_drill_ends_when_it_is_told_to(closed: int, tmp_path: Path) -> None:
    """Here while it waits for a whole stack, which never comes."""
    with begin(tmp_path, "drill", "app-killed", port=str(closed)) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert json.loads(worker.stdout.readline())["phase"] == "waiting for a whole stack"
        worker.stdin.close()
        said = [json.loads(line) for line in worker.stdout]
        assert said[-1]["error"].startswith("Stopped after ")
        assert worker.wait(LIMIT) == 1


def test_a_drill_of_three_nodes_says_so(closed: int, tmp_path: Path) -> None:
    """A page that is older than the stack may still offer it."""
    with begin(tmp_path, "drill", "standby-behind", port=str(closed)) as worker:
        assert worker.stdout is not None
        assert "needs three data nodes" in json.loads(worker.stdout.readline())["error"]
        assert worker.wait(LIMIT) == 1


def test_a_worker_that_nobody_hears_ends_quietly(service: str, tmp_path: Path) -> None:
    """As when the console was killed: both its pipes are closed then."""
    with begin(tmp_path, "load", port=service) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdout.readline()
        worker.stdout.close()
        assert worker.wait(LIMIT) == 1


MENDING = """
import subprocess, sys, threading
from ops.drills.stage import Stage
from ops.panel import worker
from ops.snapshot import Snapshot

worker._end_with_a_signal()
teller = worker.Teller()
worker._end_with_input()

def chatter():
    while not threading.Event().wait(0.02):
        teller.say(seen=[])

def mend(name):
    subprocess.run(["sleep", "0.5"], check=True)
    with open(name, "w") as file:
        file.write("mended")

with Stage(Snapshot(), lambda what, kind: None, lambda: None) as stage:
    stage._undo("one", lambda: mend("one"))
    stage._undo("two", lambda: mend("two"))
    threading.Thread(target=chatter, daemon=True).start()
    threading.Event().wait(30)
"""


def test_what_was_broken_is_mended_when_the_console_is_killed(tmp_path: Path) -> None:
    """Nobody hears it, its input ends, and somebody ends it: all of that at once, and again."""
    with subprocess.Popen(
        [sys.executable, "-c", MENDING], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as worker:  # fmt: skip
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdout.readline()
        worker.stdout.close()
        worker.stdin.close()
        while worker.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(0.1)
            worker.send_signal(signal.SIGTERM)
    assert [(tmp_path / name).read_text() for name in ("one", "two")] == ["mended", "mended"]


def operation(due: float) -> Operation:
    """Make a write that succeeded."""
    return Operation(Kind.CREATE, "e", due, due, due + 0.01, Outcome.OK)


def test_what_was_said_is_not_said_again() -> None:
    """Operations of all clients, marks once: each client's run has the same."""
    said: list[dict[str, Any]] = []
    runs = [Run(Plan()), Run(Plan())]
    for run in runs:
        run._started = 1000.0
        run._operations.extend([operation(-1.0), operation(0.5)])
        run._marks.append(Mark(0.7, "postgres1 killed", "fault"))
    follower = Follower(runs, lambda **what: said.append(what))
    follower.tell()
    follower.tell()
    assert said == [
        {"seen": [["write", 1000.5, 1000.51, "ok"]]},
        {"mark": [1000.7, "fault", "postgres1 killed"]},
        {"seen": [["write", 1000.5, 1000.51, "ok"]]},
    ]
    runs[1]._operations.append(operation(2.0))
    follower.tell()
    assert said[3:] == [{"seen": [["write", 1002.0, 1002.01, "ok"]]}]
