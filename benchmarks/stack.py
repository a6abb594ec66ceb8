"""The real stack, if it runs: through its published port, and what it uses while nobody asks."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks import services
from benchmarks.generator import MeasureError, load
from benchmarks.workloads import Workload, tell, write
from ops import cluster, names, settings
from ops.host import Host

if TYPE_CHECKING:
    from benchmarks.results import Results

CLIENTS = 64
SERVICE = "stack"
PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def measure(results: Results, seconds: float, quiet: float) -> None:
    """Measure the stack. Raises MeasureError or StackError with the reason why not.

    `quiet`: for how many seconds it is watched at rest.
    """
    settings.adopt(names.ROOT, {*settings.PORTS, *settings.SUBNETS, "BIND_ADDRESS"})
    if not Host(names.ROOT).engine_answers() or not cluster.edge_answers():
        raise MeasureError(f"no stack is running; `{names.command('make up')}` first")
    url = cluster.service_url()
    one = _one_user(url)
    _watch(results, quiet)
    reading = Workload("read", CLIENTS, f"/api/users/{one}")
    for workload in (
        Workload("read alone", 1, reading.path),
        Workload("write alone", 1, arguments=("write",)),
        reading,
        write(CLIENTS),
    ):
        address = url + workload.path
        sample = load(address, workload.connections, seconds, workload.fresh())
        results.row("stack", workload.name, workload.connections, SERVICE).samples.append(sample)
        tell(f"stack, {workload.name}: {sample.rate:,.0f}/s, {sample.bad} bad")
    if any(row.bad for row in results.rows if row.part == "stack"):
        results.notes.append(
            "The stack refused requests. RATE_LIMIT, if it is set, bounds a client's rate."
        )


def _one_user(url: str) -> int:
    """Return a user's id; make sure that the stack answers with success."""
    parts = urlsplit(url)
    place = (parts.hostname or "127.0.0.1", parts.port or 80)
    status, answer = services.ask(place[1], "/api/users?limit=1", host=place[0])
    items = answer.get("items")
    if status != 200 or not isinstance(items, list):  # noqa: PLR2004 - HTTP's OK
        raise MeasureError(f"the stack answered {status}: {answer.get('title', answer)}")
    if not items:
        raise MeasureError("the stack has no user to read; create one first")
    return int(items[0]["id"])


# ------------------------------------------------------------ processor time of containers


def _watch(results: Results, seconds: float) -> None:
    pids = _main_processes()
    tell(f"watching the quiet stack for {seconds:g} s")
    begun, before = time.monotonic(), [usage(pid) for pid in pids]
    time.sleep(seconds)  # a window, not a wait
    took, after = time.monotonic() - begun, [usage(pid) for pid in pids]
    used = sum(after) - sum(before)
    results.figures["stack"] = {
        "containers": len(pids),
        "quiet_cores": round(used / took, 3),
        "quiet_seconds": round(took, 1),
    }


def _main_processes() -> list[int]:
    running = cluster.docker("ps", "--quiet", *cluster.of_the_stack()).split()
    if not running:
        raise MeasureError(f"no stack is running; `{names.command('make up')}` first")
    found = cluster.docker("inspect", "--format", "{{.State.Pid}}", *running).split()
    return [int(pid) for pid in found]


def usage(pid: int, proc: Path = PROC, cgroups: Path = CGROUPS) -> float:
    """Return the seconds of processor time of a process's cgroup, those that have ended included.

    Raises MeasureError where this machine does not show it: an engine elsewhere, or in a VM.
    """
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError as error:
        raise MeasureError(f"the container's process {pid} is not on this machine") from error
    for line in lines:
        _, controllers, path = line.split(":", 2)
        found = _counted(controllers.split(","), path.lstrip("/"), cgroups)
        if found is not None:
            return found
    raise MeasureError(f"no cgroup of process {pid} shows its processor time")


def _counted(controllers: list[str], path: str, cgroups: Path) -> float | None:
    """Read one line of /proc/PID/cgroup: of version 1, or with no controllers of version 2."""
    try:
        if "cpuacct" in controllers:
            return int((cgroups / "cpuacct" / path / "cpuacct.usage").read_text()) / 1e9
        if controllers == [""]:
            text = (cgroups / path / "cpu.stat").read_text()
            found = re.search(r"^usage_usec (\d+)$", text, flags=re.MULTILINE)
            return int(found[1]) / 1e6 if found else None
    except OSError:  # a hybrid, or another mount: another line may tell
        return None
    return None
