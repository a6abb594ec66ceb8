"""Starting, watching and ending processes by their id, each wait bounded and named.

A database node is a tree of processes whose children leave the parent's group, so a node is
killed or frozen here by walking /proc, not by signalling a group.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ops.embedded.unprivileged import Account

POLL_FIRST = 0.01  # seconds until the second look at a condition; each wait is half as long again
POLL_MOST = 0.1
STOP_TIMEOUT = 15.0  # seconds from a polite signal to SIGKILL
KILL_TIMEOUT = 5.0  # seconds the kernel may take to end a process that got SIGKILL
LOG_TAIL = 15  # lines of a log worth reading in an error


class EmbeddedError(Exception):
    """An embedded process did not do what was asked of it; the text says which, what and why."""


def wait_until(
    condition: Callable[[], bool], timeout: float, what: str, log: Path | None = None
) -> None:
    """Poll `condition` for at most `timeout` seconds.

    Raises EmbeddedError naming `what`, with the end of `log`, when it did not come true.
    """
    deadline = time.monotonic() + timeout
    interval = POLL_FIRST
    while not condition():
        if time.monotonic() > deadline:
            raise EmbeddedError(f"gave up after {timeout:g} s waiting for {what}{tail(log)}")
        time.sleep(interval)
        interval = min(interval * 1.5, POLL_MOST)


def tail(log: Path | None) -> str:
    """Read the last lines of `log`, ready to be appended to an error; empty without a log."""
    if log is None or not log.exists():
        return ""
    lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL:]
    return f"\n--- end of {log}:\n" + "\n".join(lines)


@dataclass(frozen=True)
class Stat:
    """What /proc/PID/stat tells. `started` with the pid identifies a process for good."""

    pid: int
    state: str
    parent: int
    started: int

    @classmethod
    def read(cls, pid: int) -> Stat | None:
        """None when there is no such process; a zombie counts as none."""
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The command stands in parentheses and may contain anything, parentheses included.
        fields = text.rpartition(")")[2].split()
        stat = cls(pid, fields[0], int(fields[1]), int(fields[19]))
        return None if stat.state in "ZX" else stat


def children(pid: int) -> list[int]:
    """Living direct children of a process."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    stats = (Stat.read(candidate) for candidate in pids)
    return [stat.pid for stat in stats if stat is not None and stat.parent == pid]


def signal_tree(pid: int, number: signal.Signals) -> list[int]:
    """Signal a process and its direct children; return the pids signalled.

    The parent is stopped first, so that it neither forks nor cleans up meanwhile.
    """
    signalled = []
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    for one in [*children(pid), pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, number)
            signalled.append(one)
    return signalled


def kill_tree(pid: int) -> None:
    """SIGKILL a process and its direct children, and wait until they are gone."""
    pids = signal_tree(pid, signal.SIGKILL)
    wait_until(
        lambda: all(Stat.read(one) is None for one in pids),
        KILL_TIMEOUT,
        f"the end of the killed processes {pids}",
    )


class Process:
    """One long-running process: its log, its end, and whether it lives.

    In a session of its own, so that Ctrl-C at the terminal reaches only the program that
    then stops things in order. Without a log it writes where we do.
    """

    def __init__(self, name: str, log: Path | None = None, account: Account | None = None) -> None:
        self.name = name
        self.log = log
        self.on_start: Callable[[], None] = lambda: None  # called as soon as there is a pid
        self._account = account
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended; a frozen process is running."""
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """Raises EmbeddedError when it does not run."""
        if self._child is None or not self.running:
            raise EmbeddedError(f"{self.name} is not running{tail(self.log)}")
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """The code it ended with, negative for a signal; None while it runs."""
        return None if self._child is None else self._child.poll()

    def start(self, command: Sequence[str], env: Mapping[str, str], directory: Path) -> None:
        """Start it; its output is appended to the log."""
        if self.running:
            raise EmbeddedError(f"{self.name} is running already")
        as_user = self._account.popen_arguments() if self._account else {}
        with self.log.open("ab") if self.log else contextlib.nullcontext() as output:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=directory,
                start_new_session=True,
                **as_user,
            )
        self.on_start()

    def wait_ready(self, ready: Callable[[], bool], timeout: float, what: str) -> None:
        """Wait for `ready`, at most `timeout` seconds, and no longer once the process ended."""

        def ready_or_ended() -> bool:
            return not self.running or ready()

        wait_until(ready_or_ended, timeout, f"{self.name}: {what}", self.log)
        if not self.running:
            raise EmbeddedError(
                f"{self.name} ended with code {self.exit_code} at its start{tail(self.log)}"
            )

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = STOP_TIMEOUT) -> bool:
        """Ask it to end, and after `timeout` seconds kill it.

        True when it ended by itself. Stopping what does not run is fine.
        """
        if self._child is None or not self.running:
            return True
        self.resume()
        self._child.send_signal(number)
        try:
            self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        return True

    def kill(self) -> None:
        """SIGKILL the whole tree at once, as a lost machine would end it."""
        if self._child is None or not self.running:
            return
        pids = signal_tree(self._child.pid, signal.SIGKILL)
        self._child.wait(KILL_TIMEOUT)  # reaps it; signalled trees cannot refuse
        wait_until(
            lambda: all(Stat.read(one) is None for one in pids),
            KILL_TIMEOUT,
            f"the end of {self.name}'s processes {pids}",
        )

    def pause(self) -> None:
        """Freeze the whole tree (SIGSTOP): its ports stay open and nothing answers."""
        signal_tree(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`; does nothing to a process that was not frozen."""
        for one in [*children(self.pid), self.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGCONT)
