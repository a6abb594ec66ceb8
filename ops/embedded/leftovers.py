"""What an earlier run left behind, when it was killed before it could clean up.

A run holds a lock in its directory and writes down each process it starts. The next one to
take the lock knows that those still alive are orphans; pid and start time together identify
them, so a reused pid is never killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ops.embedded.processes import EmbeddedError, Stat, kill_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.embedded.processes import Process

SCRATCH_PREFIX = "holdfast-scratch-"
MEMORY = Path("/dev/shm")  # noqa: S108 - mkdtemp makes an unpredictable name in it
MEMORY_WANTED = 2 << 30  # bytes; a stack under test uses about a quarter of it


class Claim:
    """The right to use a directory, until `release` or the end of this process."""

    def __init__(self, directory: Path) -> None:
        """Take the lock and end orphans. Raises EmbeddedError while another run lives."""
        self._journal = directory / "processes.json"
        self._lock = (directory / "lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            owner = self._lock.read().strip()
            self._lock.close()
            raise EmbeddedError(f"{directory} is in use by process {owner}") from None
        self._lock.truncate(0)
        self._lock.write(f"{os.getpid()}\n")
        self._lock.flush()
        self.orphans = self._end_orphans()

    def record(self, processes: list[Process]) -> None:
        """Write down what runs now; to be called after each start."""
        stats = [Stat.read(process.pid) for process in processes if process.running]
        entries = {str(stat.pid): stat.started for stat in stats if stat is not None}
        fresh = self._journal.with_suffix(".new")
        fresh.write_text(json.dumps(entries))
        fresh.replace(self._journal)

    def release(self) -> None:
        """Give the directory back; nothing of it runs any more."""
        self._journal.unlink(missing_ok=True)
        self._lock.close()

    def _end_orphans(self) -> list[int]:
        try:
            entries: dict[str, int] = json.loads(self._journal.read_text())
        except FileNotFoundError:
            return []
        stats = {int(pid): Stat.read(int(pid)) for pid in entries}
        orphans = [pid for pid, stat in stats.items() if stat and stat.started == entries[str(pid)]]
        for pid in orphans:
            kill_tree(pid)
        return orphans


def sweep(parent: Path) -> list[Path]:
    """Remove scratch directories whose owner is dead, ending what still runs in them."""
    removed = []
    for directory in parent.glob(f"{SCRATCH_PREFIX}*"):
        owner = directory.name.removeprefix(SCRATCH_PREFIX).partition("-")[0]
        if not owner.isdigit() or Stat.read(int(owner)) or directory.stat().st_uid != os.geteuid():
            continue
        with contextlib.suppress(EmbeddedError):  # in use after all
            Claim(directory).release()
            shutil.rmtree(directory)
            removed.append(directory)
    return removed


def scratch_parent() -> Path:
    """Find a place for short-lived data: memory, where there is enough, else the disk.

    PostgreSQL makes a thousand files at each start; on a disk that is most of its time. Docker's
    /dev/shm is too small by default, and runs no programs, which may have to be copied there.
    """
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK):
        status = os.statvfs(MEMORY)
        free = status.f_bavail * status.f_frsize
        if free >= MEMORY_WANTED and not status.f_flag & os.ST_NOEXEC:
            return MEMORY
    return Path(tempfile.gettempdir())


@contextlib.contextmanager
def scratch_directory(parent: Path | None = None) -> Iterator[Path]:
    """Make a directory for one run, removed at its end; those of killed runs are removed first."""
    parent = parent or scratch_parent()
    sweep(parent)
    directory = Path(tempfile.mkdtemp(prefix=f"{SCRATCH_PREFIX}{os.getpid()}-", dir=parent))
    directory.chmod(0o755)  # the unprivileged account must pass it
    try:
        yield directory
    finally:
        shutil.rmtree(directory)
