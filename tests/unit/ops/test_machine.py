"""A machine that starves is measured, and called that; one that does not is left alone."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ops import cluster, machine, settings
from ops.machine import CHECK_TIMEOUT, MEMORY, WAKE_UPS, Machine, lacks

ROOT = Path(__file__).parents[3]
MONITOR = (ROOT / "deploy/postgres/bin/entrypoint-monitor").read_text()
COMPOSE = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text())

GOOD = Machine(late=[0.002] * 80, processors=2.0, memory=8 * 1024**3, pressure=0.1)

RUNS, STANDS = 0.015, 0.085
"""Seconds that a starved process runs and stands still in turn: as one whose cgroup has a quota of
15 ms in each 100 does."""

MEASURE_PROGRAM = """
from ops import cluster, machine, settings
print("begins", flush=True)
print(tuple(machine.measure({seconds}).late))
"""


def starved(seconds: float) -> Machine:
    """What a process measures that is let run for a part of the time alone."""
    program = [sys.executable, "-c", MEASURE_PROGRAM.format(seconds=seconds)]
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            process.send_signal(signal.SIGSTOP)
            time.sleep(STANDS)
            process.send_signal(signal.SIGCONT)
            time.sleep(RUNS)
        late, _ = process.communicate(timeout=30)
    return replace(GOOD, late=ast.literal_eval(late))


def test_a_starved_process_is_measured_and_said() -> None:
    """One that has a sixth of the time, in one second."""
    found = starved(1.0)
    assert found.login > CHECK_TIMEOUT["fast"] / 2
    title, *_, numbers = lacks(found, "fast")
    assert title.endswith("use PROFILE=safe.")
    assert f"{found.login * 1000:.0f} ms (10 in a row, as a rule)" in numbers


def test_a_look_takes_as_long_as_it_says() -> None:
    """And knows every wake-up, none before its time."""
    found = machine.measure(0.5)
    assert 3 <= len(found.late) <= 0.5 / (machine.SLEEP + machine.WORK) + 1
    assert min(found.late) >= 0


def test_a_machine_that_keeps_time_lacks_nothing() -> None:
    """For either profile, also with one bad moment: a node has more than one chance."""
    late = [0.002] * 50 + [1.5] + [0.002] * 29
    for profile in CHECK_TIMEOUT:
        assert lacks(replace(GOOD, late=late), profile) == []


@pytest.mark.parametrize(
    ("lacking", "profile", "what"),
    [
        (replace(GOOD, late=[0.03] * WAKE_UPS), "fast", "300 ms late, and a node has 255 ms"),
        (replace(GOOD, late=[0.0, 1.2, 0.0]), "safe", "1200 ms late, and a node has 2000 ms"),
        (replace(GOOD, processors=1.5), "fast", "PROFILE=fast wants 2 processors"),
        (replace(GOOD, memory=MEMORY - 1), "safe", "Less than 512 MB of memory is left"),
    ],
)
def test_what_is_lacking_is_said_with_all_numbers(
    lacking: Machine, profile: str, what: str
) -> None:
    """First what to do, then why, then the numbers."""
    title, reason, numbers = lacks(lacking, profile)
    assert title.startswith("This machine is overloaded, the numbers below say so: ")
    assert what in reason
    assert numbers == lacking.numbers()


def test_a_profile_that_is_slower_is_recommended_where_it_helps() -> None:
    """Not where it is on already, nor for want of memory."""
    slow = replace(GOOD, late=[0.2] * 20)
    assert "use PROFILE=safe" in lacks(slow, "fast")[0]
    assert "PROFILE=safe" not in lacks(slow, "safe")[0]
    assert "PROFILE=safe" not in lacks(replace(GOOD, memory=0), "fast")[0]
    assert lacks(replace(GOOD, late=[0.05] * 20), "safe") == []


def test_the_profile_is_the_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment, `fast` if it says nothing that there is."""
    slow = replace(GOOD, late=[0.03] * 20)
    for value, lacking in {"safe": False, "fast": True, "": True, "quick": True}.items():
        monkeypatch.setenv("PROFILE", value)
        assert bool(lacks(slow)) is lacking


