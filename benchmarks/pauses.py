"""How long writes and reads pause at a client through :8080 when a part dies.

Runs against a stack that is up: `make pauses` (ARGS="--runs 5 --fault primary"). Each run lets
a few clients write and read without ever retrying, kills the part, waits until the stack is whole
again, and reports the longest time between two successes. Ends with a table of medians.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import httpx

from ops import cluster
from ops.console import say

if TYPE_CHECKING:
    from collections.abc import Callable

BASE_URL = "http://127.0.0.1:8080"
CLIENT_TIMEOUT = 30.0
"""Seconds; longer than the service holds a request."""

INTERVAL = 0.01
"""Seconds a client rests between two requests: what a pause is measured with."""

CLIENTS = 3
"""Clients of each kind. A pause counts only when all of them wait."""

WHOLE_LIMIT = 120.0
"""Seconds for the stack to be whole again after a fault."""

BEFORE, AFTER = 2.0, 3.0
"""Seconds of traffic measured before the fault, and after the stack is whole again."""


@dataclass
class Traffic:
    """Clients that send one kind of request over and over and note when each succeeded."""

    send: Callable[[httpx.Client], httpx.Response]
    successes: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Start the clients."""
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the clients; each ends with the request it has in hand."""
        self._stop.set()
        for thread in self._threads:
            thread.join(CLIENT_TIMEOUT * 2)

    def longest_pause(self) -> float:
        """Return the longest time in seconds between two successes of any client."""
        return max(later - earlier for earlier, later in itertools.pairwise(sorted(self.successes)))

    def _work(self) -> None:
        with httpx.Client(base_url=BASE_URL, timeout=CLIENT_TIMEOUT) as client:
            while not self._stop.wait(INTERVAL):
                try:
                    response = self.send(client)
                except httpx.TransportError as error:
                    self.failures.append(type(error).__name__)
                    continue
                if response.is_success:
                    self.successes.append(time.monotonic())
                else:
                    self.failures.append(f"HTTP {response.status_code}")


@dataclass(frozen=True)
class Run:
    """What one run of one fault measured; pauses in seconds."""

    fault: str
    write_pause: float
    read_pause: float
    failed: int


def kill_primary() -> str:
    """SIGKILL the primary's container."""
    return _kill(cluster.find_primary())


def kill_proxy() -> str:
    """SIGKILL the container of the proxy that holds the virtual IP."""
    return _kill(cluster.find_vip_holder())


def kill_haproxy_process() -> str:
    """SIGKILL haproxy alone, in the container that holds the virtual IP."""
    holder = cluster.find_vip_holder() or ""
    pids = cluster.ask(holder, "pidof", "haproxy").split()
    cluster.docker("exec", holder, "sh", "-c", f"kill -9 {' '.join(pids)}")
    return holder


def kill_app() -> str:
    """SIGKILL one of the two apps."""
    return _kill("app1")


def switch_over() -> str:
    """Hand the primary's role over in an orderly way."""
    cluster.docker("exec", "pg-monitor", "pg_autoctl", "perform", "switchover")
    return "pg-monitor"


FAULTS = {
    "primary": kill_primary,
    "proxy": kill_proxy,
    "haproxy-process": kill_haproxy_process,
    "app": kill_app,
    "switchover": switch_over,
}


def measure(name: str) -> Run:
    """Apply one fault under traffic and return what the clients saw."""
    await_whole()
    unique = itertools.count(time.time_ns())

    def write(client: httpx.Client) -> httpx.Response:
        body = {"email": f"pause-{next(unique)}@example.org", "name": "Pause"}
        return client.post("/api/users", json=body)

    def read(client: httpx.Client) -> httpx.Response:
        return client.get("/api/users", params={"limit": 1})

    with Traffic(write) as writes, Traffic(read) as reads:
        time.sleep(BEFORE)
        victim = FAULTS[name]()
        seen = len(writes.successes)
        _until("writes again", lambda: len(writes.successes) > seen + 50)
        cluster.docker("start", victim)
        await_whole()
        time.sleep(AFTER)
    failed = len(writes.failures) + len(reads.failures)
    return Run(name, writes.longest_pause(), reads.longest_pause(), failed)


def await_whole() -> None:
    """Wait until nothing is amiss: the next fault is to be the only one."""
    _until("a whole stack", cluster.is_whole)
    _until("a standby in sync", lambda: cluster.cluster_state().count(" secondary ") >= 1)


def _kill(name: str | None) -> str:
    if name is None:
        raise SystemExit("nothing plays that role right now: `make status`")
    cluster.docker("kill", name)
    return name


def _until(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WHOLE_LIMIT
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {WHOLE_LIMIT:.0f} s: {what}")
        time.sleep(0.1)


def main() -> None:
    """Measure each fault as often as asked and print medians and ranges."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--fault", choices=FAULTS, action="append")
    parser.add_argument("--json", type=Path, help="also write every run to this file")
    options = parser.parse_args()
    runs: list[Run] = []
    for name in options.fault or FAULTS:
        for _ in range(options.runs):
            run = measure(name)
            runs.append(run)
            say(f"{name:<16} write {run.write_pause:5.2f} s   read {run.read_pause:5.2f} s   "
                f"failed {run.failed}")  # fmt: skip
    say(f"\n{'fault':<16} {'write pause s':>20} {'read pause s':>20} {'failed':>12}")
    for name, group in itertools.groupby(runs, key=lambda run: run.fault):
        mine = list(group)
        columns = [_summary([run.write_pause for run in mine]),
                   _summary([run.read_pause for run in mine])]  # fmt: skip
        say(f"{name:<16} {columns[0]:>20} {columns[1]:>20} {sum(run.failed for run in mine):>12}")
    if options.json:
        options.json.write_text(json.dumps([asdict(run) for run in runs], indent=1))


def _summary(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


if __name__ == "__main__":
    main()
