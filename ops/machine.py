"""Whether this machine can keep the time that a failover's timers rely on, measured in a second.

On starved cores a node answers its check too late, is taken for dead, and a failover follows that
nobody needed. What that takes follows from the profile's own timers:

- A check is a login: about ten wake-ups, one after another (TCP, TLS, SCRAM and the question, in
  turns of client and server). It fails when together they take longer than the check's timeout
  (`timeout` in deploy/postgres/bin/entrypoint-monitor), and a node is dead when some in a row do:
  one bad moment is sat out, so what ten wake-ups in a row usually take is what counts. Here a
  process does as they do: it sleeps, and works a little. Half of the timeout is what ten may be
  late by; the login itself and its network need the rest.
- `fast` is measured on two processors (docs/results.md); fewer are too few for it.
- A container may grow to its limit. With less memory available than the smallest limit in
  deploy/compose/compose.yaml one that does is killed.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SECONDS = 1.0
"""How long a look takes."""

SLEEP, WORK = 0.010, 0.002
"""Seconds that the measuring process sleeps and computes in turn."""

WAKE_UPS = 10
"""In turn, for one login."""

CHECK_TIMEOUT = {"fast": 0.255, "safe": 2.0}
"""Seconds that a node has to answer one connection of the monitor's check, by profile."""

PROCESSORS = {"fast": 2.0, "safe": 1.0}
MEMORY = 512 * 1024**2
"""Bytes available, at least."""

CGROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")
UNLIMITED = 2**60
"""Bytes: version 1 of cgroups says a number like this for none."""


@dataclass(frozen=True)
class Machine:
    """What was measured; None: this kernel does not say."""

    late: Sequence[float]  # seconds, of each wake-up in turn, waits while it computed included
    processors: float  # that this process may use
    memory: int | None  # bytes available
    pressure: float | None  # part of the last 10 s in which some process waited for a processor

    @property
    def login(self) -> float:
        """Seconds that as many wake-ups in a row as a login has were late by, in the median."""
        spans = range(max(1, len(self.late) - WAKE_UPS + 1))
        return statistics.median(sum(self.late[at : at + WAKE_UPS]) for at in spans)

    @property
    def longest(self) -> float:
        """Seconds that the latest of all was late by."""
        return max(self.late, default=0.0)

    def percentile(self, percent: float) -> float:
        """Return the seconds that so many per cent of the wake-ups were not later than."""
        ordered = sorted(self.late)
        return ordered[int((len(ordered) - 1) * percent / 100)] if ordered else 0.0

    def numbers(self) -> str:
        """Return what was measured, in a sentence."""
        parts = [
            f"wake-ups late by {_ms(self.percentile(99))} (p99)",
            f"{_ms(self.longest)} (longest) and {_ms(self.login)} ({WAKE_UPS} in a row, as a rule)",
            f"{self.processors:g} processors",
        ]
        if self.memory is not None:
            parts.append(f"{self.memory / 1024**3:.1f} GB of memory available")
        if self.pressure is not None:
            parts.append(f"processes waited for a processor in {self.pressure:.0%} of 10 s")
        return f"Measured: {', '.join(parts)}."


def measure(seconds: float = SECONDS) -> Machine:
    """Look for so many seconds."""
    return Machine(tuple(_wake_ups(seconds)), processors(), memory(), pressure())


def lacks(machine: Machine, profile: str | None = None) -> list[str]:
    """Return what the machine lacks for a profile, in sentences; none when it suffices.

    The first says what to do, the last has the numbers. `profile`: the stack's if not given.
    """
    profile = profile or os.environ.get("PROFILE", "")
    profile = profile if profile in CHECK_TIMEOUT else "fast"
    found = []
    most = CHECK_TIMEOUT[profile] / 2
    if machine.login > most:
        found.append(
            f"{WAKE_UPS} wake-ups in a row are {_ms(machine.login)} late, and a node has "
            f"{_ms(CHECK_TIMEOUT[profile])} to answer its check (PROFILE={profile}): "
            f"above {_ms(most)} nodes may be taken for dead."
        )
    if machine.processors < PROCESSORS[profile]:
        found.append(f"PROFILE={profile} wants {PROCESSORS[profile]:g} processors.")
    short = machine.memory is not None and machine.memory < MEMORY
    if short:
        found.append(f"Less than {MEMORY // 1024**2} MB of memory is left: containers are killed.")
    if not found:
        return []
    slow = profile == "fast" and not (short and len(found) == 1)
    what = "use PROFILE=safe" if slow else "give it more, or run less on it"
    title = f"This machine is overloaded, the numbers below say so: {what}."
    return [title, *found, machine.numbers()]


def processors() -> float:
    """Return how many processors this process may use: by affinity, and by its cgroups' quotas."""
    quotas = []
    for folder in _groups("cpu"):
        limit, _, period = _read(folder / "cpu.max").partition(" ")
        if not limit:
            limit, period = (_read(folder / f"cpu.cfs_{one}_us") for one in ("quota", "period"))
        if limit.isdecimal() and period.isdecimal():
            quotas.append(int(limit) / int(period))
    return min([float(len(os.sched_getaffinity(0))), *quotas])


def memory() -> int | None:
    """Return the bytes that are available: on the machine, and within this process's cgroups.

    A container's own limit says nothing of the stack beside it: only who drives Docker is asked.
    """
    lines = (line.split() for line in _read(PROC / "meminfo").splitlines())
    found = [int(words[1]) * 1024 for words in lines if words[:1] == ["MemAvailable:"]]
    for folder in _groups("memory") if shutil.which("docker") else ():
        for most, used in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, now = _read(folder / most), _read(folder / used)
            if limit.isdecimal() and now.isdecimal() and int(limit) < UNLIMITED:
                found.append(int(limit) - int(now) + _cache(folder))
    return min(found, default=None)


def pressure() -> float | None:
    """Return the part of the last 10 s in which some process waited for a processor."""
    for word in _read(PROC / "pressure" / "cpu").split():
        name, _, value = word.partition("=")
        if name == "avg10":
            return float(value) / 100
    return None


def _wake_ups(seconds: float) -> Iterator[float]:
    until = time.monotonic() + seconds
    while (begun := time.monotonic()) < until:
        work = time.thread_time()
        time.sleep(SLEEP)
        while time.thread_time() - work < WORK:
            pass
        worked = time.thread_time() - work
        yield max(0.0, time.monotonic() - begun - SLEEP - worked)


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's cgroups, of both versions, and of those they are in."""
    for line in _read(PROC / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top = CGROUPS
        elif controller in controllers.split(","):
            top = CGROUPS / controller
        else:
            continue
        own = top / path.lstrip("/")
        yield from (each for each in (own, *own.parents) if each.is_relative_to(top))


def _cache(folder: Path) -> int:
    """Return the bytes that a cgroup's files take and that are given away when needed."""
    for line in _read(folder / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name in {"inactive_file", "total_inactive_file"}:
            return int(value)
    return 0


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:  # this kernel, or this container, does not have it
        return ""


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