@pytest.mark.parametrize("profile", CHECK_TIMEOUT)
def test_the_limits_are_the_profiles_own(profile: str) -> None:
    """What a node has to answer the monitor's check within."""
    found = re.search(rf"^{profile}\)$.*?timeout=(\d+)", MONITOR, re.DOTALL | re.MULTILINE)
    assert found is not None
    assert CHECK_TIMEOUT[profile] == int(found[1]) / 1000


def limits(name: str) -> int:
    """The bytes that a container of compose.yaml may have, by default."""
    units = {"m": 1024**2, "g": 1024**3}
    plain = re.sub(r"\$\{\w+:-(.*)\}", r"\1", COMPOSE["services"][name]["mem_limit"])
    return int(plain[:-1]) * units[plain[-1]]


def test_the_least_memory_is_the_smallest_containers() -> None:
    """As compose.yaml has it; what makes certificates needs less, and nobody waits for it."""
    working = set(COMPOSE["services"]) - {cluster.MAKER}
    assert min(map(limits, working)) == MEMORY


def test_readme_has_the_sum_of_all_limits() -> None:
    """Without what is there on demand, and the migrations, which end before the apps start."""
    there = settings.compose_profiles({}).split(",")
    on_demand = {
        name
        for name, each in COMPOSE["services"].items()
        if not set(each.get("profiles", there)) & set(there)
    }
    assert on_demand == {"postgres3", "monitoring"}
    names = set(COMPOSE["services"]) - on_demand - {"db-migrate"}
    told = re.search(r"limits add up to ([0-9.]+) GB", (ROOT / "README.md").read_text())
    assert told is not None
    assert sum(map(limits, names)) == float(told[1]) * 1024**3
    assert limits("postgres3") == 2 * 1024**3
    assert limits("backup") == limits("monitoring") == 1024**3 / 2


def files(root: Path, contents: dict[str, str]) -> None:
    """Make files below a folder."""
    for name, text in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")


def test_quotas_of_cgroups_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of both versions, those of the groups above included; `max` is none."""
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(machine, "PROC", tmp_path / "proc")
    assert machine.processors() == len(os.sched_getaffinity(0))
    assert (machine.memory(), machine.pressure()) == (None, None)
    gigabyte = 1024**3
    files(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a/b",
            "proc/meminfo": f"MemTotal: 99 kB\nMemAvailable:    {4 * 1024**2} kB",
            "proc/pressure/cpu": "some avg10=12.50 avg60=1.00 avg300=0.00 total=1\nfull avg10=0.00",
            "groups/a/b/cpu.max": "max 100000",
            "groups/a/cpu.max": "50000 100000",
            "groups/a/b/memory.max": str(3 * gigabyte),
            "groups/a/b/memory.current": str(2 * gigabyte),
            "groups/a/b/memory.stat": f"anon 1\ninactive_file {gigabyte}",
        },
    )
    assert machine.processors() == 0.5
    assert machine.memory() == 2 * gigabyte
    assert machine.pressure() == 0.125
    files(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/c\n2:cpu,cpuacct:/\n1:name=systemd:/x",
            "groups/memory/c/memory.limit_in_bytes": "9223372036854771712",
            "groups/memory/c/memory.usage_in_bytes": "1",
            "groups/cpu/cpu.cfs_quota_us": "25000",
            "groups/cpu/cpu.cfs_period_us": "100000",
        },
    )
    assert machine.memory() == 4 * gigabyte


def test_a_machine_that_says_nothing_is_not_judged_by_it() -> None:
    """Only by what was measured."""
    assert lacks(replace(GOOD, memory=None, pressure=None), "fast") == []
    assert "memory" not in replace(GOOD, memory=None).numbers()
