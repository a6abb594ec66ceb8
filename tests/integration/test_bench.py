"""`make bench` from end to end, with windows too short to mean anything."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks import generator
from ops.embedded import wait_until
from ops.embedded.leftovers import SCRATCH_PREFIX, scratch_parent
from ops.embedded.processes import Process, Stat, children
from tests.integration.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 240.0  # seconds; about 25 on an idle machine
WINDOW = "0.4"  # seconds
HOLDFAST, CONTROL, PLAIN = "holdfast", "control", "plain"
PAIR_ONLY = ("--only", "workloads,clients,rows")
STOP_TIMEOUT = 30.0  # seconds; about 1


@pytest.fixture(autouse=True)
def _wrk() -> None:
    if generator.find() is None:
        pytest.skip("not run: wrk is missing (deploy/bootstrap/install-wrk.sh)")


def environment() -> dict[str, str]:
    """Keep to this machine: no engine is asked, whatever runs on it."""
    return {**os.environ, "DOCKER_HOST": "unix:///nowhere/docker.sock"}


@pytest.mark.timeout(LIMIT + 30)
def test_every_row_is_measured_and_every_answer_a_success(tmp_path: Path) -> None:
    """Each service under each workload: answers, none of them bad; the JSON says the same."""
    file = tmp_path / "bench.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks", "--json", str(file), "--rounds", "1"),
            *("--seconds", WINDOW, "--clients", "10,50", "--users", "2000"),
        ],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(file.read_text())
    rows = document["rows"]
    measured = [(row["part"], row["workload"], row["connections"], row["service"]) for row in rows]
    workloads = [("read", 16), ("page of 50", 16), ("write", 16), ("read", 400)]
    assert measured == [
        *(
            ("workloads", *workload, service)
            for workload in workloads
            for service in (HOLDFAST, CONTROL, PLAIN)
        ),
        *(
            ("clients", kind, level, service)
            for kind in ("read", "write")
            for level in (10, 50)
            for service in (HOLDFAST, CONTROL)
        ),
        ("rows", "first page", 1, HOLDFAST),
        ("rows", "last page", 1, HOLDFAST),
    ]
    for row in rows:
        assert row["requests"] > 0, row
        assert row["bad"] == 0, row
        assert 0 < row["p50_ms"] <= row["p99_ms"], row
        assert row["cpu_us"] > 0, row
    assert len(document["ratios"]["workloads"]) == 4
    assert set(document["ratios"]["workloads"]["read 16"]) == {"to_control", "to_plain"}
    assert document["figures"]["rows"]["users"] == 2000
    assert document["not_measured"] == {"stack": "no stack is running; `make up` first"}
    assert "not measured: no stack is running" in done.stdout
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 100


def test_interrupted_it_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C while wrk loads a service: wrk, services, pair and data are gone."""
    log = tmp_path / "bench.log"
    process = Process("bench", log)
    command = [sys.executable, "-m", "benchmarks", "--only", "workloads", "--rounds", "99"]
    process.start([*command, "--json", str(tmp_path / "bench.json")], environment(), ROOT)
    try:
        process.wait_ready(lambda: "round 1: holdfast" in log.read_text(), 90, "a first round")
        pid = process.pid
        # Two nodes, HAProxy, three services, and wrk while there is a window.
        wait_until(lambda: len(children(pid)) == 7, 10, "the next window")
        started = children(pid)
        assert process.stop(signal.SIGINT, STOP_TIMEOUT)
        assert process.exit_code == 130
        wait_until(lambda: not any(map(Stat.read, started)), 5, "the end of what it started")
        assert list(scratch_parent().glob(f"{SCRATCH_PREFIX}{pid}-*")) == []
    finally:
        process.kill()


def test_without_wrk_it_says_how_to_get_it(tmp_path: Path) -> None:
    """Exit code 2, and the command that installs it."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *PAIR_ONLY],
        cwd=ROOT,
        env={**environment(), "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert shutil.which("wrk", path=str(tmp_path)) is None
    assert (done.returncode, done.stdout) == (2, "")
    assert "sudo apt-get install wrk" in done.stderr
