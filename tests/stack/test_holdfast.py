"""The `holdfast` command on the real stack: what it says, what it does, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ops import cluster, snapshot
from tests.stack.support import (
    REDUNDANT_LIMIT,
    ROOT,
    Writer,
    docker,
    is_redundant,
    kill,
    monitor_has,
    primary,
    start,
    wait_until,
)

if TYPE_CHECKING:
    from pathlib import Path

COMMAND_LIMIT = 180.0
"""Seconds for one command; the longest here takes ten."""


def holdfast(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as an operator does."""
    command = [str(ROOT / "holdfast"), *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=COMMAND_LIMIT
    )


def standby() -> str:
    """Return the data node that is not the primary."""
    return next(name for name in ("postgres1", "postgres2") if name != primary())


def test_status_of_a_whole_stack() -> None:
    """Exit code 0; roles, durability and servers are what they are."""
    wait_until("a whole stack", REDUNDANT_LIMIT, lambda: snapshot.take().whole)
    done = holdfast("status", "--json")
    assert done.returncode == 0
    said = json.loads(done.stdout)
    assert said["primary"] == primary()
    assert said["durability"] == "replicated"
    assert said["virtual_ip"]["holder"] == cluster.find_vip_holder()
    assert said["problems"] == []
    states = {node["name"]: node["state"] for node in said["nodes"]}
    assert states == {primary(): "primary", standby(): "secondary"}


def test_status_of_a_degraded_stack() -> None:
    """Exit code 3, what is wrong in a sentence, a command that mends it, and the heading."""
    victim = standby()
    kill(victim)
    wait_until(
        "commits on one node", REDUNDANT_LIMIT, lambda: snapshot.take().durability == "local"
    )
    done = holdfast("status")
    assert done.returncode == 3
    assert f"is on {primary()} alone" in " ".join(done.stdout.split())
    assert "Commits are on one node only" in done.stdout
    assert f"  $ docker start {victim}\n" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    start(victim)


def test_status_needs_no_packages(tmp_path: Path) -> None:
    """The launcher with an interpreter that has the standard library alone, and `make` the same."""
    wait_until("a whole stack", REDUNDANT_LIMIT, lambda: snapshot.take().whole)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(python)}
    for command in (["./holdfast", "status"], ["make", "--silent", "status"]):
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
            timeout=COMMAND_LIMIT,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("all is well\n")


def test_failover_to_a_chosen_node() -> None:
    """The role goes there, nothing is lost, and a second time there is nothing to do."""
    target = standby()
    with Writer() as writer:
        done = holdfast("failover", target)
        assert done.returncode == 0, done.stderr
        writer.await_writes()
    assert primary() == target
    assert writer.lost() == set()
    wait_until("a standby in sync", REDUNDANT_LIMIT, is_redundant)
    again = holdfast("failover", target)
    assert again.returncode == 1
    assert "primary already" in again.stderr


def test_a_node_that_is_not_there() -> None:
    """A sentence that names those that are, and nothing happens."""
    before = primary()
    done = holdfast("failover", "postgres9", "--json")
    assert done.returncode == 1
    assert "there are postgres1, postgres2" in json.loads(done.stdout)["error"]
    assert primary() == before


def monitor_errors() -> list[str]:
    """Return the errors that the monitor's PostgreSQL has answered with."""
    logs = "cat /var/lib/postgresql/log/*.log"
    return [
        line
        for line in docker("exec", "pg-monitor", "sh", "-c", logs).splitlines()
        if "ERROR:" in line
    ]


@pytest.mark.runbook("Planned work")
def test_maintenance() -> None:
    """The node is out, clients go on, a restart does not bring it back, and `off` does, in sync."""
    victim = standby()
    before = monitor_errors()
    with Writer() as writer:
        assert holdfast("maintenance", "on", victim).returncode == 0
        docker("restart", victim)
        writer.await_writes()
        assert monitor_has(victim) == "maintenance"
        assert holdfast("maintenance", "off", victim).returncode == 0
        assert is_redundant()
    assert writer.failed == []
    assert writer.lost() == set()
    assert monitor_errors() == before


def test_events_tell_of_a_switchover() -> None:
    """In order, with times, and in words without node numbers."""
    before = monitor_errors()
    done = holdfast("switchover")
    assert done.returncode == 0, done.stderr
    assert monitor_errors() == before
    events = json.loads(holdfast("events", "--count", "50", "--json").stdout)
    assert [event["number"] for event in events] == sorted(event["number"] for event in events)
    assert any("draining" in event["goal"] for event in events)
    assert not any('"postgres' in event["what"] and "node " in event["what"] for event in events)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_drill_that_is_interrupted_mends_what_it_broke(sent: signal.Signals) -> None:
    """The primary is frozen when the drill is told to end: it thaws all the same."""
    victim = primary()
    command = [str(ROOT / "holdfast"), "drill", "primary-frozen", "--writes", "4", "--reads", "4"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        wait_until("a frozen primary", COMMAND_LIMIT, lambda: _state(victim) == "paused")
        process.send_signal(sent)
        assert process.wait(COMMAND_LIMIT) not in {0, 3}
    finally:
        process.kill()
        process.wait()
    assert _state(victim) == "running"


def test_a_drill_that_is_not_there() -> None:
    """A sentence that says how to find those that are."""
    done = holdfast("drill", "no-such-drill")
    assert done.returncode == 1
    assert "drill list" in done.stderr


def _state(container: str) -> str:
    return docker("inspect", "--format", "{{.State.Status}}", container).strip()


def test_psql_client_has_what_needs_no_docker() -> None:
    """A load and SQL from inside the network; for the others, where to run them."""
    load = ("holdfast", "load", "--seconds", "2", "--writes", "5", "--reads", "5", "--json")
    report = json.loads(docker("exec", "psql-client", *load))
    assert sum(report["instances"].values()) > 0
    counted = ("holdfast", "psql", "-qAt", "-c", "SELECT count(*) FROM users")
    assert int(docker("exec", "psql-client", *counted)) >= 5
    command = ["docker", "exec", "psql-client", "holdfast", "switchover"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == 1
    assert "no docker here" in refused.stderr
    assert "host" in refused.stderr
