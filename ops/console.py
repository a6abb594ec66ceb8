"""What the operator sees while something takes its time: steps, progress, and the log of a failure.

A step never is a silent minute: on a terminal its last line of output is shown as it changes,
elsewhere a line says every few seconds what is going on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

HEARTBEAT = 10.0
"""Seconds between two signs of life of a running step when the output is not a terminal."""

POLL = 0.2
"""Seconds between two looks at a running command."""

WIDTH = 100
"""Columns that a progress line uses at most."""


class StackError(Exception):
    """Something the operator has to know; the message says what to do next."""


class CommandFailedError(StackError):
    """A command ended with an error; carries the end of its log."""

    def __init__(self, what: str, code: int, log: Path) -> None:
        tail = "\n".join(f"    {line}" for line in read_tail(log, 20))
        super().__init__(f"{what} failed (exit code {code}). The end of {log}:\n{tail}")


def say(text: str = "") -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def result(title: str, text: str) -> None:
    """Print what was found where there was nothing to wait for."""
    say(f"  ✓ {title}: {text}")


def agree(what: str, otherwise: str) -> None:
    """Ask whether to do what the sentence says; raise StackError unless the answer is yes.

    `YES=1` in the environment is the answer of who cannot be asked. `otherwise` tells them so.
    """
    if os.environ.get("YES") == "1":
        say(f"  ! {what} (YES=1)")
        return
    if sys.stdin.isatty() and _answer(f"{what} Go on? [y/N] ") in {"y", "Y", "yes"}:
        return
    raise StackError(f"{what} {otherwise}")


def _answer(question: str) -> str:
    try:
        return input(question).strip()
    except EOFError:  # Ctrl-D
        say()
        return ""


def read_tail(path: Path, lines: int) -> list[str]:
    """Return the last non-empty lines of a file, or none when there is no file yet."""
    if not path.exists():
        return []
    text = path.read_text(errors="replace").splitlines()
    return [line.rstrip() for line in text if line.strip()][-lines:]


def last_line(path: Path) -> str:
    """Return the last non-empty line of a file, or nothing."""
    return "".join(read_tail(path, 1)).strip()


class Progress:
    """One line that says how a step is coming along, and how long it has taken."""

    def __init__(self, title: str) -> None:
        """Begin the step named by `title`."""
        self.title = title
        self.begun = time.monotonic()
        self._spoken = self.begun
        self._live = sys.stdout.isatty()
        if not self._live:
            say(f"==> {title}")

    @property
    def seconds(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self.begun

    def note(self, text: str) -> None:
        """Show what is going on: at once on a terminal, else every HEARTBEAT seconds at most."""
        line = f"    {self.title}: {text} ({self.seconds:.0f} s)"[:WIDTH]
        if self._live:
            sys.stdout.write(f"\r\x1b[2K{line}")
            sys.stdout.flush()
        elif time.monotonic() - self._spoken >= HEARTBEAT:
            say(line)
            self._spoken = time.monotonic()

    def line(self, text: str) -> None:
        """Print a line that stays, whatever the output is."""
        self._clear()
        say(f"    {text}")
        self._spoken = time.monotonic()

    def done(self, text: str = "done") -> None:
        """End the step with its result."""
        self._clear()
        result(self.title, f"{text} ({self.seconds:.1f} s)")

    def failed(self) -> None:
        """End the step's line; the error itself is raised and printed by the caller."""
        self._clear()
        say(f"  ✗ {self.title} ({self.seconds:.1f} s)")

    def _clear(self) -> None:
        if self._live:
            sys.stdout.write("\r\x1b[2K")


def run_step(
    title: str,
    command: Sequence[str],
    log: Path,
    *,
    limit: float,
    environment: Mapping[str, str] | None = None,
    watch: Callable[[Progress], str] | None = None,
) -> str:
    """Run a command as a step and return the last line it printed.

    Its output goes to `log` (appended). What is shown meanwhile is its last line, or what `watch`
    says. Raises CommandFailedError when it fails, StackError when it
    takes longer than `limit` seconds.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    progress = Progress(title)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
        )
        try:
            while process.poll() is None:
                if progress.seconds > limit:
                    progress.failed()
                    raise StackError(f"{title} took longer than {limit:.0f} s; its log: {log}")
                progress.note(watch(progress) if watch else last_line(log))
                time.sleep(POLL)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode != 0:
        progress.failed()
        raise CommandFailedError(title, process.returncode, log)
    progress.done()
    return last_line(log)
