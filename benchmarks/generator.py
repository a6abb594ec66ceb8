"""wrk, the load generator: how it is run, and what it says.

It keeps every connection busy and sends the next request when the last is answered (closed loop).
It takes 22 to 29 µs of processor time a request.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SCRIPT = Path(__file__).with_name("requests.lua")
MARK = "RESULT "
ANSWER_TIMEOUT = 30  # seconds after which wrk counts a request as failed
NEVER = 3600  # seconds that wrk is told; SIGINT ends it, as its own unit is a whole second
STOP_TIMEOUT = 30.0  # seconds from SIGINT to its report: about 0.1

MISSING = """\
wrk is not installed. It is the load generator of `make bench`.
  Debian, Ubuntu:  sudo apt-get install wrk
  Fedora:          sudo dnf install wrk
  elsewhere:       https://github.com/wg/wrk"""


class MeasureError(Exception):
    """Something could not be measured; the message says what and why."""


@dataclass(frozen=True)
class Sample:
    """One window of load: what was answered, and how fast. Latencies are in milliseconds."""

    requests: int
    bad: int  # answers of 400 and more, and requests that had none
    seconds: float
    p50: float
    p99: float
    cpu: float | None = None  # microseconds a request, of the service's own process

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return max(0, self.requests - self.bad) / self.seconds


def find() -> str | None:
    """Return where wrk is, if it is installed."""
    return shutil.which("wrk")


def version() -> str:
    """Return the version that wrk says it has."""
    done = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False)
    return done.stdout.partition(" [")[0].removeprefix("wrk ").strip()


def parse(output: str) -> Sample:
    """Read what wrk with requests.lua printed. Raises MeasureError when that is no result."""
    lines = [line for line in output.splitlines() if line.startswith(MARK)]
    if not lines:
        raise MeasureError(f"wrk printed no result: {output.strip() or 'nothing at all'}")
    said: dict[str, int] = json.loads(lines[-1].removeprefix(MARK))
    if said["microseconds"] <= 0:
        raise MeasureError(f"wrk measured no time: {lines[-1]}")
    return Sample(
        requests=said["requests"],
        bad=sum(said[kind] for kind in ("status", "connect", "read", "write", "timeout")),
        seconds=said["microseconds"] / 1e6,
        p50=said["p50"] / 1000,
        p99=said["p99"] / 1000,
    )


def load(url: str, connections: int, seconds: float, arguments: Sequence[str] = ()) -> Sample:
    """Send requests over so many connections for so many seconds; `arguments`: requests.lua's."""
    command = [
        *("wrk", "--threads", "1", "--connections", str(connections)),
        *("--duration", f"{NEVER}s", "--timeout", f"{ANSWER_TIMEOUT}s"),
        *("--script", str(SCRIPT), url, "--", *arguments),
    ]
    # A session of its own: Ctrl-C reaches this process alone, which then ends wrk.
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    try:
        output = _output(process, seconds)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return parse(output)


def _output(process: subprocess.Popen[str], seconds: float) -> str:
    try:
        return process.communicate(timeout=seconds)[0]  # it ended by itself: it could not begin
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    try:
        return process.communicate(timeout=STOP_TIMEOUT)[0]
    except subprocess.TimeoutExpired:
        raise MeasureError(f"wrk did not end within {STOP_TIMEOUT:g} s of SIGINT") from None
